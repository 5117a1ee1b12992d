//! Reading a TOML file so that *every* mistake in it is reported, each with its line.
//!
//! A [`Section`] hands out its values by key and kind; what is wrong is noted in the [`Report`] and reading goes on. What
//! nobody asked for is an unknown key. Texts never repeat a value, because it may be a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1; 0 where the mistake has no place.
    pub line: usize,
    /// Character in the line, counted from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        match line {
            0 => write!(f, "{}: {message}", file.display()),
            _ => write!(f, "{}:{line}:{column}: {message}", file.display()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Mistakes found so far, with their places in the text.
#[derive(Debug)]
pub(super) struct Report<'t> {
    text: &'t str,
    found: Vec<(usize, String)>,
}

impl<'t> Report<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self {
            text,
            found: Vec::new(),
        }
    }

    /// Notes a mistake at a byte offset.
    pub(super) fn add(&mut self, at: usize, message: impl fmt::Display) {
        self.found.push((at, message.to_string()));
    }

    /// The mistakes in the order of the file.
    pub(super) fn into_errors(mut self, file: &Path) -> Vec<ConfigError> {
        self.found.sort_by_key(|(at, _)| *at);
        let locate = |(at, message): &(usize, String)| {
            let before = self.text.get(..*at).unwrap_or(self.text);
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            ConfigError {
                file: file.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                message: message.clone(),
            }
        };
        self.found.iter().map(locate).collect()
    }
}

/// Parses `text`; syntax errors go to the report, and what could be read is returned.
pub(super) fn parse<'t>(text: &'t str, report: &mut Report<'t>) -> Spanned<DeTable<'t>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        report.add(error.span().map_or(0, |span| span.start), error.message());
    }
    root
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    name: String,
    at: usize,
    unread: BTreeMap<&'a str, (usize, &'a Spanned<DeValue<'a>>)>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a Spanned<DeTable<'a>>) -> Self {
        Self::new(String::new(), table.span().start, table.get_ref())
    }

    /// Byte offset of the section.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn text(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Located<String>> {
        let (at, value) = self.take(key)?;
        match value.as_str() {
            Some(text) => Some(Located {
                at,
                value: text.to_owned(),
            }),
            None => self.wrong_kind(at, key, "a text in quotes", report),
        }
    }

    pub(super) fn flag(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<bool> {
        let (at, value) = self.take(key)?;
        value
            .as_bool()
            .or_else(|| self.wrong_kind(at, key, "true or false", report))
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        report: &mut Report<'_>,
    ) -> Option<u32> {
        let (at, value) = self.take(key)?;
        let number = value
            .as_integer()
            .and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
        number.filter(|number| range.contains(number)).or_else(|| {
            let expected = format!("a number from {} to {}", range.start(), range.end());
            self.wrong_kind(at, key, &expected, report)
        })
    }

    /// A list of texts; a missing list is empty.
    pub(super) fn texts(&mut self, key: &'static str, report: &mut Report<'_>) -> Vec<Located<String>> {
        let Some((at, value)) = self.take(key) else {
            return Vec::new();
        };
        let items = value.as_array().map(|items| {
            let text = |item: &Spanned<DeValue<'_>>| {
                let value = item.get_ref().as_str()?.to_owned();
                Some(Located {
                    at: item.span().start,
                    value,
                })
            };
            items.iter().map(text).collect::<Option<Vec<_>>>()
        });
        items
            .flatten()
            .or_else(|| self.wrong_kind(at, key, "a list of texts in quotes", report))
            .unwrap_or_default()
    }

    pub(super) fn section(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Self> {
        let (at, value) = self.take(key)?;
        match value.as_table() {
            Some(table) => Some(Self::new(self.path(key), at, table)),
            None => self.wrong_kind(at, key, &format!("a section, [{}]", self.path(key)), report),
        }
    }

    /// Sections of the form `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str, report: &mut Report<'_>) -> Vec<Self> {
        let Some((at, value)) = self.take(key) else {
            return Vec::new();
        };
        let name = self.path(key);
        let sections = value.as_array().map(|items| {
            let section = |item: &'a Spanned<DeValue<'a>>| {
                item.get_ref()
                    .as_table()
                    .map(|table| Self::new(name.clone(), item.span().start, table))
            };
            items.iter().map(section).collect::<Option<Vec<_>>>()
        });
        let expected = format!("sections of the form [[{name}]]");
        sections
            .flatten()
            .or_else(|| self.wrong_kind(at, key, &expected, report))
            .unwrap_or_default()
    }

    /// Notes a key that has to be there.
    pub(super) fn missing(&self, key: &str, what: &str, report: &mut Report<'_>) {
        report.add(self.at, format_args!("{} is missing: {what}", self.path(key)));
    }

    /// Notes keys that were not asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        for (key, (at, _)) in &self.unread {
            report.add(
                *at,
                format_args!(
                    "unknown key {}; possible here: {}",
                    self.path(key),
                    self.known.join(", ")
                ),
            );
        }
    }

    fn new(name: String, at: usize, table: &'a DeTable<'a>) -> Self {
        let unread = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), (key.span().start, value)))
            .collect();
        Self {
            name,
            at,
            unread,
            known: Vec::new(),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<(usize, &'a DeValue<'a>)> {
        self.known.push(key);
        let (_, value) = self.unread.remove(key)?;
        Some((value.span().start, value.get_ref()))
    }

    fn wrong_kind<T>(&self, at: usize, key: &str, expected: &str, report: &mut Report<'_>) -> Option<T> {
        report.add(at, format_args!("{} must be {expected}", self.path(key)));
        None
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }
}
