//! `[namespace]`, its `[[namespace.rules]]`, and each `[[entity]]` with its `[[entity.rules]]`.

use std::collections::BTreeMap;

use viaduct_proto::limits::KEY_MAX;
use viaduct_proto::sas;

use crate::config::document::{Located, Report, Section};
use crate::config::relay::{Entity, Namespace};

/// Reads `[namespace]` and all `[[entity]]`.
pub(super) fn read(
    section: Option<Section<'_>>,
    entities: Vec<Section<'_>>,
    report: &mut Report<'_>,
) -> Namespace {
    let mut namespace = Namespace {
        hosts: Vec::new(),
        rules: Vec::new(),
        entities: BTreeMap::new(),
        autocreate: false,
    };
    if let Some(mut section) = section {
        namespace.hosts = section
            .texts("hosts", report)
            .into_iter()
            .map(|host| host.value.to_ascii_lowercase())
            .collect();
        namespace.autocreate = section.flag("autocreate", report).unwrap_or(false);
        namespace.rules = read_rules(section.sections("rules", report), report);
        section.finish(report);
    }
    for entity in entities {
        let at = entity.at();
        let Some(entity) = read_entity(entity, report) else {
            continue;
        };
        let path = entity.path.to_ascii_lowercase();
        if namespace.entities.insert(path, entity).is_some() {
            report.add(at, "entity.path is used twice (letter case makes no difference)");
        }
    }
    if namespace.entities.is_empty() && !namespace.autocreate {
        report.add(
            0,
            "nothing can be reached: give an [[entity]], or namespace.autocreate = true",
        );
    }
    namespace
}

fn read_entity(mut section: Section<'_>, report: &mut Report<'_>) -> Option<Entity> {
    let path = section.text("path", report);
    let requires = section.flag("requires_client_authorization", report);
    let user_metadata = section
        .text("user_metadata", report)
        .map(|text| text.value)
        .unwrap_or_default();
    let rules = read_rules(section.sections("rules", report), report);
    let Some(path) = path else {
        section.missing("path", "the name of the hybrid connection", report);
        section.finish(report);
        return None;
    };
    section.finish(report);
    let trimmed = path.value.trim_matches('/');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte);
    if trimmed.is_empty() || trimmed.len() > ENTITY_PATH_MAX || !trimmed.bytes().all(fits) {
        report.add(
            path.at,
            "entity.path must be 1 to 260 letters, digits, '/', '_', '-' and '.'",
        );
        return None;
    }
    Some(Entity {
        path: trimmed.to_owned(),
        rules,
        requires_client_authorization: requires.unwrap_or(true),
        user_metadata,
    })
}

fn read_rules(sections: Vec<Section<'_>>, report: &mut Report<'_>) -> Vec<sas::Rule> {
    let mut rules: Vec<sas::Rule> = Vec::new();
    for section in sections {
        let at = section.at();
        let Some(rule) = read_rule(section, report) else {
            continue;
        };
        if rules.iter().any(|known| known.name == rule.name) {
            report.add(
                at,
                "two rules have the same name; a token names its rule, so names must differ",
            );
        }
        rules.push(rule);
    }
    rules
}

fn read_rule(mut section: Section<'_>, report: &mut Report<'_>) -> Option<sas::Rule> {
    let name = section.text("name", report);
    let primary = section.text("primary_key", report);
    let secondary = section.text("secondary_key", report);
    let rights = section.texts("rights", report);
    if rights.is_empty() {
        section.missing("rights", "a list of \"Listen\", \"Send\", \"Manage\"", report);
    }
    if name.is_none() {
        section.missing("name", "tokens name their rule", report);
    }
    if primary.is_none() {
        section.missing("primary_key", "the key that signs tokens", report);
    }
    section.finish(report);
    let rights = rights
        .into_iter()
        .filter_map(|text| read_right(&text, report))
        .reduce(|a, b| a | b)?;
    let secondary = match secondary {
        Some(text) => Some(read_key(text, report)?),
        None => None,
    };
    Some(sas::Rule {
        name: name?.value,
        primary: read_key(primary?, report)?,
        secondary,
        rights,
    })
}

fn read_right(text: &Located<String>, report: &mut Report<'_>) -> Option<sas::Rights> {
    match text.value.to_ascii_lowercase().as_str() {
        "listen" => Some(sas::Rights::LISTEN),
        "send" => Some(sas::Rights::SEND),
        "manage" => Some(sas::Rights::MANAGE),
        _ => {
            report.add(text.at, "a right is \"Listen\", \"Send\" or \"Manage\"");
            None
        }
    }
}

fn read_key(text: Located<String>, report: &mut Report<'_>) -> Option<sas::Key> {
    if text.value.is_empty() || text.value.len() > KEY_MAX {
        report.add(text.at, "a key has 1 to 256 characters");
        return None;
    }
    Some(sas::Key::new(text.value))
}

/// Longest path of a hybrid connection, as Azure has it.
const ENTITY_PATH_MAX: usize = 260;
