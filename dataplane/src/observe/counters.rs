//! Counters of one shard: plain numbers where they are counted, atomics where they are read.
//!
//! A shard owns [`Counters`] and adds without synchronisation; now and then (once a turn, or on a timer) it
//! publishes them into its [`ShardStats`], of which the control thread holds a clone. A reader sees each
//! number as of some recent publication; numbers read together may come from two.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Defines [`Counter`] and its table from one list, so that no counter lacks a name, a kind or a text.
macro_rules! counters {
    ($($name:ident, $metric:literal, $kind:ident, $help:literal;)*) => {
        /// A number that every shard keeps.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Counter {
            $(#[doc = $help] $name,)*
        }

        impl Counter {
            /// Every counter, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Name for Prometheus, without prefix.
            #[must_use]
            pub const fn metric(self) -> &'static str {
                match self { $(Self::$name => $metric,)* }
            }

            /// Whether it only grows.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// What it counts.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

counters! {
    ConnectionsAccepted, "connections_accepted_total", Total, "TCP connections accepted.";
    AcceptErrors, "accept_errors_total", Total, "Failures to accept, mostly for want of descriptors.";
    ConnectionsMovedIn, "connections_moved_in_total", Total, "Connections taken over from another shard.";
    ConnectionsMovedOut, "connections_moved_out_total", Total, "Connections given to the shard of their path.";
    ConnectionsDialled, "connections_dialled_total", Total, "TCP connections opened to relays and targets.";
    ConnectionsRefused, "connections_refused_total", Total, "Connections closed at once: a limit was reached.";
    ConnectionsOpen, "connections_open", Level, "TCP connections open.";
    HandshakesFailed, "handshakes_failed_total", Total, "Connections lost during a TLS or HTTP handshake.";
    RequestsRefused, "requests_refused_total", Total, "Requests answered with an HTTP error status.";
    ListenersOnline, "listeners_online", Level, "Control channels open.";
    ListenersLost, "listeners_lost_total", Total, "Control channels lost: no answer, or token expired.";
    ListenersRegistered, "listeners_registered_total", Total, "Control channels registered.";
    SendersOffered, "senders_offered_total", Total, "Senders offered to a listener.";
    RendezvousRejected, "rendezvous_rejected_total", Total, "Senders that their listener rejected.";
    ProtocolViolations, "protocol_violations_total", Total, "Streams ended because a peer broke the protocol.";
    RendezvousJoined, "rendezvous_joined_total", Total, "Senders joined with a listener.";
    RendezvousTimedOut, "rendezvous_timed_out_total", Total, "Senders whom no listener accepted in time.";
    StreamsOpen, "streams_open", Level, "Streams running.";
    StreamsFinished, "streams_finished_total", Total, "Streams that ended in order.";
    StreamsFailed, "streams_failed_total", Total, "Streams that ended with an error.";
    Frames, "frames_total", Total, "Data frames passed on.";
    Bytes, "bytes_total", Total, "Bytes received for passing on, frame headers included.";
    RingEnters, "ring_enters_total", Total, "System calls of the ring.";
    RingCompletions, "ring_completions_total", Total, "Completions of the ring.";
    BuffersMissed, "buffers_missed_total", Total, "Receives that waited because the buffer pool was empty.";
    SmallBuffersFree, "small_buffers_free", Level, "Small buffers free.";
    LargeBuffersFree, "large_buffers_free", Level, "Large buffers free.";
    QueueBytes, "queue_bytes", Level, "Bytes in all queues, of the limit queue_bytes.";
    Turns, "turns_total", Total, "Turns of the shard.";
}

/// Whether a number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows (a Prometheus counter).
    Total,
    /// It goes up and down (a Prometheus gauge).
    Level,
}

/// The numbers where they are counted. One shard owns them.
#[derive(Clone)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Counters {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; Counter::ALL.len()])
    }

    /// Adds one.
    pub const fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `n`.
    pub const fn add(&mut self, counter: Counter, n: u64) {
        self.0[counter as usize] = self.0[counter as usize].wrapping_add(n);
    }

    /// Takes one off a level.
    pub fn lower(&mut self, counter: Counter) {
        debug_assert_eq!(counter.kind(), Kind::Level);
        self.0[counter as usize] = self.0[counter as usize].saturating_sub(1);
    }

    /// Sets a level, or a total that is counted elsewhere.
    pub const fn set(&mut self, counter: Counter, value: u64) {
        self.0[counter as usize] = value;
    }

    /// The number.
    #[must_use]
    pub const fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Makes the numbers visible to other threads.
    pub fn publish(&self, to: &ShardStats) {
        for (number, cell) in self.0.iter().zip(&*to.0) {
            cell.store(*number, Ordering::Relaxed);
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Counter::ALL
            .iter()
            .map(|counter| (counter.metric(), self.get(*counter)));
        f.debug_map().entries(named).finish()
    }
}

/// The numbers where they are read. Clones show the same shard.
#[derive(Debug, Clone)]
pub struct ShardStats(Arc<[AtomicU64]>);

impl ShardStats {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self(Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }

    /// The number as of a recent publication.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0
            .get(counter as usize)
            .map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

impl Default for ShardStats {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_seen_after_publication() {
        let mut counters = Counters::new();
        let stats = ShardStats::new();
        let reader = stats.clone();
        counters.count(Counter::ConnectionsAccepted);
        counters.add(Counter::Bytes, 10);
        counters.set(Counter::ConnectionsOpen, 2);
        counters.lower(Counter::ConnectionsOpen);
        assert_eq!(reader.get(Counter::ConnectionsAccepted), 0);
        counters.publish(&stats);
        let seen = [
            Counter::ConnectionsAccepted,
            Counter::Bytes,
            Counter::ConnectionsOpen,
        ];
        assert_eq!(seen.map(|counter| reader.get(counter)), [1, 10, 1]);
    }

    #[test]
    fn totals_are_named_as_totals() {
        for counter in Counter::ALL {
            assert_eq!(
                counter.metric().ends_with("_total"),
                counter.kind() == Kind::Total,
                "{counter:?}"
            );
        }
    }
}
