//! Payload of a control frame (RFC 6455 section 5.5): at most 125 bytes, so it is held inside its owner.

use core::ops::Deref;

use super::inline::Inline;
use crate::limits::CONTROL_PAYLOAD_MAX;

/// What a Ping or Pong carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPayload(pub(super) Inline<CONTROL_PAYLOAD_MAX>);

impl ControlPayload {
    /// The first 125 bytes of `payload`.
    #[must_use]
    pub fn cut(payload: &[u8]) -> Self {
        let mut inline = Inline::new();
        inline.extend_cut(payload);
        Self(inline)
    }
}

impl Deref for ControlPayload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::ControlPayload;

    #[test]
    fn cuts_at_125() {
        assert_eq!(*ControlPayload::cut(&[7; 126]), [7; 125]);
        assert_eq!(*ControlPayload::cut(b"hi"), *b"hi");
        assert!(ControlPayload::cut(b"").is_empty());
    }
}
