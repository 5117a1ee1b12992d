//! Frames as owned bytes: control frames, and whole messages that are small enough to be copied.
//!
//! A client passes a fresh random masking key per frame, a server none.

use alloc::vec::Vec;
use core::ops::Deref;

use super::close::{CloseCode, CloseFrame, CloseReason};
use super::control::ControlPayload;
use super::header::{FrameHeader, OpCode};
use super::inline::Inline;
use super::mask::apply_mask;
use crate::limits::CONTROL_PAYLOAD_MAX;

/// A whole control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallFrame(Inline<SMALL_FRAME_MAX>);

impl Deref for SmallFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// A Close frame. `reason` is cut to 123 bytes; `code` is taken as it is (see [`CloseCode::is_sendable`]).
#[must_use]
pub fn encode_close(code: CloseCode, reason: &str, mask: Option<[u8; 4]>) -> SmallFrame {
    let frame = CloseFrame {
        code,
        reason: CloseReason::truncated(reason),
    };
    control_frame(OpCode::Close, frame.encode(), mask)
}

/// A Close frame without payload.
#[must_use]
pub fn encode_empty_close(mask: Option<[u8; 4]>) -> SmallFrame {
    control_frame(OpCode::Close, ControlPayload::cut(&[]), mask)
}

/// A Ping frame. `payload` is cut to 125 bytes.
#[must_use]
pub fn encode_ping(payload: &[u8], mask: Option<[u8; 4]>) -> SmallFrame {
    control_frame(OpCode::Ping, ControlPayload::cut(payload), mask)
}

/// A Pong frame. `payload` is cut to 125 bytes.
#[must_use]
pub fn encode_pong(payload: &[u8], mask: Option<[u8; 4]>) -> SmallFrame {
    control_frame(OpCode::Pong, ControlPayload::cut(payload), mask)
}

/// A message in one frame.
#[must_use]
pub fn encode_message(opcode: OpCode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let header = FrameHeader {
        fin: true,
        opcode,
        mask,
        len: payload.len() as u64,
    };
    let mut bytes = Vec::with_capacity(header.encoded_len() + payload.len());
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(bytes.get_mut(header.encoded_len()..).unwrap_or_default(), key, 0);
    }
    bytes
}

fn control_frame(opcode: OpCode, mut payload: ControlPayload, mask: Option<[u8; 4]>) -> SmallFrame {
    let header = FrameHeader {
        fin: true,
        opcode,
        mask,
        len: payload.len() as u64,
    };
    if let Some(key) = mask {
        apply_mask(payload.0.as_mut_slice(), key, 0);
    }
    let mut frame = Inline::new();
    frame.extend_cut(&header.encode());
    frame.extend_cut(&payload);
    SmallFrame(frame)
}

/// Two bytes, a masking key, the payload.
const SMALL_FRAME_MAX: usize = 2 + 4 + CONTROL_PAYLOAD_MAX;

#[cfg(test)]
mod tests {
    use super::{encode_close, encode_empty_close, encode_message, encode_ping, encode_pong};
    use crate::ws::{CloseCode, OpCode};
    use std::vec::Vec;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// RFC 6455 section 5.7.
    #[test]
    fn samples_of_the_rfc() {
        let masked_hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(encode_message(OpCode::Text, b"Hello", Some(KEY)), masked_hello);
        assert_eq!(encode_message(OpCode::Text, b"Hello", None), b"\x81\x05Hello");
        assert_eq!(*encode_ping(b"Hello", None), *b"\x89\x05Hello");
        let masked_pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(*encode_pong(b"Hello", Some(KEY)), masked_pong);
        let long = encode_message(OpCode::Binary, &[0; 256], None);
        assert_eq!(
            (&long[..4], long.len()),
            ([0x82, 0x7e, 0x01, 0x00].as_slice(), 260)
        );
        let longer = encode_message(OpCode::Binary, &[0; 65536], None);
        assert_eq!(longer[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn closes() {
        assert_eq!(*encode_empty_close(None), [0x88, 0]);
        assert_eq!(
            *encode_empty_close(Some(KEY)),
            [0x88, 0x80, 0x37, 0xfa, 0x21, 0x3d]
        );
        assert_eq!(
            *encode_close(CloseCode::NORMAL, "ok", None),
            *b"\x88\x04\x03\xe8ok"
        );
        assert_eq!(
            encode_close(CloseCode::NORMAL, &"x".repeat(300), Some(KEY)).len(),
            131
        );
    }

    #[test]
    fn control_payloads_are_cut() {
        let payload: Vec<u8> = (0..=255).collect();
        let ping = encode_ping(&payload, None);
        assert_eq!((ping[1], &ping[2..]), (125, &payload[..125]));
    }
}
