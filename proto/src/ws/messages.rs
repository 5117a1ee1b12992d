//! Whole messages up to a limit: what a control channel is read with.

use super::{Assembler, CloseFrame, ControlPayload, Item, Message, Reader, Side};
use crate::Violation;

/// A frame decoder and the message that it is in.
#[derive(Debug)]
pub struct MessageReader {
    reader: Reader,
    assembler: Assembler,
}

/// What a peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A whole message; text is UTF-8.
    Message(Message),
    /// To be answered with a pong.
    Ping(ControlPayload),
    /// A sign of life.
    Pong,
    /// The peer's Close; `None`: an empty one.
    Close(Option<CloseFrame>),
}

impl MessageReader {
    /// A reader for what the peer of `side` sends; a longer message than `limit` bytes is a violation.
    #[must_use]
    pub fn new(side: Side, limit: usize) -> Self {
        Self {
            reader: Reader::new(side),
            assembler: Assembler::new(limit),
        }
    }

    /// Reads up to the next thing said. Returns how many bytes of `input` it took, at least one unless `input` is empty, and
    /// what was said, if that is complete.
    ///
    /// # Errors
    /// The peer broke RFC 6455, or its message is too long or not UTF-8.
    pub fn next(&mut self, input: &mut [u8]) -> Result<(usize, Option<Said>), Violation> {
        let step = self.reader.next(input)?;
        let said = match step.item {
            None => None,
            Some(Item::Ping(payload)) => Some(Said::Ping(payload)),
            Some(Item::Pong(_)) => Some(Said::Pong),
            Some(Item::Close(frame)) => Some(Said::Close(frame)),
            Some(Item::Data { header, .. }) => {
                self.assembler.on_data(&header)?;
                self.assembler.take_if_complete().map(Said::Message)
            }
            Some(Item::Payload { range, last }) => {
                let piece = input.get(range).unwrap_or_default();
                self.assembler.on_payload(piece, last)?.map(Said::Message)
            }
        };
        Ok((step.consumed, said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::{CloseCode, OpCode, encode_close, encode_message, encode_ping};
    use std::vec::Vec;

    #[test]
    fn the_same_is_said_however_the_bytes_are_cut() {
        let mask = Some([1, 2, 3, 4]);
        let mut bytes = encode_message(OpCode::Text, b"{\"accept\":{}}", mask);
        bytes.extend_from_slice(&encode_ping(b"there?", mask));
        bytes.extend(encode_message(OpCode::Binary, b"", mask));
        bytes.extend_from_slice(&encode_close(CloseCode::NORMAL, "bye", mask));
        for cut in 1..=bytes.len() {
            let mut reader = MessageReader::new(Side::Server, 64);
            let mut said = Vec::new();
            for piece in bytes.clone().chunks_mut(cut) {
                let mut at = 0;
                while at < piece.len() {
                    let (used, what) = reader.next(&mut piece[at..]).unwrap();
                    at += used;
                    said.extend(what);
                }
            }
            assert!(
                matches!(
                    &said[..],
                    [Said::Message(text), Said::Ping(ping), Said::Message(empty), Said::Close(Some(close))]
                        if text.bytes == b"{\"accept\":{}}" && !text.binary && &ping[..] == b"there?"
                            && empty.binary && empty.bytes.is_empty() && close.reason.as_str() == "bye"
                ),
                "cut {cut}: {said:?}"
            );
        }
    }

    #[test]
    fn too_much_is_a_violation() {
        let mut bytes = encode_message(OpCode::Text, &[b'x'; 65], Some([0; 4]));
        let mut reader = MessageReader::new(Side::Server, 64);
        let mut at = 0;
        let result = loop {
            match reader.next(&mut bytes[at..]) {
                Ok((used, _)) if at + used < 71 => at += used,
                other => break other,
            }
        };
        assert_eq!(result.unwrap_err(), Violation::MessageTooLong);
    }
}
