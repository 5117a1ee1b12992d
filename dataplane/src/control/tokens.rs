//! Tokens of a bridge: made from a key, cached until they should be renewed, or passed on as they were given.
//!
//! Lifetime 60 minutes, renewed at 80 % of it (azbridge.md 4), so that a relay's grace after expiry is never needed. Wall
//! time is an argument.

use std::fmt;
use std::time::Duration;

use viaduct_proto::hybrid::Token;
use viaduct_proto::sas::{self, SasToken};
use viaduct_proto::time::UnixTime;

use crate::config::bridge::{Credential, RelayEndpoint};

/// A token ready to be sent.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Value of `ServiceBusAuthorization` or `sb-hc-token`; `None`: connect without one.
    pub token: Option<Token>,
    /// End of validity; `None`: not known.
    pub expires: Option<UnixTime>,
    /// When the next one is due; `None`: there is no next one.
    pub renew_at: Option<UnixTime>,
}

/// Makes the token for one hybrid connection, or passes on the one that was given.
///
/// # Errors
/// The given token has expired; only the user can give another one.
pub fn issue(endpoint: &RelayEndpoint, now: UnixTime) -> Result<Issued, FixedTokenExpired> {
    match &endpoint.credential {
        Credential::Anonymous => Ok(Issued {
            token: None,
            expires: None,
            renew_at: None,
        }),
        Credential::Key { name, key } => {
            let expires = now.after(LIFETIME);
            let token = sas::sign(&resource(endpoint), name, key, expires);
            Ok(Issued {
                token: Some(Token::new(token)),
                expires: Some(expires),
                renew_at: Some(now.after(RENEW_AFTER)),
            })
        }
        Credential::Signature(token) => {
            // What cannot be read here is the relay's to judge: it may be a token of another kind.
            let expires = SasToken::parse(token.as_str())
                .ok()
                .map(|parsed| parsed.expires());
            match expires {
                Some(at) if at <= now => Err(FixedTokenExpired { at }),
                _ => Ok(Issued {
                    token: Some(token.clone()),
                    expires,
                    renew_at: None,
                }),
            }
        }
    }
}

/// The current token of each relay, so that opening a connection signs nothing.
#[derive(Debug)]
pub struct TokenCache {
    endpoints: Vec<RelayEndpoint>,
    issued: Vec<Option<Issued>>,
}

impl TokenCache {
    /// An empty cache; relays are named by their index in `endpoints`.
    #[must_use]
    pub fn new(endpoints: Vec<RelayEndpoint>) -> Self {
        let issued = endpoints.iter().map(|_| None).collect();
        Self { endpoints, issued }
    }

    /// The token to use for a relay now, made anew when it is due.
    ///
    /// # Errors
    /// See [`issue`].
    ///
    /// # Panics
    /// When there is no such relay.
    pub fn current(&mut self, relay: usize, now: UnixTime) -> Result<&Issued, FixedTokenExpired> {
        let slot = &mut self.issued[relay];
        let is_due = |issued: &Issued| issued.renew_at.or(issued.expires).is_some_and(|at| at <= now);
        if slot.as_ref().is_some_and(is_due) {
            *slot = None;
        }
        match slot {
            Some(issued) => Ok(issued),
            None => Ok(slot.insert(issue(&self.endpoints[relay], now)?)),
        }
    }

    /// When the first of the cached tokens is due for renewal.
    #[must_use]
    pub fn next_renewal(&self) -> Option<UnixTime> {
        self.issued
            .iter()
            .flatten()
            .filter_map(|issued| issued.renew_at)
            .min()
    }
}

/// A token that was given as it is (`-s`) has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedTokenExpired {
    /// When it expired.
    pub at: UnixTime,
}

impl fmt::Display for FixedTokenExpired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the shared access signature (-s) expired at {} seconds after 1970-01-01 UTC; give a new one, or a key (-k)",
            self.at.0
        )
    }
}

impl std::error::Error for FixedTokenExpired {}

/// What a token is for: scheme `http` and no port whatever is dialled, host in lower case, one `/` at the end.
fn resource(endpoint: &RelayEndpoint) -> String {
    let host = endpoint.host.to_ascii_lowercase();
    let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
    format!("http://{open}{host}{close}/{}/", endpoint.path)
}

/// Validity of a token.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// A new one is made after this time: 80 % of the validity.
const RENEW_AFTER: Duration = Duration::from_secs(48 * 60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use viaduct_proto::sas::{Key, Rights, Rule, verify};

    use super::*;

    fn endpoint(credential: Credential) -> RelayEndpoint {
        RelayEndpoint {
            host: "Relay.Example".to_owned(),
            port: 8443,
            secure: true,
            path: "a1/x".to_owned(),
            credential,
        }
    }

    fn key() -> Key {
        Key::new("a2V5")
    }

    const NOW: UnixTime = UnixTime(1_700_000_000);

    #[test]
    fn issued_token_verifies() {
        let endpoint = endpoint(Credential::Key {
            name: "root".to_owned(),
            key: Arc::new(key()),
        });
        let issued = issue(&endpoint, NOW).unwrap();
        let token = issued.token.unwrap();
        let parsed = SasToken::parse(token.as_str()).unwrap();
        let rule = Rule {
            name: "root".to_owned(),
            primary: key(),
            secondary: None,
            rights: Rights::MANAGE,
        };
        let grant = verify(
            &parsed,
            "relay.example:8443",
            "a1/x",
            [&rule].into_iter(),
            Rights::LISTEN,
            NOW,
        )
        .unwrap();
        assert_eq!(
            (Some(grant.expires), issued.renew_at),
            (issued.expires, Some(UnixTime(NOW.0 + 2_880)))
        );
        assert_eq!(grant.expires, UnixTime(NOW.0 + 3_600));
        assert!(
            token.as_str().contains("http%3A%2F%2Frelay.example%2Fa1%2Fx%2F"),
            "{}",
            token.as_str()
        );
    }

    #[test]
    fn given_token_is_passed_on_until_it_expires() {
        let text = sas::sign("http://relay.example/", "root", &key(), NOW);
        let endpoint = endpoint(Credential::Signature(Token::new(text.clone())));
        let issued = issue(&endpoint, UnixTime(NOW.0 - 1)).unwrap();
        assert_eq!(issued.token.unwrap().as_str(), text);
        assert_eq!((issued.expires, issued.renew_at), (Some(NOW), None));
        let expired = issue(&endpoint, NOW).unwrap_err();
        assert!(expired.at == NOW && expired.to_string().contains("1700000000"));
    }

    #[test]
    fn token_of_another_kind_is_passed_on() {
        let issued = issue(&endpoint(Credential::Signature(Token::new("eyJhbGciOi"))), NOW).unwrap();
        assert_eq!(
            (issued.token.unwrap().as_str(), issued.expires),
            ("eyJhbGciOi", None)
        );
        assert!(
            issue(&endpoint(Credential::Anonymous), NOW)
                .unwrap()
                .token
                .is_none()
        );
    }

    #[test]
    fn cache_signs_once_until_renewal_is_due() {
        let credential = Credential::Key {
            name: "root".to_owned(),
            key: Arc::new(key()),
        };
        let mut cache = TokenCache::new(vec![endpoint(credential), endpoint(Credential::Anonymous)]);
        assert_eq!(cache.next_renewal(), None);
        let first = cache.current(0, NOW).unwrap().expires;
        assert_eq!(cache.current(0, UnixTime(NOW.0 + 2_879)).unwrap().expires, first);
        assert_eq!(cache.next_renewal(), Some(UnixTime(NOW.0 + 2_880)));
        assert_ne!(cache.current(0, UnixTime(NOW.0 + 2_880)).unwrap().expires, first);
        assert!(cache.current(1, NOW).unwrap().token.is_none());
    }
}
