//! Names to addresses, off the shards: the system's resolver with a time limit and a short memory.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::time::timeout;

/// Resolves names. Shared by the tasks of the control thread.
#[derive(Debug)]
pub struct Resolver {
    limit: Duration,
    keep: Duration,
    cache: Mutex<HashMap<(String, u16), Answer>>,
}

#[derive(Debug)]
struct Answer {
    at: Instant,
    addresses: Vec<SocketAddr>,
}

impl Resolver {
    /// A resolver that waits up to [`LIMIT`] and keeps answers for [`KEEP`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_times(LIMIT, KEEP)
    }

    /// A resolver with other times.
    #[must_use]
    pub fn with_times(limit: Duration, keep: Duration) -> Self {
        Self {
            limit,
            keep,
            cache: Mutex::default(),
        }
    }

    /// All addresses of `host` (a name, or a literal without brackets), in the resolver's order; at least one.
    ///
    /// # Errors
    /// The name does not exist, or no answer came in time. Failures are not remembered.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Ok(addr) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(addr, port)]);
        }
        let key = (host.to_ascii_lowercase(), port);
        if let Some(addresses) = self.remembered(&key) {
            return Ok(addresses);
        }
        let fail = |cause| ResolveError {
            host: host.to_owned(),
            cause,
        };
        let found = timeout(self.limit, tokio::net::lookup_host((host, port)))
            .await
            .map_err(|_| fail(Cause::TimedOut))?
            .map_err(|error| fail(Cause::System(error)))?;
        let addresses: Vec<_> = found.collect();
        if addresses.is_empty() {
            return Err(fail(Cause::Empty));
        }
        self.remember(key, addresses.clone());
        Ok(addresses)
    }

    fn remembered(&self, key: &(String, u16)) -> Option<Vec<SocketAddr>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = cache.get(key)?;
        (answer.at.elapsed() < self.keep).then(|| answer.addresses.clone())
    }

    fn remember(&self, key: (String, u16), addresses: Vec<SocketAddr>) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= ANSWERS_MAX {
            cache.retain(|_, answer| answer.at.elapsed() < self.keep);
        }
        if cache.len() < ANSWERS_MAX {
            cache.insert(
                key,
                Answer {
                    at: Instant::now(),
                    addresses,
                },
            );
        }
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a name has no address.
#[derive(Debug)]
pub struct ResolveError {
    host: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    System(io::Error),
    Empty,
    TimedOut,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::System(error) => write!(f, "cannot resolve '{}': {error}", self.host),
            Cause::Empty => write!(f, "'{}' has no address", self.host),
            Cause::TimedOut => write!(f, "no answer in time while resolving '{}'", self.host),
        }
    }
}

impl std::error::Error for ResolveError {}

/// Wait for the system's resolver.
pub const LIMIT: Duration = Duration::from_secs(10);
/// An answer is good for this long.
pub const KEEP: Duration = Duration::from_secs(30);
/// Most answers remembered.
const ANSWERS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(task: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(task)
    }

    #[test]
    fn literals_need_no_resolver() {
        let resolver = Resolver::with_times(Duration::ZERO, KEEP);
        let found = block_on(resolver.resolve("::1", 80)).unwrap();
        assert_eq!(found, ["[::1]:80".parse().unwrap()]);
    }

    #[test]
    fn answers_are_kept_for_a_while_whatever_the_letter_case() {
        let resolver = Resolver::new();
        let remembered: Vec<SocketAddr> = vec!["192.0.2.1:80".parse().unwrap()];
        resolver.remember(("relay.example".to_owned(), 80), remembered.clone());
        assert_eq!(
            block_on(resolver.resolve("Relay.Example", 80)).unwrap(),
            remembered
        );
        let forgetful = Resolver::with_times(LIMIT, Duration::ZERO);
        forgetful.remember(("localhost".to_owned(), 80), remembered.clone());
        let found = block_on(forgetful.resolve("localhost", 80)).unwrap();
        assert!(found.iter().all(|addr| addr.ip().is_loopback()), "{found:?}");
    }

    #[test]
    fn memory_is_bounded() {
        let resolver = Resolver::new();
        for port in 0..2_000 {
            resolver.remember(("h".to_owned(), port), Vec::new());
        }
        assert_eq!(resolver.cache.lock().unwrap().len(), ANSWERS_MAX);
    }

    #[test]
    fn errors_name_the_host() {
        let resolver = Resolver::with_times(Duration::ZERO, KEEP);
        let error = block_on(resolver.resolve("no-such-name.invalid", 80)).unwrap_err();
        assert!(error.to_string().contains("'no-such-name.invalid'"), "{error}");
    }
}
