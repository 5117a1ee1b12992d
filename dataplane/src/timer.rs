//! Deadlines of one shard.

use std::collections::BTreeMap;

use viaduct_proto::time::Now;

use crate::ring::Token;

/// Names a timer that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerKey(Now, u64);

/// Timers by deadline.
#[derive(Debug, Default)]
pub struct Timers {
    set: BTreeMap<(Now, u64), Token>,
    next: u64,
}

impl Timers {
    /// No timers.
    #[must_use]
    pub fn new(_now: Now) -> Self {
        Self::default()
    }

    /// Sets a timer.
    pub fn set(&mut self, at: Now, token: Token) -> TimerKey {
        self.next += 1;
        self.set.insert((at, self.next), token);
        TimerKey(at, self.next)
    }

    /// Forgets a timer.
    pub fn cancel(&mut self, key: TimerKey) {
        self.set.remove(&(key.0, key.1));
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Now> {
        self.set.keys().next().map(|(at, _)| *at)
    }

    /// Moves the tokens of timers that are due to `out`.
    pub fn expire(&mut self, now: Now, out: &mut Vec<Token>) {
        while let Some(entry) = self.set.first_entry().filter(|entry| entry.key().0 <= now) {
            out.push(entry.remove());
        }
    }
}
