//! The words expressions are made of: ports, names, hosts, and splitting that respects brackets.

use std::net::IpAddr;

use viaduct_proto::limits::PORT_NAME_MAX;

/// What stands where a port may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortWord {
    /// A TCP port.
    Tcp(u16),
    /// A UDP port (`53U` or `-53`).
    Udp(u16),
    /// A number that is no port.
    OutOfRange,
    /// No number at all.
    Word,
}

/// Reads a port. Blanks around a number and a sign are allowed, as .NET allows them.
pub(super) fn port_word(text: &str) -> PortWord {
    let trimmed = text.trim();
    let (digits, udp) = if let Some(digits) = trimmed.strip_prefix('-') {
        (digits, true)
    } else if let Some(digits) = text.strip_suffix('U') {
        (digits, true)
    } else {
        (trimmed.strip_prefix('+').unwrap_or(trimmed), false)
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return PortWord::Word;
    }
    match digits.parse::<u16>() {
        Ok(0) | Err(_) => PortWord::OutOfRange,
        Ok(port) if udp => PortWord::Udp(port),
        Ok(port) => PortWord::Tcp(port),
    }
}

/// Text without the quotes around it that some shells and scripts leave in place.
pub(crate) fn trim_quotes(text: &str) -> &str {
    text.trim_matches(['\'', '"'])
}

/// Whether `name` may name a relay or a logical port.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= PORT_NAME_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte))
}

/// Whether `path` (that of a Unix socket, or of an `-H` target) can be used: no control characters, not empty.
pub(super) fn is_path(path: &str) -> bool {
    !path.is_empty() && !path.chars().any(char::is_control)
}

/// Whether a part of an expression is a whole path, in which `:` and `/` separate nothing.
pub(super) fn starts_as_path(part: &str) -> bool {
    part.starts_with('/') || part.starts_with("./")
}

/// Takes the brackets off an IPv6 address.
pub(super) fn bracketed(text: &str) -> Option<IpAddr> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside.parse().ok().filter(IpAddr::is_ipv6)
}

/// Host of a target: a name or an IPv4 address as given, an IPv6 address without its brackets.
pub(super) fn host(text: &str) -> Option<String> {
    let text = trim_quotes(text);
    if let Some(addr) = bracketed(text) {
        return Some(addr.to_string());
    }
    is_host_name(text).then(|| text.to_owned())
}

/// Whether `text` is a DNS name or an IPv4 address.
pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || !name.split('.').all(label) {
        return false;
    }
    // Four numbers are an address, and then a right one.
    let numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && name.contains('.');
    !numeric || name.parse::<IpAddr>().is_ok()
}

/// Splits at each `separator` outside brackets; `None` when brackets do not match.
pub(super) fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut inside = false;
    for (at, c) in text.char_indices() {
        match c {
            '[' if inside => return None,
            '[' => inside = true,
            ']' if !inside => return None,
            ']' => inside = false,
            c if c == separator && !inside => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!inside).then_some(parts)
}
