//! Collects bytes until a head is whole, looking at each byte once.

use alloc::vec::Vec;
use core::fmt;

use crate::Violation;

/// Bytes of a connection that has not sent its whole head yet.
///
/// Invariant: `line <= seen <= bytes.len()`; nothing before `seen` ends the head.
///
/// The bytes may hold a token, so `Debug` does not show them.
pub struct HeadBuffer {
    limit: usize,
    bytes: Vec<u8>,
    /// Where the search goes on.
    seen: usize,
    /// Where the current line begins.
    line: usize,
    /// A line that is not empty was seen: the next empty one ends the head.
    started: bool,
    head_len: Option<usize>,
}

impl HeadBuffer {
    /// Collects a head of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: Vec::new(),
            seen: 0,
            line: 0,
            started: false,
            head_len: None,
        }
    }

    /// Appends what was received and returns the length of the head (empty lines before it included) once it
    /// is whole.
    ///
    /// Bytes after the head stay behind it: those that came with its end always, later ones up to the limit
    /// in all.
    ///
    /// # Errors
    /// [`Violation::HeadTooLong`] over the limit, [`Violation::BadHead`] for a line that ends with LF alone.
    pub fn extend(&mut self, received: &[u8]) -> Result<Option<usize>, Violation> {
        if self.head_len.is_some() && self.bytes.len().saturating_add(received.len()) > self.limit {
            return Err(Violation::HeadTooLong);
        }
        self.bytes.extend_from_slice(received);
        if self.head_len.is_none() {
            self.head_len = self.search()?;
        }
        if self.head_len.unwrap_or(self.bytes.len()) > self.limit {
            return Err(Violation::HeadTooLong);
        }
        Ok(self.head_len)
    }

    /// Everything received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Everything received: the head, and what came behind it.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn search(&mut self) -> Result<Option<usize>, Violation> {
        while let Some(distance) = self
            .bytes
            .get(self.seen..)
            .and_then(|new| new.iter().position(|&byte| byte == b'\n'))
        {
            let next = self.seen + distance + 1;
            let line = self.bytes.get(self.line..next).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(Violation::BadHead);
            };
            let empty = line.is_empty();
            (self.seen, self.line) = (next, next);
            if empty && self.started {
                return Ok(Some(next));
            }
            self.started |= !empty;
        }
        self.seen = self.bytes.len();
        Ok(None)
    }
}

impl fmt::Debug for HeadBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HeadBuffer");
        shown.field("limit", &self.limit).field("len", &self.bytes.len());
        shown.field("head_len", &self.head_len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::HeadBuffer;
    use crate::Violation;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn whole_at_once() {
        let mut buffer = HeadBuffer::new(64);
        assert_eq!(buffer.extend(HEAD), Ok(Some(HEAD.len())));
        assert_eq!(buffer.bytes(), HEAD);
    }

    #[test]
    fn any_split() {
        for cut in 0..HEAD.len() {
            let mut buffer = HeadBuffer::new(HEAD.len());
            assert_eq!(buffer.extend(&HEAD[..cut]), Ok(None), "cut at {cut}");
            assert_eq!(buffer.seen, cut, "no byte is looked at twice");
            assert_eq!(buffer.extend(&HEAD[cut..]), Ok(Some(HEAD.len())), "cut at {cut}");
        }
        let mut buffer = HeadBuffer::new(HEAD.len());
        for (index, byte) in HEAD.iter().enumerate() {
            let whole = (index + 1 == HEAD.len()).then_some(HEAD.len());
            assert_eq!(buffer.extend(&[*byte]), Ok(whole));
        }
    }

    #[test]
    fn bytes_behind_the_head_stay() {
        let mut buffer = HeadBuffer::new(HEAD.len() + 4);
        let both = [HEAD, b"\x82\x03body"].concat();
        assert_eq!(buffer.extend(&both), Ok(Some(HEAD.len())));
        assert_eq!(buffer.extend(b"more"), Err(Violation::HeadTooLong));
        assert_eq!(buffer.into_bytes(), both);
        let mut buffer = HeadBuffer::new(HEAD.len() + 4);
        assert_eq!(buffer.extend(HEAD), Ok(Some(HEAD.len())));
        assert_eq!(buffer.extend(b"more"), Ok(Some(HEAD.len())));
        assert_eq!(buffer.bytes(), [HEAD, b"more"].concat());
    }

    #[test]
    fn empty_lines_before_the_head() {
        let bytes = [b"\r\n\r\n", HEAD].concat();
        assert_eq!(HeadBuffer::new(64).extend(&bytes), Ok(Some(bytes.len())));
        let mut endless = HeadBuffer::new(64);
        assert_eq!(endless.extend(&b"\r\n".repeat(32)), Ok(None));
        assert_eq!(endless.extend(b"\r"), Err(Violation::HeadTooLong));
    }

    #[test]
    fn limit_is_on_the_head() {
        assert_eq!(
            HeadBuffer::new(HEAD.len() - 1).extend(HEAD),
            Err(Violation::HeadTooLong)
        );
        assert_eq!(
            HeadBuffer::new(8).extend(b"GET / HTT"),
            Err(Violation::HeadTooLong)
        );
    }

    #[test]
    fn lone_lf_is_refused() {
        assert_eq!(
            HeadBuffer::new(64).extend(b"GET / HTTP/1.1\n\n"),
            Err(Violation::BadHead)
        );
        assert_eq!(HeadBuffer::new(64).extend(b"\n"), Err(Violation::BadHead));
    }
}
