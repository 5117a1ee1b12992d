//! WebSocket.

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
}
