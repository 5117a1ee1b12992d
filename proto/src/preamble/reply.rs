//! What the remote side answers.

use core::fmt;

use super::{
    Mode,
    request::{MAJOR, MINOR, VERSION_LEN, mode_of},
};

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Payload follows.
    Accepted(Mode),
    /// Version or mode not understood.
    Version,
    /// The port carries datagrams, a stream was asked for.
    UdpExpected,
    /// The port carries streams, datagrams were asked for.
    Mismatch,
}

/// Three bytes that are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BadReply(pub [u8; VERSION_LEN]);

impl Reply {
    /// The bytes on the wire.
    #[must_use]
    pub const fn encode(self) -> [u8; VERSION_LEN] {
        match self {
            Self::Accepted(mode) => [MAJOR, MINOR, mode.byte()],
            Self::Version => [0, 0, 0],
            Self::UdpExpected => [0, 0, 1],
            Self::Mismatch => [0, 0, 0xff],
        }
    }

    fn decode(bytes: [u8; VERSION_LEN]) -> Result<Self, BadReply> {
        match bytes {
            [0, 0, 0] => Ok(Self::Version),
            [0, 0, 1] => Ok(Self::UdpExpected),
            [0, 0, 0xff] => Ok(Self::Mismatch),
            _ => mode_of(bytes).map(Self::Accepted).ok_or(BadReply(bytes)),
        }
    }
}

/// Reads one answer out of a byte stream, in pieces of any size.
#[derive(Debug, Default)]
pub struct ReplyReader {
    bytes: [u8; VERSION_LEN],
    filled: usize,
}

impl ReplyReader {
    /// A reader at the first byte of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes; says how many of them belong to the answer, and the answer once it is complete. The bytes
    /// behind it are payload. After an answer the reader is used up and must not be fed again.
    pub fn feed(&mut self, input: &[u8]) -> (usize, Option<Result<Reply, BadReply>>) {
        let free = self.bytes.get_mut(self.filled..).unwrap_or_default();
        let taken = free.len().min(input.len());
        for (slot, byte) in free.iter_mut().zip(input) {
            *slot = *byte;
        }
        self.filled += taken;
        let complete = self.filled == VERSION_LEN;
        (taken, complete.then(|| Reply::decode(self.bytes)))
    }
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(
            f,
            "the peer answered the preamble with {a:02x} {b:02x} {c:02x}, which is no answer"
        )
    }
}

impl core::error::Error for BadReply {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_azbridge() {
        let table = [
            (Reply::Accepted(Mode::Stream), [1, 0, 0]),
            (Reply::Accepted(Mode::Datagram), [1, 0, 1]),
            (Reply::Version, [0, 0, 0]),
            (Reply::UdpExpected, [0, 0, 1]),
            (Reply::Mismatch, [0, 0, 255]),
        ];
        for (reply, bytes) in table {
            assert_eq!(reply.encode(), bytes);
            assert_eq!(ReplyReader::new().feed(&bytes), (3, Some(Ok(reply))));
        }
    }

    #[test]
    fn anything_else_is_named_and_payload_is_left_alone() {
        let mut reader = ReplyReader::new();
        assert_eq!(reader.feed(&[1]), (1, None));
        assert_eq!(reader.feed(&[0]), (1, None));
        assert_eq!(reader.feed(&[2, 7, 7]), (1, Some(Err(BadReply([1, 0, 2])))));
    }
}
