//! Inputs and work of the benchmarks, shared so that every contender decodes the same bytes and gives the same
//! answer.

use std::io::Cursor;

use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};
use viaduct_proto::ws::{FrameHeader, Item, OpCode, Reader, Side, encode_message};

/// A run of masked binary messages as a client sends them.
#[derive(Debug, Clone)]
pub struct Frames {
    /// The frames, one behind the other.
    pub wire: Vec<u8>,
    /// How many there are.
    pub count: usize,
}

impl Frames {
    /// `count` messages of `len` bytes.
    #[must_use]
    pub fn new(count: usize, len: usize) -> Self {
        let payload: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let key = [0x1f, 0x83, 0x52, 0xe4];
        let wire = encode_message(OpCode::Binary, &payload, Some(key)).repeat(count);
        Self { wire, count }
    }
}

/// Decodes frames in place with [`Reader`]. The sum is over payload lengths and the ends of pieces, so that no
/// decoder can leave its work undone.
///
/// # Panics
/// When the frames are not valid.
#[must_use]
pub fn decode_in_place(wire: &mut [u8]) -> u64 {
    let mut reader = Reader::new(Side::Server);
    let mut rest = wire;
    let mut sum = Sum::default();
    while !rest.is_empty() {
        let step = reader.next(rest).expect("valid frames");
        if let Some(Item::Payload { range, .. }) = step.item {
            sum.add(&rest[range]);
        }
        rest = &mut rest[step.consumed..];
    }
    sum.0
}

/// Decodes the same frames with tungstenite.
///
/// # Panics
/// When the frames are not valid.
#[must_use]
pub fn decode_tungstenite(wire: Vec<u8>, count: usize) -> u64 {
    let config = WebSocketConfig::default().read_buffer_size(64 * 1024);
    let mut socket = WebSocket::from_raw_socket(Cursor::new(wire), Role::Server, Some(config));
    let mut sum = Sum::default();
    for _ in 0..count {
        match socket.read().expect("valid frames") {
            Message::Binary(payload) => sum.add(&payload),
            other => panic!("only binary messages were sent, not {other:?}"),
        }
    }
    sum.0
}

/// Parses headers alone and steps over the payload.
///
/// # Panics
/// When the frames are not valid.
#[must_use]
pub fn parse_headers(wire: &[u8]) -> u64 {
    let mut rest = wire;
    let mut total = 0;
    while let viaduct_proto::Parsed::Done(header, taken) = FrameHeader::parse(rest).expect("valid frames") {
        total += header.len;
        rest = &rest[taken + header.len as usize..];
    }
    total
}

/// Reads no more than a few bytes of each payload: the sum must not cost as much as the decoding.
#[derive(Debug, Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, payload: &[u8]) {
        let ends = [payload.first(), payload.get(payload.len() / 2), payload.last()];
        let ends = ends
            .into_iter()
            .flatten()
            .map(|byte| u64::from(*byte))
            .sum::<u64>();
        self.0 = self.0.wrapping_mul(31).wrapping_add(payload.len() as u64 + ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_agree() {
        for len in [1, 125, 126, 4096, 70_000] {
            let frames = Frames::new(7, len);
            let ours = decode_in_place(&mut frames.wire.clone());
            assert_eq!(ours, decode_tungstenite(frames.wire.clone(), frames.count));
            assert_eq!(parse_headers(&frames.wire), 7 * len as u64);
        }
    }
}
