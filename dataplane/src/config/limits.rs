//! Every bound that an operator can change, and the sum of the memory they allow.
//!
//! Invariant: whatever a shard allocates in proportion to what peers do belongs to one line of [`MemorySum`].

use std::fmt;
use std::time::Duration;

/// Bounds of a relay node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayLimits {
    /// Listeners that may be online on one hybrid connection (Azure Relay: 25).
    pub listeners_per_entity: usize,
    /// Wait for a listener to accept a sender.
    pub rendezvous: Duration,
    /// Wait for a complete request head, TLS handshake included.
    pub head: Duration,
    /// A control channel stays up this long after its token expired, so that a late renewal still counts.
    pub token_grace: Duration,
    /// Distance of pings on control channels.
    pub ping_every: Duration,
    /// Distance of pings on a data WebSocket on which nothing arrives; `None` sends none.
    pub idle_ping: Option<Duration>,
    /// Open connections, per shard.
    pub connections: usize,
    /// Buffers of 16 KiB, per shard.
    pub small_buffers: u32,
    /// Buffers of 256 KiB, per shard.
    pub large_buffers: u32,
    /// Bytes that all queues together may hold before each is down to one buffer, per shard.
    pub queue_bytes: usize,
}

impl Default for RelayLimits {
    fn default() -> Self {
        let shard = ShardLimits::default();
        Self {
            listeners_per_entity: 25,
            rendezvous: Duration::from_secs(30),
            head: Duration::from_secs(10),
            token_grace: Duration::from_secs(300),
            ping_every: Duration::from_secs(30),
            idle_ping: Some(Duration::from_secs(60)),
            connections: shard.connections,
            small_buffers: shard.small_buffers,
            large_buffers: shard.large_buffers,
            queue_bytes: shard.queue_bytes,
        }
    }
}

impl RelayLimits {
    /// The part that bounds memory.
    #[must_use]
    pub const fn shard(&self) -> ShardLimits {
        ShardLimits {
            connections: self.connections,
            small_buffers: self.small_buffers,
            large_buffers: self.large_buffers,
            queue_bytes: self.queue_bytes,
        }
    }

    /// Most memory that `threads` shards hold.
    #[must_use]
    pub const fn memory_sum(&self, threads: usize) -> MemorySum {
        self.shard().memory_sum(threads)
    }
}

/// Bounds of one shard's memory; the same for relay and bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardLimits {
    /// Open connections.
    pub connections: usize,
    /// Buffers of 16 KiB.
    pub small_buffers: u32,
    /// Buffers of 256 KiB.
    pub large_buffers: u32,
    /// Bytes that all queues together may hold before each is down to one buffer.
    pub queue_bytes: usize,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            small_buffers: 4_096,
            large_buffers: 128,
            queue_bytes: 256 * MIB,
        }
    }
}

impl ShardLimits {
    /// Most memory that `threads` shards hold.
    #[must_use]
    pub const fn memory_sum(&self, threads: usize) -> MemorySum {
        MemorySum {
            threads,
            shard: *self,
        }
    }
}

/// The arithmetic of the memory limit; displays as one line for the start of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySum {
    threads: usize,
    shard: ShardLimits,
}

impl MemorySum {
    /// All shards together, bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        let shard = self
            .small()
            .saturating_add(self.large())
            .saturating_add(self.connections());
        shard
            .saturating_add(self.shard.queue_bytes)
            .saturating_add(HEADS_MAX + WAITING_MAX)
            .saturating_mul(self.threads)
    }

    const fn small(&self) -> usize {
        (self.shard.small_buffers as usize).saturating_mul(SMALL_BUFFER_STRIDE)
    }

    const fn large(&self) -> usize {
        (self.shard.large_buffers as usize).saturating_mul(LARGE_BUFFER_STRIDE)
    }

    const fn connections(&self) -> usize {
        self.shard.connections.saturating_mul(CONNECTION_BYTES)
    }
}

impl fmt::Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory limit: {} shards x ({} connections {} + {} small buffers {} + {} large buffers {} \
             + queues {} + handshakes {}) = {}",
            self.threads,
            self.shard.connections,
            Mebibytes(self.connections()),
            self.shard.small_buffers,
            Mebibytes(self.small()),
            self.shard.large_buffers,
            Mebibytes(self.large()),
            Mebibytes(self.shard.queue_bytes),
            Mebibytes(HEADS_MAX + WAITING_MAX),
            Mebibytes(self.bytes()),
        )
    }
}

/// Bytes shown as MiB, rounded up so that a bound never reads lower than it is.
struct Mebibytes(usize);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(MIB))
    }
}

const MIB: usize = 1024 * 1024;
/// A small pool buffer: 16 KiB + 512 of data and headroom, on 4 KiB pages.
const SMALL_BUFFER_STRIDE: usize = 20 * 1024;
/// A large pool buffer: 256 KiB + 1 KiB of data and headroom, on 4 KiB pages.
const LARGE_BUFFER_STRIDE: usize = 260 * 1024;
/// A connection at its worst: row, role and TLS session, and the one receive buffer that its queue holds when memory is
/// short.
const CONNECTION_BYTES: usize = 16 * 1024 + HIGH_WATER_MIN;

// --- bounds that are not settings -----------------------------------------------------------------------------------

/// Most bytes queued on one connection before its source is paused, while memory is plentiful.
pub const HIGH_WATER: usize = 256 * 1024;
/// Least bytes at which a source is paused, however short memory is.
pub const HIGH_WATER_MIN: usize = 16 * 1024;
/// Bytes of a request head that is always accepted.
pub const HEAD_USUAL: usize = 4 * 1024;
/// Bytes of all unfinished heads of a shard before longer ones are refused.
pub const HEADS_MAX: usize = 32 * MIB;
/// Bytes kept for all senders of a shard that wait for their listener, before more are refused.
pub const WAITING_MAX: usize = 32 * MIB;
/// Bytes that a sender may send ahead of its 101 before it is no longer read.
pub const EARLY_MAX: usize = 4 * 1024;
/// A control channel with more than this queued gets no new senders: its listener does not read.
pub const CONTROL_QUEUE_MAX: usize = 256 * 1024;
/// Orders that wait for a shard, and questions that wait for the control thread.
pub const MAILBOX_MAX: usize = 4096;

const _: () = assert!(HIGH_WATER_MIN <= HIGH_WATER && HEAD_USUAL < HEADS_MAX && EARLY_MAX < WAITING_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_is_the_sum_of_its_lines() {
        let limits = ShardLimits {
            connections: 1024,
            small_buffers: 1024,
            large_buffers: 4,
            queue_bytes: MIB,
        };
        let sum = limits.memory_sum(2);
        assert_eq!(
            sum.bytes(),
            2 * (32 * MIB + 20 * MIB + 4 * 260 * 1024 + MIB + 64 * MIB)
        );
        assert_eq!(
            sum.to_string(),
            "memory limit: 2 shards x (1024 connections 32 MiB + 1024 small buffers 20 MiB + 4 large buffers 2 MiB \
             + queues 1 MiB + handshakes 64 MiB) = 237 MiB"
        );
    }

    #[test]
    fn absurd_limits_do_not_overflow() {
        let limits = ShardLimits {
            connections: usize::MAX,
            small_buffers: u32::MAX,
            large_buffers: u32::MAX,
            queue_bytes: usize::MAX,
        };
        assert_eq!(limits.memory_sum(usize::MAX).bytes(), usize::MAX);
    }
}
