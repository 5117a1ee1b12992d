//! What a peer did wrong, and the one table from there to the wire.
//!
//! What the relay refuses although the peer kept to the protocol is in [`crate::hybrid::status`].

use crate::ws::CloseCode;

/// The peer broke a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Violation {
    /// An HTTP head over [`crate::limits::HEAD_MAX`] bytes or [`crate::limits::HEADERS_MAX`] headers.
    HeadTooLong,
    /// Bytes that are not an HTTP/1 head.
    BadHead,
    /// A reserved bit of a frame header is set although no extension was agreed (RFC 6455 section 5.2).
    ReservedBits,
    /// A reserved opcode.
    ReservedOpcode,
    /// A frame length with the top bit set, or not in its shortest form.
    BadLength,
    /// A control frame over 125 bytes.
    ControlTooLong,
    /// A control frame with FIN clear.
    ControlFragmented,
    /// A client's frame without a mask (RFC 6455 section 5.1).
    Unmasked,
    /// A server's frame with a mask.
    Masked,
    /// A continuation frame with no message to continue.
    UnexpectedContinuation,
    /// A new message inside a fragmented one.
    UnfinishedMessage,
    /// A data frame after Close.
    DataAfterClose,
    /// A Close payload of one byte, or a code that may not be sent.
    BadCloseCode,
    /// Text, or a Close reason, that is not UTF-8.
    NotUtf8,
    /// A message over the limit of its receiver.
    MessageTooLong,
}

impl Violation {
    /// Close code that tells the peer (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::NotUtf8 => CloseCode::INVALID_DATA,
            Self::MessageTooLong | Self::HeadTooLong => CloseCode::TOO_BIG,
            Self::BadHead
            | Self::ReservedBits
            | Self::ReservedOpcode
            | Self::BadLength
            | Self::ControlTooLong
            | Self::ControlFragmented
            | Self::Unmasked
            | Self::Masked
            | Self::UnexpectedContinuation
            | Self::UnfinishedMessage
            | Self::DataAfterClose
            | Self::BadCloseCode => CloseCode::PROTOCOL,
        }
    }

    /// HTTP status for a violation before the upgrade.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::HeadTooLong => 431,
            _ => 400,
        }
    }

    /// Short text for close reasons and logs.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::HeadTooLong => "request head too long",
            Self::BadHead => "not an HTTP/1.1 head",
            Self::ReservedBits => "reserved bit set",
            Self::ReservedOpcode => "reserved opcode",
            Self::BadLength => "bad frame length",
            Self::ControlTooLong => "control frame over 125 bytes",
            Self::ControlFragmented => "fragmented control frame",
            Self::Unmasked => "unmasked client frame",
            Self::Masked => "masked server frame",
            Self::UnexpectedContinuation => "continuation without a message",
            Self::UnfinishedMessage => "new message inside a fragmented one",
            Self::DataAfterClose => "data after close",
            Self::BadCloseCode => "bad close code",
            Self::NotUtf8 => "text is not UTF-8",
            Self::MessageTooLong => "message too long",
        }
    }
}

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Violation {}
