//! The preamble with which two bridges agree on a logical port, inside a stream and end to end.
//!
//! ```text
//! local  -> remote   01 00 MM LL name      MM: 0 stream, 1 datagram; LL: length of the UTF-8 name
//! remote -> local    01 00 MM              accepted, MM repeated
//!                    00 00 00              anything but 01 00 00 or 01 00 01 was asked; no name is read then
//!                    00 00 01              the port is a datagram port, a stream was asked
//!                    00 00 FF              the port is a stream port, datagrams were asked
//!                    (close)               no such port
//! ```
//! Both directions are byte streams: message boundaries mean nothing, and payload may follow at once. The
//! bytes are those of azbridge.

mod reply;
mod request;
mod select;

pub use reply::{BadReply, Reply, ReplyReader};
pub use request::{NameError, PreambleFault, Request, RequestReader, encode_request};
pub use select::select;

/// What a logical port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A byte stream.
    Stream,
    /// Datagrams, each with a length of two bytes, big-endian, in front.
    Datagram,
}

impl Mode {
    const fn byte(self) -> u8 {
        match self {
            Self::Stream => 0,
            Self::Datagram => 1,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Stream),
            1 => Some(Self::Datagram),
            _ => None,
        }
    }
}
