//! Header fields, in the order and letter case they came in (some clients look them up case-sensitively).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A header field. The value may be a token, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Name as it was written.
    pub name: String,
    /// Value without blanks around it.
    pub value: String,
}

/// The header fields of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The first value of `name`, which is compared without regard to case, here and below.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value.as_str())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let same = move |header: &&Header| header.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(same).map(|header| header.value.as_str())
    }

    /// The members of the comma-separated lists in all values of `name` (RFC 9110 section 5.6.1), without
    /// empty ones.
    pub fn tokens<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let members = self.all(name).flat_map(|value| value.split(','));
        members
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
    }

    /// Whether `token` is one of [`Self::tokens`], without regard to case.
    #[must_use]
    pub fn contains_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|member| member.eq_ignore_ascii_case(token))
    }

    /// All fields, in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Header> {
        self.0.iter()
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push(Header {
            name: name.into(),
            value: value.into(),
        });
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = core::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ({} bytes)", self.name, self.value.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;
    use std::vec::Vec;

    fn sample() -> Headers {
        let mut headers = Headers::new();
        headers.push("Host", "localhost");
        headers.push("connection", "keep-alive,, Upgrade ");
        headers.push("CONNECTION", "other");
        headers
    }

    #[test]
    fn lookup_ignores_case() {
        let headers = sample();
        assert_eq!(headers.get("HOST"), Some("localhost"));
        assert_eq!(headers.get("Connection"), Some("keep-alive,, Upgrade "));
        assert_eq!(headers.get("none"), None);
        assert_eq!(headers.all("Connection").count(), 2);
    }

    #[test]
    fn tokens_over_all_fields() {
        let headers = sample();
        assert_eq!(
            headers.tokens("Connection").collect::<Vec<_>>(),
            ["keep-alive", "Upgrade", "other"]
        );
        assert!(headers.contains_token("Connection", "upgrade"));
        assert!(headers.contains_token("Connection", "OTHER"));
        assert!(!headers.contains_token("Connection", "up"));
        assert!(!headers.contains_token("Upgrade", "upgrade"));
    }

    #[test]
    fn values_are_not_shown() {
        let mut headers = Headers::new();
        headers.push("ServiceBusAuthorization", "secret");
        assert_eq!(
            std::format!("{headers:?}"),
            "Headers([ServiceBusAuthorization: (6 bytes)])"
        );
    }

    #[test]
    fn order_and_letters_are_kept() {
        let names: Vec<_> = sample().iter().map(|header| header.name.clone()).collect();
        assert_eq!(names, ["Host", "connection", "CONNECTION"]);
    }
}
