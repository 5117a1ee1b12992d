//! What the local side asks for.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::Mode;
use crate::limits::PORT_NAME_MAX;

/// A request, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Stream or datagrams.
    pub mode: Mode,
    /// Name of the logical port. Bytes that are not UTF-8 read as U+FFFD, so that they match no port.
    pub name: String,
}

/// A name that cannot be asked for; the configuration is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameError {
    /// No name.
    Empty,
    /// Over [`PORT_NAME_MAX`] bytes.
    TooLong,
}

/// Bytes that are no request; the peer is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PreambleFault {
    /// A version or mode that is not known: answer [`super::Reply::Version`] and close.
    Version,
}

/// Builds a request as one piece of bytes.
///
/// # Errors
/// [`NameError`]
pub fn encode_request(mode: Mode, port_name: &str) -> Result<Vec<u8>, NameError> {
    let len = u8::try_from(port_name.len()).map_err(|_| NameError::TooLong)?;
    if len == 0 {
        return Err(NameError::Empty);
    }
    let mut bytes = Vec::with_capacity(HEADER_LEN + port_name.len());
    bytes.extend_from_slice(&[MAJOR, MINOR, mode.byte(), len]);
    bytes.extend_from_slice(port_name.as_bytes());
    Ok(bytes)
}

/// Reads one request out of a byte stream, in pieces of any size.
#[derive(Debug, Default)]
pub struct RequestReader {
    header: [u8; HEADER_LEN],
    filled: usize,
    name: Vec<u8>,
}

impl RequestReader {
    /// A reader at the first byte of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes; says how many of them belong to the request, and the request once it is complete. The
    /// bytes behind it are payload. After a request or a fault the reader is used up and must not be fed
    /// again.
    ///
    /// # Errors
    /// [`PreambleFault::Version`], as soon as the third byte is there.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Request>), PreambleFault> {
        let free = self.header.get_mut(self.filled..).unwrap_or_default();
        let taken = free.len().min(input.len());
        for (slot, byte) in free.iter_mut().zip(input) {
            *slot = *byte;
        }
        self.filled += taken;
        let [major, minor, mode, len] = self.header;
        let mode = match (self.filled, mode_of([major, minor, mode])) {
            (0..VERSION_LEN, _) => return Ok((taken, None)),
            (_, None) => return Err(PreambleFault::Version),
            (_, Some(mode)) => mode,
        };
        if self.filled < HEADER_LEN {
            return Ok((taken, None));
        }
        let rest = input.get(taken..).unwrap_or_default();
        let missing = usize::from(len).saturating_sub(self.name.len());
        let of_name = rest.get(..missing).unwrap_or(rest);
        self.name.extend_from_slice(of_name);
        let taken = taken + of_name.len();
        if of_name.len() < missing {
            return Ok((taken, None));
        }
        let name = String::from_utf8_lossy(&self.name).into_owned();
        Ok((taken, Some(Request { mode, name })))
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the port name is empty"),
            Self::TooLong => write!(f, "the port name is longer than {PORT_NAME_MAX} bytes"),
        }
    }
}

impl core::error::Error for NameError {}

impl fmt::Display for PreambleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("the peer asked with an unknown preamble version or mode"),
        }
    }
}

impl core::error::Error for PreambleFault {}

/// Mode of the first three bytes of a request or of a positive reply.
pub(super) const fn mode_of(bytes: [u8; VERSION_LEN]) -> Option<Mode> {
    match bytes {
        [MAJOR, MINOR, mode] => Mode::from_byte(mode),
        _ => None,
    }
}

/// Version on the wire.
pub(super) const MAJOR: u8 = 1;
/// Version on the wire.
pub(super) const MINOR: u8 = 0;
/// Version and mode, bytes.
pub(super) const VERSION_LEN: usize = 3;
/// Version, mode and length of the name, bytes.
const HEADER_LEN: usize = VERSION_LEN + 1;

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn bytes_are_those_of_azbridge() {
        assert_eq!(
            encode_request(Mode::Stream, "5432"),
            Ok(vec![1, 0, 0, 4, b'5', b'4', b'3', b'2'])
        );
        assert_eq!(
            encode_request(Mode::Datagram, "53U"),
            Ok(vec![1, 0, 1, 3, b'5', b'3', b'U'])
        );
        assert_eq!(encode_request(Mode::Stream, ""), Err(NameError::Empty));
        assert_eq!(
            encode_request(Mode::Stream, &"x".repeat(256)),
            Err(NameError::TooLong)
        );
        assert_eq!(
            encode_request(Mode::Stream, &"x".repeat(255)).map(|b| b.len()),
            Ok(259)
        );
    }

    #[test]
    fn payload_behind_the_request_is_left_alone() {
        let mut reader = RequestReader::new();
        let request = Request {
            mode: Mode::Stream,
            name: "ab".into(),
        };
        assert_eq!(reader.feed(b"\x01\x00\x00\x02abPAYLOAD"), Ok((6, Some(request))));
    }

    #[test]
    fn empty_name_is_read() {
        let mut reader = RequestReader::new();
        assert_eq!(reader.feed(&[1, 0, 1]), Ok((3, None)));
        let request = Request {
            mode: Mode::Datagram,
            name: String::new(),
        };
        assert_eq!(reader.feed(&[0, 9]), Ok((1, Some(request))));
    }

    #[test]
    fn unknown_versions_and_modes_fault_at_the_third_byte() {
        for bytes in [[2, 0, 0], [1, 1, 0], [1, 0, 2], [0, 0, 0], *b"GET"] {
            let mut reader = RequestReader::new();
            assert_eq!(reader.feed(&bytes[..2]), Ok((2, None)));
            assert_eq!(reader.feed(&bytes[2..]), Err(PreambleFault::Version));
        }
    }
}
