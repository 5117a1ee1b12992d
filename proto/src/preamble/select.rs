//! Which port of a remote bridge a request means.

/// Index of the binding that `wanted` selects.
///
/// If there is exactly one binding and `wanted` reads as a 32-bit integer, that one is meant whatever its
/// name, as in azbridge, where it lets a local side use another number than the remote one. Otherwise the
/// names must be equal.
#[must_use]
pub fn select<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Option<usize> {
    let mut names = names.peekable();
    let first = names.next()?;
    if names.peek().is_none() && is_integer(wanted) {
        return Some(0);
    }
    core::iter::once(first)
        .chain(names)
        .position(|name| name == wanted)
}

/// The integers that .NET reads: blanks around, a sign in front, ASCII digits, 32 bits.
fn is_integer(text: &str) -> bool {
    let blank = |c: char| matches!(c, ' ' | '\t'..='\r');
    let digits = text.trim_matches(blank);
    // `parse` takes the same signs and digits.
    digits.parse::<i32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_selects_the_only_binding() {
        for wanted in [
            "80",
            " 80 ",
            "+80",
            "-80",
            "\t007\r\n",
            "2147483647",
            "-2147483648",
        ] {
            assert_eq!(select(["web"].into_iter(), wanted), Some(0), "{wanted:?}");
        }
        for wanted in [
            "53U",
            "",
            "-",
            "8 0",
            "80.0",
            "0x50",
            "2147483648",
            "٣",
            "--1",
            "+ 1",
        ] {
            assert_eq!(select(["web"].into_iter(), wanted), None, "{wanted:?}");
        }
    }

    #[test]
    fn otherwise_names_are_compared_exactly() {
        let names = || ["80", "Web", "web"].into_iter();
        assert_eq!(select(names(), "80"), Some(0));
        assert_eq!(select(names(), "web"), Some(2));
        assert_eq!(select(names(), "81"), None);
        assert_eq!(select(names(), " 80"), None);
        assert_eq!(select(["53U"].into_iter(), "53U"), Some(0));
        assert_eq!(select([].into_iter(), "80"), None);
    }
}
