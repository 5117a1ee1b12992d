//! The text of a token.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString},
};
use core::fmt;

use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::key::{Key, SIGNATURE_LEN};
use crate::{
    limits::{KEY_MAX, TOKEN_MAX},
    time::UnixTime,
};

/// A parsed token. It borrows the text, whose exact bytes are what is signed.
#[derive(Clone)]
pub struct SasToken<'a> {
    raw_resource: &'a str,
    raw_expiry: &'a str,
    signature: [u8; SIGNATURE_LEN],
    expires: UnixTime,
    key_name: Cow<'a, str>,
}

/// Why a text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenError {
    /// Over [`TOKEN_MAX`] bytes, or a rule name over [`KEY_MAX`].
    TooLong,
    /// Does not start with `SharedAccessSignature`.
    NotSas,
    /// A field is missing.
    Missing(&'static str),
    /// A field is there twice.
    Repeated(&'static str),
    /// A field cannot be read.
    Malformed(&'static str),
}

impl<'a> SasToken<'a> {
    /// Parses a token. Fields come in any order, their names in any letter case; unknown fields are ignored.
    ///
    /// # Errors
    /// [`TokenError`], which holds no text of the token.
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_MAX {
            return Err(TokenError::TooLong);
        }
        let fields = Fields::collect(after_scheme(text.trim()).ok_or(TokenError::NotSas)?)?;
        let raw_resource = fields.resource.ok_or(TokenError::Missing("sr"))?;
        let raw_signature = fields.signature.ok_or(TokenError::Missing("sig"))?;
        let raw_expiry = fields.expiry.ok_or(TokenError::Missing("se"))?;
        let raw_name = fields.key_name.ok_or(TokenError::Missing("skn"))?;
        let key_name = percent_decode_str(raw_name)
            .decode_utf8()
            .map_err(|_| TokenError::Malformed("skn"))?;
        if key_name.len() > KEY_MAX {
            return Err(TokenError::TooLong);
        }
        Ok(Self {
            raw_resource,
            raw_expiry,
            signature: decode_signature(raw_signature).ok_or(TokenError::Malformed("sig"))?,
            expires: decode_expiry(raw_expiry).ok_or(TokenError::Malformed("se"))?,
            key_name,
        })
    }

    /// End of validity (`se`).
    #[must_use]
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }

    /// Name of the rule whose key signed (`skn`), decoded.
    #[must_use]
    pub fn key_name(&self) -> &str {
        &self.key_name
    }

    /// What the token is for (`sr`), escaped as in the token.
    #[must_use]
    pub const fn raw_resource(&self) -> &'a str {
        self.raw_resource
    }

    /// Whether `key` made the signature, in constant time.
    #[must_use]
    pub fn is_signed_by(&self, key: &Key) -> bool {
        key.verifies(self.raw_resource, self.raw_expiry, &self.signature)
    }
}

impl fmt::Debug for SasToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("resource", &self.raw_resource)
            .field("expires", &self.expires)
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the token is too long"),
            Self::NotSas => f.write_str("the token does not start with SharedAccessSignature"),
            Self::Missing(field) => write!(f, "the token lacks {field}"),
            Self::Repeated(field) => write!(f, "the token has {field} twice"),
            Self::Malformed(field) => write!(f, "the token's {field} cannot be read"),
        }
    }
}

impl core::error::Error for TokenError {}

/// Makes a token for `resource` (such as `http://host/path/`), escaped with upper-case digits.
#[must_use]
pub fn sign(resource: &str, key_name: &str, key: &Key, expires: UnixTime) -> String {
    let resource = utf8_percent_encode(resource, ESCAPED).to_string();
    let expiry = expires.0.to_string();
    let signature = BASE64.encode(key.signature(&resource, &expiry));
    let signature = utf8_percent_encode(&signature, ESCAPED);
    let key_name = utf8_percent_encode(key_name, ESCAPED);
    format!("{SCHEME} sr={resource}&sig={signature}&se={expiry}&skn={key_name}")
}

/// The fields of a token, raw.
#[derive(Default)]
struct Fields<'a> {
    resource: Option<&'a str>,
    signature: Option<&'a str>,
    expiry: Option<&'a str>,
    key_name: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn collect(text: &'a str) -> Result<Self, TokenError> {
        let mut fields = Self::default();
        for part in text.split('&') {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            fields.put(name, value)?;
        }
        Ok(fields)
    }

    fn put(&mut self, name: &str, value: &'a str) -> Result<(), TokenError> {
        let slots = [
            ("sr", &mut self.resource),
            ("sig", &mut self.signature),
            ("se", &mut self.expiry),
            ("skn", &mut self.key_name),
        ];
        for (wanted, slot) in slots {
            if name.eq_ignore_ascii_case(wanted) && slot.replace(value).is_some() {
                return Err(TokenError::Repeated(wanted));
            }
        }
        Ok(())
    }
}

fn after_scheme(text: &str) -> Option<&str> {
    let scheme = text.get(..SCHEME.len())?;
    let fields = text.get(SCHEME.len()..)?;
    let separated = fields.starts_with(char::is_whitespace);
    (separated && scheme.eq_ignore_ascii_case(SCHEME)).then(|| fields.trim_start())
}

/// Decodes `sig`. Base64 knows no blank: one stands for a `+` that somebody forgot to escape.
fn decode_signature(raw: &str) -> Option<[u8; SIGNATURE_LEN]> {
    let mut text: alloc::vec::Vec<u8> = percent_decode_str(raw).collect();
    for byte in &mut text {
        if *byte == b' ' {
            *byte = b'+';
        }
    }
    BASE64.decode(&text).ok()?.try_into().ok()
}

fn decode_expiry(raw: &str) -> Option<UnixTime> {
    let digits = !raw.is_empty() && raw.bytes().all(|b| b.is_ascii_digit());
    // More digits than fit mean the far future.
    digits.then(|| UnixTime(raw.parse().unwrap_or(u64::MAX)))
}

/// Authorization scheme in front of the fields.
const SCHEME: &str = "SharedAccessSignature";
/// What a token escapes: everything but the unreserved characters of RFC 3986 section 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Standard base64, padded when written, padded or not when read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
