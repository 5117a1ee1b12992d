//! Frame header codec (RFC 6455 section 5.2).
//!
//! ```text
//! byte 0: FIN, RSV1..3 (always 0), opcode (4 bits)
//! byte 1: MASK, length (7 bits): 0..=125, or 126: 16 bits follow, or 127: 64 bits follow
//!         (big endian, top bit 0)
//! then:   masking key (4 bytes) if MASK
//! ```

use core::ops::Deref;

use crate::limits::CONTROL_PAYLOAD_MAX;
use crate::{Parsed, Violation};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpCode {
    /// Goes on with a fragmented message.
    Continuation,
    /// Begins a message of UTF-8 text.
    Text,
    /// Begins a message of bytes.
    Binary,
    /// Ends this direction of the connection.
    Close,
    /// Asks for a Pong.
    Ping,
    /// Answers a Ping, or comes unasked.
    Pong,
}

impl OpCode {
    /// Close, Ping or Pong: never fragmented, at most 125 bytes, allowed between the fragments of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

/// A frame without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    /// Last frame of its message.
    pub fin: bool,
    /// What the frame is.
    pub opcode: OpCode,
    /// Masking key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Payload length, bytes; less than 2^63.
    pub len: u64,
}

impl FrameHeader {
    /// Longest encoded header, bytes.
    pub const MAX_LEN: usize = 14;

    /// Reads the header at the front of `bytes`.
    ///
    /// Which violation is found depends on the bytes alone and not on how many of them are there: the first
    /// one in wire order.
    ///
    /// # Errors
    /// Reserved bits or opcodes, a length that is not in its shortest form or has its top bit set, a control
    /// frame that is fragmented or over 125 bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Parsed<Self>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(Parsed::Need);
        };
        if first & RESERVED != 0 {
            return Err(Violation::ReservedBits);
        }
        let opcode = OpCode::from_bits(first & OPCODE).ok_or(Violation::ReservedOpcode)?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::ControlFragmented);
        }
        let Some((&second, rest)) = rest.split_first() else {
            return Ok(Parsed::Need);
        };
        let short = second & LENGTH;
        if opcode.is_control() && usize::from(short) > CONTROL_PAYLOAD_MAX {
            return Err(Violation::ControlTooLong);
        }
        let Some((len, rest)) = parse_length(short, rest)? else {
            return Ok(Parsed::Need);
        };
        let (mask, rest) = if second & MASK == 0 {
            (None, rest)
        } else if let Some((key, rest)) = rest.split_first_chunk::<4>() {
            (Some(*key), rest)
        } else {
            return Ok(Parsed::Need);
        };
        let header = Self {
            fin,
            opcode,
            mask,
            len,
        };
        Ok(Parsed::Done(header, bytes.len() - rest.len()))
    }

    /// The header as bytes, its length in the shortest form. The fields are taken as they are.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> EncodedHeader {
        let mut bytes = [0; Self::MAX_LEN];
        bytes[0] = self.opcode.bits() | if self.fin { FIN } else { 0 };
        let (short, long) = match (u8::try_from(self.len), u16::try_from(self.len)) {
            (Ok(len @ 0..LENGTH_16), _) => (len, 2),
            (_, Ok(len)) => {
                bytes[2..4].copy_from_slice(&len.to_be_bytes());
                (LENGTH_16, 4)
            }
            _ => {
                bytes[2..10].copy_from_slice(&self.len.to_be_bytes());
                (LENGTH_64, 10)
            }
        };
        bytes[1] = short;
        let mut len = long;
        if let Some(key) = self.mask {
            bytes[1] |= MASK;
            if let Some(slot) = bytes
                .get_mut(usize::from(len)..)
                .and_then(<[u8]>::first_chunk_mut::<4>)
            {
                *slot = key;
            }
            len += 4;
        }
        EncodedHeader { bytes, len }
    }

    /// Length of what [`Self::encode`] gives, bytes.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        let length = match self.len {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        length + if self.mask.is_some() { 4 } else { 0 }
    }
}

/// The length after its first seven bits, and the bytes behind it; none while bytes are missing.
#[inline]
fn parse_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (len, rest, shortest) = match short {
        LENGTH_16 => {
            let Some((be, rest)) = bytes.split_first_chunk::<2>() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*be)), rest, u64::from(LENGTH_16))
        }
        LENGTH_64 => {
            let Some((be, rest)) = bytes.split_first_chunk::<8>() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*be), rest, 1 << 16)
        }
        len => (u64::from(len), bytes, 0),
    };
    if len < shortest || len >> 63 != 0 {
        return Err(Violation::BadLength);
    }
    Ok(Some((len, rest)))
}

/// An encoded frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedHeader {
    bytes: [u8; FrameHeader::MAX_LEN],
    len: u8,
}

impl Deref for EncodedHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

#[cfg(test)]
mod tests {
    use super::{FrameHeader, OpCode};
    use crate::{Parsed, Violation};

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn header(fin: bool, opcode: OpCode, mask: Option<[u8; 4]>, len: u64) -> FrameHeader {
        FrameHeader {
            fin,
            opcode,
            mask,
            len,
        }
    }

    #[test]
    fn known_bytes_both_ways() {
        let rows: [(FrameHeader, &[u8]); 8] = [
            (header(true, OpCode::Text, None, 5), &[0x81, 0x05]),
            (
                header(true, OpCode::Text, Some(KEY), 5),
                &[0x81, 0x85, 1, 2, 3, 4],
            ),
            (header(false, OpCode::Binary, None, 125), &[0x02, 125]),
            (
                header(true, OpCode::Continuation, None, 126),
                &[0x80, 126, 0, 126],
            ),
            (
                header(true, OpCode::Binary, Some(KEY), 0xffff),
                &[0x82, 0xfe, 0xff, 0xff, 1, 2, 3, 4],
            ),
            (
                header(true, OpCode::Binary, None, 0x1_0000),
                &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0],
            ),
            (header(true, OpCode::Ping, None, 0), &[0x89, 0]),
            (
                header(true, OpCode::Close, Some(KEY), 2),
                &[0x88, 0x82, 1, 2, 3, 4],
            ),
        ];
        for (header, bytes) in rows {
            assert_eq!(*header.encode(), *bytes);
            assert_eq!(header.encoded_len(), bytes.len());
            assert_eq!(FrameHeader::parse(bytes), Ok(Parsed::Done(header, bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(
                    FrameHeader::parse(&bytes[..cut]),
                    Ok(Parsed::Need),
                    "{bytes:x?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn longest_header() {
        let longest = header(true, OpCode::Binary, Some(KEY), u64::MAX >> 1);
        assert_eq!(longest.encode().len(), FrameHeader::MAX_LEN);
        assert_eq!(longest.encoded_len(), FrameHeader::MAX_LEN);
    }

    #[test]
    fn violations() {
        let rows: [(&[u8], Violation); 13] = [
            (&[0xc1], Violation::ReservedBits),
            (&[0xa1], Violation::ReservedBits),
            (&[0x91], Violation::ReservedBits),
            (&[0x83], Violation::ReservedOpcode),
            (&[0x87], Violation::ReservedOpcode),
            (&[0x8b], Violation::ReservedOpcode),
            (&[0x8f], Violation::ReservedOpcode),
            (&[0x08], Violation::ControlFragmented),
            (&[0x09], Violation::ControlFragmented),
            (&[0x8a, 126], Violation::ControlTooLong),
            (&[0x82, 126, 0, 125], Violation::BadLength),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Violation::BadLength),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::BadLength),
        ];
        for (bytes, violation) in rows {
            assert_eq!(FrameHeader::parse(bytes), Err(violation), "{bytes:x?}");
        }
    }
}
