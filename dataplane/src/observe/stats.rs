//! Counters of a shard: plain numbers where they are counted, atomics where others read them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the counters once, for all three forms they take.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Counters of one shard, on its own thread.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The same for other threads to read.
        #[derive(Debug, Default)]
        pub struct ShardStats {
            $($name: AtomicU64,)+
        }

        impl ShardStats {
            /// Makes the current values readable. Values may be read while half of them are new.
            pub fn publish(&self, counters: &Counters) {
                $(self.$name.store(counters.$name, Ordering::Relaxed);)+
            }

            /// The values last published.
            #[must_use]
            pub fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }

        impl Counters {
            /// Name, help text and value of each counter.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),+).trim_ascii(), self.$name),)+]
            }

            /// Adds up shards.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// Connections in the table now.
    connections,
    /// Streams that are open or opening now (bridge).
    streams,
    /// Listeners registered now.
    listeners,
    /// Connections accepted.
    accepted,
    /// Times accepting failed, mostly for want of descriptors.
    accept_errors,
    /// Connections closed at once because the shard was full.
    refused_full,
    /// Connections given to another shard.
    moved_out,
    /// Connections taken from another shard.
    moved_in,
    /// Requests refused.
    refused,
    /// Request heads that did not come in time.
    slow_heads,
    /// Request heads that could not be read.
    bad_heads,
    /// Listeners that registered.
    listeners_registered,
    /// Listeners closed because their token expired.
    listeners_expired,
    /// Senders offered to a listener.
    senders,
    /// Senders that no listener took in time.
    rendezvous_timeouts,
    /// Senders that their listener rejected.
    rejected,
    /// Streams joined (relay) or upgraded (bridge).
    joined,
    /// Streams that ended with a close on both sides.
    closed,
    /// Streams that one side lost.
    aborted,
    /// Streams that failed at the bridge.
    failed,
    /// Streams ended because a peer broke the protocol.
    violations,
    /// Data frames relayed.
    frames,
    /// Payload bytes received for relaying.
    bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_is_read() {
        let stats = ShardStats::default();
        let counters = Counters { bytes: 7, frames: 2, ..Counters::default() };
        stats.publish(&counters);
        assert_eq!(stats.read(), counters);
        assert!(counters.list().iter().any(|(name, help, value)| *name == "bytes" && !help.is_empty() && *value == 7));
    }
}
