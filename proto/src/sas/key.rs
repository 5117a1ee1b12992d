//! The secret of a rule.

use alloc::string::String;
use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A key: wiped on drop, not printable, not comparable.
#[derive(Clone)]
pub struct Key(Zeroizing<String>);

impl Key {
    /// Takes the text of a key as it stands in a connection string.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text of the key, for writing a connection string to a file of its owner. Never for a log.
    #[must_use]
    pub fn dangerous_text(&self) -> &str {
        &self.0
    }

    /// Signature of a resource and an expiry, both as they stand in the token.
    pub(super) fn signature(&self, raw_resource: &str, raw_expiry: &str) -> [u8; SIGNATURE_LEN] {
        self.mac(raw_resource, raw_expiry).finalize().into_bytes().into()
    }

    /// Whether `signature` is the one of this key, in constant time.
    pub(super) fn verifies(
        &self,
        raw_resource: &str,
        raw_expiry: &str,
        signature: &[u8; SIGNATURE_LEN],
    ) -> bool {
        self.mac(raw_resource, raw_expiry).verify_slice(signature).is_ok()
    }

    fn mac(&self, raw_resource: &str, raw_expiry: &str) -> Hmac<Sha256> {
        // Keys longer than a block are hashed first (RFC 2104 section 2), so no length is refused.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()) else {
            unreachable!("HMAC takes keys of any length")
        };
        mac.update(raw_resource.as_bytes());
        mac.update(b"\n");
        mac.update(raw_expiry.as_bytes());
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Length of an HMAC-SHA256, bytes.
pub(super) const SIGNATURE_LEN: usize = 32;
