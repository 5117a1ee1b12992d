//! Query strings, taken apart without touching the bytes that pass through.

use alloc::{borrow::Cow, string::String};

use percent_encoding::percent_decode_str;

/// Removes the relay's own parameters from `query` (the text after `?`).
///
/// Exactly the parameters whose name starts with `sb-hc-` in any letter case *and* which hold a `=` go.
/// Order, duplicates, empty parameters and bytes of the rest stay. `None`: nothing is left, so the forwarded
/// target has no `?`.
#[must_use]
pub fn filter_query(query: &str) -> Option<String> {
    let mut kept = String::with_capacity(query.len());
    let mut first = true;
    for part in query.split('&').filter(|part| reserved(part).is_none()) {
        if !first {
            kept.push('&');
        }
        first = false;
        kept.push_str(part);
    }
    (!kept.is_empty()).then_some(kept)
}

/// Splits a reserved parameter into its name after the prefix and its raw value.
pub(super) fn reserved(part: &str) -> Option<(&str, &str)> {
    let (name, value) = part.split_once('=')?;
    let prefix = name.get(..PREFIX.len())?;
    let rest = name.get(PREFIX.len()..)?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some((rest, value))
}

/// Decodes a parameter value: `%XX`, and `+` for a blank. `None`: the bytes are not UTF-8.
pub(super) fn decode_value(raw: &str) -> Option<String> {
    let blanks: Cow<'_, str> = if raw.contains('+') {
        Cow::Owned(raw.replace('+', " "))
    } else {
        Cow::Borrowed(raw)
    };
    percent_decode_str(&blanks)
        .decode_utf8()
        .ok()
        .map(Cow::into_owned)
}

/// Start of the names that belong to the relay.
const PREFIX: &str = "sb-hc-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_follows_the_published_table() {
        // (sent, seen by the listener), without the leading question mark.
        let table = [
            ("sb-hc-id=1", None),
            ("sb-hc-undefined", Some("sb-hc-undefined")),
            ("&&&", Some("&&&")),
            ("a=1&a=2&", Some("a=1&a=2&")),
            ("+", Some("+")),
            ("%2B", Some("%2B")),
            ("%2f%3a", Some("%2f%3a")),
            ("api-version=abc", Some("api-version=abc")),
            ("sb-hc-id=1&custom=value", Some("custom=value")),
            ("custom=value&sb-hc-id=1", Some("custom=value")),
            ("sb-hc-undefined=true", None),
            ("sb-hc-whatever=", None),
            ("sb-hc-whatever=&foo=bar", Some("foo=bar")),
            ("&foo=bar", Some("&foo=bar")),
            ("foo=bar&", Some("foo=bar&")),
            ("&custom&value&", Some("&custom&value&")),
            ("&&value&&", Some("&&value&&")),
            ("CustomValue", Some("CustomValue")),
            ("%20", Some("%20")),
            ("%2f%3a%3d%26", Some("%2f%3a%3d%26")),
            ("key='value'", Some("key='value'")),
            // Rows whose blanks, quotes and letters the .NET client has escaped or trimmed before they are on
            // the wire.
            ("", None),
            (
                "%20Key%20=%20%20Value%20With%20Space",
                Some("%20Key%20=%20%20Value%20With%20Space"),
            ),
            ("key=%22value%22", Some("key=%22value%22")),
            ("key=%3Cvalue%3E", Some("key=%3Cvalue%3E")),
            ("name=%C3%B8", Some("name=%C3%B8")),
            ("name=%C3%b8", Some("name=%C3%b8")),
        ];
        for (sent, seen) in table {
            assert_eq!(filter_query(sent).as_deref(), seen, "{sent:?}");
        }
    }

    #[test]
    fn prefix_is_compared_without_letter_case_and_on_names_only() {
        assert_eq!(filter_query("SB-HC-Token=x&a"), Some("a".into()));
        assert_eq!(filter_query("a=sb-hc-id=1"), Some("a=sb-hc-id=1".into()));
        assert_eq!(filter_query("sb-hc=1"), Some("sb-hc=1".into()));
        assert_eq!(filter_query("sb%2Dhc-id=1"), Some("sb%2Dhc-id=1".into()));
        assert_eq!(filter_query("søb-hc-=1"), Some("søb-hc-=1".into()));
    }

    #[test]
    fn values_decode_both_spellings_of_a_blank() {
        assert_eq!(decode_value("a+b%20c%2B").as_deref(), Some("a b c+"));
        assert_eq!(decode_value("100%"), Some("100%".into()));
        assert_eq!(decode_value("%ff"), None);
    }
}
