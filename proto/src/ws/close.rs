//! Closing (RFC 6455 sections 5.5.1, 7): codes, reasons and the closing handshake.
//!
//! A Close frame ends one direction. The other one stays open until its own Close (half-close): a relay
//! depends on it, and the closing handshake of RFC 6455 is the case where the answer follows at once.

use super::control::ControlPayload;
use super::inline::Inline;
use crate::Violation;
use crate::limits::CLOSE_REASON_MAX;

/// Close code (RFC 6455 section 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Regular end.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away; here also: the entity was deleted.
    pub const GOING_AWAY: Self = Self(1001);
    /// Protocol violation.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of data that is not accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Payload that does not fit its type.
    pub const INVALID_DATA: Self = Self(1007);
    /// Policy violation; here: the token is no longer valid.
    pub const POLICY: Self = Self(1008);
    /// Message too big.
    pub const TOO_BIG: Self = Self(1009);
    /// Internal error.
    pub const INTERNAL: Self = Self(1011);

    /// Whether the code may stand in a Close frame: 1004 is undefined, 1005, 1006 and 1015 only exist for
    /// local use.
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Text of a Close frame: at most 123 bytes of UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseReason(Inline<CLOSE_REASON_MAX>);

impl CloseReason {
    /// `text`, cut between two characters if it is too long.
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        let end = text.floor_char_boundary(CLOSE_REASON_MAX);
        let mut inline = Inline::new();
        inline.extend_cut(text.get(..end).unwrap_or_default().as_bytes());
        Self(inline)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ever filled from text.
        core::str::from_utf8(self.0.as_slice()).unwrap_or_default()
    }
}

/// Payload of a Close frame that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame {
    /// Why, for machines.
    pub code: CloseCode,
    /// Why, for people; may be empty.
    pub reason: CloseReason,
}

impl CloseFrame {
    /// Reads the payload of a Close frame; none for an empty one.
    ///
    /// # Errors
    /// [`Violation::BadCloseCode`] for one byte or a code that may not be sent, [`Violation::NotUtf8`].
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, Violation> {
        if payload.is_empty() {
            return Ok(None);
        }
        let (code, reason) = payload.split_first_chunk::<2>().ok_or(Violation::BadCloseCode)?;
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.is_sendable() {
            return Err(Violation::BadCloseCode);
        }
        let reason = core::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
        Ok(Some(Self {
            code,
            reason: CloseReason::truncated(reason),
        }))
    }

    /// The payload that [`Self::parse`] reads.
    #[must_use]
    pub fn encode(&self) -> ControlPayload {
        let mut payload = ControlPayload::cut(&self.code.0.to_be_bytes());
        payload.0.extend_cut(self.reason.as_str().as_bytes());
        payload
    }
}

/// How far a connection is closed.
///
/// ```text
///          Send            Receive
/// Open ──────────▶ Sent ──────────▶ Closed
///   └─ Receive ─▶ Received ─ Send ──▲
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CloseState {
    /// Both directions carry data.
    #[default]
    Open,
    /// We sent Close: only the peer may send data.
    Sent,
    /// The peer sent Close: only we may send data.
    Received,
    /// Both sent Close: the connection can be dropped.
    Closed,
}

/// What moves a [`CloseState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum On {
    /// We send Close.
    Send,
    /// The peer's Close arrives.
    Receive,
}

impl CloseState {
    /// The state after `on`; none where it may not happen (a second Close in one direction).
    #[must_use]
    pub const fn next(self, on: On) -> Option<Self> {
        match (self, on) {
            (Self::Open, On::Send) => Some(Self::Sent),
            (Self::Open, On::Receive) => Some(Self::Received),
            (Self::Sent, On::Receive) | (Self::Received, On::Send) => Some(Self::Closed),
            (Self::Sent | Self::Closed, On::Send) | (Self::Received | Self::Closed, On::Receive) => None,
        }
    }

    /// Whether we may still send data.
    #[must_use]
    pub const fn may_send(self) -> bool {
        matches!(self, Self::Open | Self::Received)
    }

    /// Whether the peer may still send data.
    #[must_use]
    pub const fn may_receive(self) -> bool {
        matches!(self, Self::Open | Self::Sent)
    }
}

#[cfg(test)]
mod tests {
    use super::{CloseCode, CloseFrame, CloseReason, CloseState, On};
    use crate::Violation;
    use std::format;
    use std::string::String;

    #[test]
    fn every_state_and_event() {
        let mut table = String::new();
        for state in [
            CloseState::Open,
            CloseState::Sent,
            CloseState::Received,
            CloseState::Closed,
        ] {
            let (send, receive) = (state.may_send(), state.may_receive());
            table += &format!("{state:?} (send {send}, receive {receive})\n");
            for on in [On::Send, On::Receive] {
                table += &format!("  {on:?} -> {:?}\n", state.next(on));
            }
        }
        assert_eq!(
            table,
            "\
Open (send true, receive true)
  Send -> Some(Sent)
  Receive -> Some(Received)
Sent (send false, receive true)
  Send -> None
  Receive -> Some(Closed)
Received (send true, receive false)
  Send -> Some(Closed)
  Receive -> None
Closed (send false, receive false)
  Send -> None
  Receive -> None
"
        );
    }

    #[test]
    fn codes_that_may_be_sent() {
        let edges = [
            (999, false),
            (1000, true),
            (1003, true),
            (1004, false),
            (1005, false),
            (1006, false),
            (1007, true),
            (1014, true),
            (1015, false),
            (1016, false),
            (2999, false),
            (3000, true),
            (4999, true),
            (5000, false),
            (0, false),
            (u16::MAX, false),
        ];
        for (code, sendable) in edges {
            assert_eq!(CloseCode(code).is_sendable(), sendable, "{code}");
        }
    }

    #[test]
    fn payload_both_ways() {
        let frame = CloseFrame {
            code: CloseCode::GOING_AWAY,
            reason: CloseReason::truncated("bye"),
        };
        assert_eq!(*frame.encode(), *b"\x03\xe9bye");
        assert_eq!(CloseFrame::parse(b"\x03\xe9bye"), Ok(Some(frame)));
        assert_eq!(CloseFrame::parse(b""), Ok(None));
    }

    #[test]
    fn longest_payload() {
        let frame = CloseFrame {
            code: CloseCode::NORMAL,
            reason: CloseReason::truncated(&"x".repeat(200)),
        };
        assert_eq!(frame.encode().len(), 125);
        assert_eq!(CloseFrame::parse(&frame.encode()), Ok(Some(frame)));
    }

    #[test]
    fn bad_payloads() {
        assert_eq!(CloseFrame::parse(b"\x03"), Err(Violation::BadCloseCode));
        assert_eq!(CloseFrame::parse(b"\x03\xed"), Err(Violation::BadCloseCode));
        assert_eq!(CloseFrame::parse(b"\x03\xe8\xc3"), Err(Violation::NotUtf8));
    }

    #[test]
    fn reason_is_cut_between_characters() {
        let text = format!("{}é", "x".repeat(122));
        assert_eq!(text.len(), 124);
        assert_eq!(CloseReason::truncated(&text).as_str(), "x".repeat(122));
        assert_eq!(CloseReason::truncated("short").as_str(), "short");
    }
}
