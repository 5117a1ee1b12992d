//! Collects the frames of one message, for peers whose messages are used here and not passed on (control
//! channels).
//!
//! Memory is bound by the limit: a peer that announces much and sends little holds little. The number of
//! fragments is not limited; messages of many thousand one-byte fragments are normal.

use alloc::vec::Vec;
use core::fmt;

use super::header::{FrameHeader, OpCode};
use crate::Violation;

/// A whole message. Its bytes may hold a token, so `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Bytes; otherwise text.
    pub binary: bool,
    /// The payload; UTF-8 if it is text.
    pub bytes: Vec<u8>,
}

/// Collects messages. Feed it the `Data` and `Payload` items of a [`super::Reader`].
pub struct Assembler {
    limit: usize,
    bytes: Vec<u8>,
    state: State,
}

impl Assembler {
    /// Collects messages of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: Vec::new(),
            state: State::Idle,
        }
    }

    /// A data frame begins. An empty last frame ends the message: see [`Self::take_if_complete`]. A message
    /// that is complete and was not taken is dropped.
    ///
    /// # Errors
    /// [`Violation::MessageTooLong`] before any byte of the frame that goes over the limit,
    /// [`Violation::NotUtf8`], and frames out of sequence.
    pub fn on_data(&mut self, header: &FrameHeader) -> Result<(), Violation> {
        let binary = match (header.opcode, self.state) {
            (OpCode::Text | OpCode::Binary, State::Idle | State::Complete { .. }) => {
                self.bytes.clear();
                header.opcode == OpCode::Binary
            }
            (OpCode::Text | OpCode::Binary, State::Filling { .. }) => {
                return Err(Violation::UnfinishedMessage);
            }
            (OpCode::Continuation, State::Filling { binary, .. }) => binary,
            (OpCode::Continuation | OpCode::Close | OpCode::Ping | OpCode::Pong, _) => {
                return Err(Violation::UnexpectedContinuation);
            }
        };
        let free = self.limit.saturating_sub(self.bytes.len());
        if header.len > free as u64 {
            return Err(Violation::MessageTooLong);
        }
        self.state = State::Filling {
            binary,
            fin: header.fin,
        };
        if header.fin && header.len == 0 {
            self.complete(binary)
        } else {
            Ok(())
        }
    }

    /// The next piece of the frame's payload; `last` if the frame ends with it. Gives the message if it ends
    /// too.
    ///
    /// # Errors
    /// As [`Self::on_data`].
    pub fn on_payload(&mut self, piece: &[u8], last: bool) -> Result<Option<Message>, Violation> {
        let State::Filling { binary, fin } = self.state else {
            return Err(Violation::UnexpectedContinuation);
        };
        self.append(piece)?;
        if fin && last {
            self.complete(binary)?;
        }
        Ok(self.take_if_complete())
    }

    /// The message, if it is complete.
    pub fn take_if_complete(&mut self) -> Option<Message> {
        let State::Complete { binary } = self.state else {
            return None;
        };
        self.state = State::Idle;
        Some(Message {
            binary,
            bytes: core::mem::take(&mut self.bytes),
        })
    }

    /// Appends, growing by doubling but never over the limit.
    fn append(&mut self, piece: &[u8]) -> Result<(), Violation> {
        let len = self.bytes.len().saturating_add(piece.len());
        if len > self.limit {
            return Err(Violation::MessageTooLong);
        }
        if len > self.bytes.capacity() {
            let capacity = self.bytes.capacity().saturating_mul(2).clamp(len, self.limit);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn complete(&mut self, binary: bool) -> Result<(), Violation> {
        if !binary && core::str::from_utf8(&self.bytes).is_err() {
            return Err(Violation::NotUtf8);
        }
        self.state = State::Complete { binary };
        Ok(())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { binary, bytes } = self;
        f.debug_struct("Message")
            .field("binary", binary)
            .field("len", &bytes.len())
            .finish()
    }
}

impl fmt::Debug for Assembler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, bytes, state } = self;
        let mut shown = f.debug_struct("Assembler");
        shown
            .field("limit", limit)
            .field("len", &bytes.len())
            .field("state", state)
            .finish()
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle,
    /// Inside a message; `fin`: in its last frame.
    Filling {
        binary: bool,
        fin: bool,
    },
    Complete {
        binary: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::{Assembler, Message};
    use crate::Violation;
    use crate::ws::{FrameHeader, OpCode};
    use std::vec::Vec;

    fn header(opcode: OpCode, fin: bool, len: u64) -> FrameHeader {
        FrameHeader {
            fin,
            opcode,
            mask: None,
            len,
        }
    }

    fn text(bytes: &[u8]) -> Option<Message> {
        Some(Message {
            binary: false,
            bytes: bytes.to_vec(),
        })
    }

    #[test]
    fn one_frame_in_pieces() {
        let mut assembler = Assembler::new(16);
        assembler.on_data(&header(OpCode::Text, true, 5)).unwrap();
        assert_eq!(assembler.on_payload(b"hel", false), Ok(None));
        assert_eq!(assembler.on_payload(b"lo", true), Ok(text(b"hello")));
        assert_eq!(assembler.take_if_complete(), None);
    }

    #[test]
    fn many_small_fragments() {
        let mut assembler = Assembler::new(70_000);
        assembler.on_data(&header(OpCode::Binary, false, 0)).unwrap();
        for _ in 0..66_560 {
            assembler
                .on_data(&header(OpCode::Continuation, false, 1))
                .unwrap();
            assert_eq!(assembler.on_payload(b"x", true), Ok(None));
        }
        assembler.on_data(&header(OpCode::Continuation, true, 0)).unwrap();
        let message = assembler.take_if_complete().unwrap();
        assert!(message.binary && message.bytes.len() == 66_560);
    }

    #[test]
    fn a_message_that_is_not_taken_is_dropped() {
        let mut assembler = Assembler::new(4);
        assembler.on_data(&header(OpCode::Binary, false, 3)).unwrap();
        assert_eq!(assembler.on_payload(b"old", true), Ok(None));
        assembler.on_data(&header(OpCode::Continuation, true, 0)).unwrap();
        assembler.on_data(&header(OpCode::Text, true, 3)).unwrap();
        assert_eq!(assembler.on_payload(b"new", true), Ok(text(b"new")));
    }

    #[test]
    fn empty_message() {
        let mut assembler = Assembler::new(0);
        assembler.on_data(&header(OpCode::Text, true, 0)).unwrap();
        assert_eq!(assembler.take_if_complete(), text(b""));
        assert_eq!(assembler.take_if_complete(), None);
    }

    #[test]
    fn limit_holds_before_the_bytes_come() {
        let mut assembler = Assembler::new(4);
        assembler.on_data(&header(OpCode::Binary, false, 3)).unwrap();
        assert_eq!(assembler.on_payload(b"abc", true), Ok(None));
        let too_long = assembler.on_data(&header(OpCode::Continuation, true, 2));
        assert_eq!(too_long, Err(Violation::MessageTooLong));
        assert_eq!(
            Assembler::new(4).on_data(&header(OpCode::Text, true, u64::MAX >> 1)),
            too_long
        );
    }

    #[test]
    fn memory_stays_under_the_limit() {
        let mut assembler = Assembler::new(100);
        assembler.on_data(&header(OpCode::Binary, true, 100)).unwrap();
        assert_eq!(assembler.bytes.capacity(), 0);
        for _ in 0..33 {
            assembler.on_payload(b"abc", false).unwrap();
            assert!(assembler.bytes.capacity() <= 100);
        }
        let message: Vec<u8> = assembler.on_payload(b"!", true).unwrap().unwrap().bytes;
        assert_eq!(message.len(), 100);
    }

    #[test]
    fn text_is_checked_as_a_whole() {
        let mut assembler = Assembler::new(16);
        assembler.on_data(&header(OpCode::Text, false, 1)).unwrap();
        assert_eq!(assembler.on_payload(b"\xc3", true), Ok(None));
        assembler.on_data(&header(OpCode::Continuation, true, 1)).unwrap();
        assert_eq!(assembler.on_payload(b"\xa9", true), Ok(text("é".as_bytes())));

        assembler.on_data(&header(OpCode::Text, false, 1)).unwrap();
        assert_eq!(assembler.on_payload(b"\xc3", true), Ok(None));
        assert_eq!(
            assembler.on_data(&header(OpCode::Continuation, true, 0)),
            Err(Violation::NotUtf8)
        );
    }

    #[test]
    fn sequence() {
        let mut assembler = Assembler::new(16);
        let continuation = header(OpCode::Continuation, true, 1);
        assert_eq!(
            assembler.on_data(&continuation),
            Err(Violation::UnexpectedContinuation)
        );
        assert_eq!(
            assembler.on_payload(b"x", true),
            Err(Violation::UnexpectedContinuation)
        );
        assembler.on_data(&header(OpCode::Text, false, 0)).unwrap();
        assert_eq!(
            assembler.on_data(&header(OpCode::Text, true, 0)),
            Err(Violation::UnfinishedMessage)
        );
    }
}
