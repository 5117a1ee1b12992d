//! Rules of style that a reviewer should not have to remember, checked over the whole tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Longest source file, lines. A longer one holds two nouns.
const LINES_MAX: usize = 500;

/// Every folder that may hold unsafe code, with the number of places in it. Who adds one edits this line, and so asks for
/// a second look at it.
const UNSAFE_LEDGER: [(&str, usize); 4] = [("sys", 33), ("buf", 5), ("ring", 20), ("mailbox", 0)];

/// What each folder of the dataplane may use. An arrow points down: mechanisms know no protocol, the roles `relay` and
/// `bridge` do not know each other, and nothing knows `cli`.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("config", &[]),
    ("observe", &["config"]),
    ("sys", &[]),
    ("buf", &["sys"]),
    ("ring", &["buf", "sys", "config"]),
    ("timer", &["ring"]),
    // The buffers are for its tests, which open a ring.
    ("mailbox", &["ring", "buf"]),
    ("wire", &["ring", "buf", "timer", "sys", "observe", "config"]),
    // Of `shard` the roles use what they are told and what they ask: its orders.
    ("relay", ROLE),
    ("bridge", ROLE),
    (
        "shard",
        &[
            "relay", "bridge", "wire", "ring", "buf", "timer", "mailbox", "observe", "config",
        ],
    ),
    (
        "control",
        &[
            "shard", "relay", "bridge", "wire", "ring", "mailbox", "sys", "observe", "config",
        ],
    ),
    ("cli", &["control", "shard", "sys", "observe", "config"]),
];
const ROLE: &[&str] = &["shard", "wire", "ring", "buf", "timer", "observe", "config"];

#[test]
fn source_files_are_short() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", source.name);
    }
}

#[test]
fn unsafe_code_stays_in_its_folders_and_argues_its_case() {
    let mut counted: BTreeMap<&str, usize> = UNSAFE_LEDGER.iter().map(|&(folder, _)| (folder, 0)).collect();
    for source in sources() {
        let lines: Vec<_> = source.text.lines().map(str::trim).collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
            let place = format!("{}:{}", source.name, at + 1);
            let count = source.folder().and_then(|folder| counted.get_mut(folder));
            *count.unwrap_or_else(|| panic!("{place}: unsafe code outside its folders")) += 1;
            let argument = argument_before(&lines, at);
            for word in ["JUSTIFICATION:", "SAFETY:"] {
                assert!(argument.contains(word), "{place}: unsafe code without {word}");
            }
        }
    }
    let ledger = BTreeMap::from(UNSAFE_LEDGER);
    assert_eq!(counted, ledger, "left: counted, right: the ledger in this file");
}

/// The comment above line `at`, across the first lines of the same statement.
fn argument_before(lines: &[&str], at: usize) -> String {
    const STATEMENT_MAX: usize = 3;
    let above = lines[..at].iter().rev();
    let statement = above
        .clone()
        .take_while(|line| !line.starts_with("//") && !is_unsafe(line))
        .count();
    if statement > STATEMENT_MAX {
        return String::new();
    }
    let mut comment: Vec<_> = above
        .skip(statement)
        .take_while(|line| line.starts_with("//"))
        .copied()
        .collect();
    comment.reverse();
    comment.join("\n")
}

fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["{", "fn", "impl", "trait", "extern"]
        .iter()
        .any(|next| code.contains(&format!("{} {next}", "unsafe")))
}

#[test]
fn folders_use_only_what_is_below_them() {
    let rules = BTreeMap::from(MAY_USE);
    for source in sources() {
        // `lib.rs` and `main.rs` belong to no folder.
        let Some(folder) = source.folder() else { continue };
        let allowed = rules
            .get(folder)
            .unwrap_or_else(|| panic!("{folder}: say here what it may use"));
        for (line, number) in source.text.lines().zip(1..) {
            for used in names_after(line, "crate::") {
                assert!(
                    used == folder || allowed.contains(&used),
                    "{}:{number}: `{folder}` must not use `{used}`",
                    source.name
                );
            }
        }
    }
}

/// The first name of each path that begins with `prefix`; a group would hide names and gives an empty one.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix)
        // Not the end of a longer name.
        .filter(|(at, _)| {
            !line[..*at].ends_with(|before: char| before.is_alphanumeric() || "_$".contains(before))
        })
        .map(|(at, _)| {
            let rest = &line[at + prefix.len()..];
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default()
        })
}

#[test]
fn only_the_command_line_prints_and_exits() {
    for source in sources() {
        if source.folder().is_none_or(|folder| folder == "cli") {
            continue;
        }
        for name in [
            "println!",
            "print!",
            "eprintln!",
            "eprint!",
            "process::exit(",
            "io::stdout(",
        ] {
            assert!(
                !source.text.contains(name),
                "{}: {name} belongs to cli",
                source.name
            );
        }
    }
}

#[test]
fn nothing_is_left_half_done() {
    for source in sources() {
        for name in ["todo", "unimplemented", "dbg"] {
            assert!(
                !source.text.contains(&format!("{name}!(")),
                "{}: {name}",
                source.name
            );
        }
    }
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    // Put together here, so that this file is clean.
    let folders = ["root", "home", "work", "Users"].map(|name| format!("/{name}/"));
    let mirrors = [
        ("replace-", "with"),
        ("index-", "url"),
        ("npm_config_", "registry"),
    ];
    let mirrors = mirrors.map(|(first, rest)| format!("{first}{rest}"));
    for (name, text) in files(|_| true) {
        for forbidden in folders.iter().chain(&mirrors) {
            let found = text.lines().position(|line| line.contains(forbidden));
            assert!(
                found.is_none(),
                "{name}:{} contains {forbidden}",
                found.unwrap_or(0) + 1
            );
        }
        if name.ends_with("Cargo.lock") {
            let index = "\"registry+https://github.com/rust-lang/crates.io-index\"";
            let other = text
                .lines()
                .find(|line| line.starts_with("source = ") && !line.ends_with(index));
            assert_eq!(
                other, None,
                "{name}: a source of packages that others do not have"
            );
        }
    }
}

#[test]
fn each_dependency_has_a_reason_and_a_user() {
    let manifests = files(|name| name.ends_with("Cargo.toml"));
    let mut declared = BTreeSet::new();
    let mut wanted = BTreeSet::new();
    for (manifest, text) in &manifests {
        let sources =
            files(|name| name.ends_with(".rs") && name.starts_with(manifest.trim_end_matches("Cargo.toml")));
        for (table, line) in entries(text).filter(|(table, _)| table.ends_with("dependencies")) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if table == "workspace.dependencies" {
                let reason = line
                    .split_once(" # ")
                    .is_some_and(|(_, reason)| !reason.trim().is_empty());
                assert!(
                    reason || line.contains("path ="),
                    "{manifest}: {name} has no reason"
                );
                declared.insert(name);
                continue;
            }
            wanted.insert(name);
            let path = name.replace('-', "_");
            let used = sources
                .iter()
                .any(|(_, text)| text.lines().any(|line| mentions(line, &path)));
            assert!(used, "{manifest}: {name} is not used");
        }
    }
    let idle: Vec<_> = declared.difference(&wanted).collect();
    assert!(idle.is_empty(), "no member uses {idle:?}");
}

/// Whether code in this line refers to the package `name`.
fn mentions(line: &str, name: &str) -> bool {
    let code = line.trim_start();
    !code.starts_with("//")
        && code.match_indices(name).any(|(at, _)| {
            let own = |c: char| c.is_alphanumeric() || c == '_';
            let rest = &code[at + name.len()..];
            !code[..at].ends_with(own) && (rest.starts_with("::") || rest.starts_with('!'))
        })
}

/// The entries of a manifest with the table that each is in.
fn entries(manifest: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut table = "";
    manifest.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']');
            return None;
        }
        let is_entry = !line.is_empty() && !line.starts_with('#');
        is_entry.then_some((table, line))
    })
}

/// A Rust file.
struct Source {
    /// Path from the root of the tree.
    name: String,
    text: String,
}

impl Source {
    /// The folder (or the module that is one file) of the dataplane that it belongs to.
    fn folder(&self) -> Option<&str> {
        let rest = self.name.strip_prefix("dataplane/src/")?;
        let first = rest.split('/').next()?.trim_end_matches(".rs");
        (!["lib", "main"].contains(&first)).then_some(first)
    }
}

fn sources() -> Vec<Source> {
    let found = files(|name| name.ends_with(".rs"));
    assert!(found.len() > 50, "the sources are not where this test looks");
    found
        .into_iter()
        .map(|(name, text)| Source { name, text })
        .collect()
}

/// Text files of the tree, by path from its root; build outputs and hidden folders of other tools are left out.
fn files(wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace around this package");
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path
                .strip_prefix(root)
                .expect("below the root")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                folders.extend(Some(path).filter(|path| !is_foreign(path, &name)));
            } else if name != ".git"
                && wanted(&name)
                && let Ok(text) = fs::read_to_string(&path)
            {
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

/// Whether a folder is not part of the tree.
fn is_foreign(path: &Path, name: &str) -> bool {
    let hidden = name.starts_with('.') && ![".ci", ".config"].contains(&name);
    // Build folders say what they are.
    hidden
        || path.join("CACHEDIR.TAG").exists()
        || ["target", "fuzz/target", "fuzz/artifacts"].contains(&name)
}
