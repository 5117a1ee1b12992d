//! The decision: who signed, for what, until when, and is it enough.

use alloc::string::String;
use core::fmt;

use super::{
    key::Key,
    resource,
    rights::Rights,
    token::{SasToken, TokenError},
};
use crate::time::UnixTime;

/// An authorization rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Name, as in `skn`.
    pub name: String,
    /// First key.
    pub primary: Key,
    /// Second key, so that keys can be rotated without a gap.
    pub secondary: Option<Key>,
    /// What the rule allows.
    pub rights: Rights,
}

/// A positive decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Until when, without grace.
    pub expires: UnixTime,
}

/// A negative decision; the policy says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthError {
    /// There is no token, and one is needed.
    Missing,
    /// Not a token.
    Malformed,
    /// No rule of that name. Peers are told the same as for [`AuthError::BadSignature`].
    UnknownRule,
    /// None of the rule's keys made the signature.
    BadSignature,
    /// The token is for something else.
    WrongResource,
    /// The rule does not allow what is asked.
    MissingRight,
    /// The token is over.
    Expired {
        /// When it ended.
        at: UnixTime,
    },
}

/// Decides about a token.
///
/// `host` is what the peer asked for (`Host` header; port and letter case do not count), `entity` the decoded
/// path, suffix included. `rules` come in order of precedence: the entity's, then the namespace's. Rules of
/// one name are all tried, primary key before secondary. Nothing but "bad signature" is told to a peer that
/// cannot sign.
///
/// # Errors
/// [`AuthError`]; never `Missing` or `Malformed`.
pub fn verify<'r>(
    token: &SasToken<'_>,
    host: &str,
    entity: &str,
    rules: impl Iterator<Item = &'r Rule>,
    need: Rights,
    now: UnixTime,
) -> Result<Grant, AuthError> {
    let rule = signer(token, rules)?;
    if !resource::covers(token.raw_resource(), host, entity) {
        return Err(AuthError::WrongResource);
    }
    let expires = token.expires();
    if now >= expires {
        return Err(AuthError::Expired { at: expires });
    }
    if !rule.rights.contains(need) {
        return Err(AuthError::MissingRight);
    }
    Ok(Grant { expires })
}

impl AuthError {
    /// What the peer is told; [`AuthError::Expired`] is completed with the time where it is known how to
    /// print one.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Missing => {
                "RelaySecurityTokenRequired: send a token in header ServiceBusAuthorization or in sb-hc-token."
            }
            Self::Malformed => "The token is not a readable SharedAccessSignature.",
            Self::UnknownRule | Self::BadSignature => "The token has an invalid signature.",
            Self::WrongResource => "The token is for another resource than this endpoint.",
            Self::MissingRight => {
                "Authorization failed for specified action: the rule of the token does not grant it."
            }
            Self::Expired { .. } => "The token is expired.",
        }
    }
}

impl From<TokenError> for AuthError {
    fn from(_: TokenError) -> Self {
        Self::Malformed
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for AuthError {}

fn signer<'r>(token: &SasToken<'_>, rules: impl Iterator<Item = &'r Rule>) -> Result<&'r Rule, AuthError> {
    let mut refusal = AuthError::UnknownRule;
    for rule in rules.filter(|rule| rule.name == token.key_name()) {
        let secondary = rule.secondary.as_ref();
        if token.is_signed_by(&rule.primary) || secondary.is_some_and(|key| token.is_signed_by(key)) {
            return Ok(rule);
        }
        refusal = AuthError::BadSignature;
    }
    Err(refusal)
}

#[cfg(test)]
mod tests;
