//! What can go wrong in a simulated network, how often, and the one random source that decides it.
//!
//! # Invariants
//! * Every decision comes from one seeded generator, drawn in the order of the calls: same calls, same seed, same run.
//! * A probability of zero draws nothing, so switching one fault off leaves the fault's neighbours readable in a trace.

use std::ops::Range;
use std::time::Duration;

/// Shape and faults of a simulated network. Probabilities are in `0.0..=1.0`.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Seed of all randomness.
    pub seed: u64,
    /// One-way delay of a packet, in nanoseconds. Packets of one direction of one connection never overtake each other.
    pub latency_ns: Range<u64>,
    /// Delay between an operation's submission and its first try, and between its execution and its completion being
    /// visible, in nanoseconds. Drawn per operation, so completions of different sockets change places.
    pub op_delay_ns: Range<u64>,
    /// Probability that one send, one receive or one packet carries fewer bytes than it could.
    pub split: f64,
    /// Most payload bytes of one packet.
    pub segment_max: usize,
    /// Bytes one direction of a connection holds, on the way or unread, before its sender has to wait.
    pub pipe_capacity: usize,
    /// Probability that a receive into a provided buffer starts a burst of `ENOBUFS`, although the pool has buffers: as
    /// when other sockets emptied the kernel's group within one turn.
    pub enobufs: f64,
    /// Longest burst of `ENOBUFS`, in receives.
    pub enobufs_burst: u32,
    /// Probability that an accept fails with `EMFILE`.
    pub emfile: f64,
    /// Probability that an accepted connection is a multishot accept's last one (`more` is false).
    pub accept_end: f64,
    /// Probability that a connection attempt is refused.
    pub refuse: f64,
    /// Probability that a connection attempt is never answered.
    pub unanswered: f64,
    /// Probability that a data packet meets a middlebox that resets the connection.
    pub reset: f64,
    /// How long an unanswered connection attempt takes to fail with `ETIMEDOUT`.
    pub connect_timeout: Duration,
    /// How long a partition lasts before connections across it fail with `ETIMEDOUT`, as with keepalive probes.
    pub silence_limit: Duration,
    /// Connections a listener holds for `accept`; more are asked to try again a second later.
    pub backlog: usize,
    /// Descriptors a host may have open.
    pub fd_limit: usize,
}

impl SimConfig {
    /// A well-behaved network: constant latency, nothing fails, nothing is split but by size.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            latency_ns: 50_000..50_001,
            op_delay_ns: 0..1,
            split: 0.0,
            segment_max: 64 * 1024,
            pipe_capacity: 256 * 1024,
            enobufs: 0.0,
            enobufs_burst: 1,
            emfile: 0.0,
            accept_end: 0.0,
            refuse: 0.0,
            unanswered: 0.0,
            reset: 0.0,
            connect_timeout: Duration::from_secs(20),
            silence_limit: Duration::from_secs(60),
            backlog: 1024,
            fd_limit: 1 << 20,
        }
    }

    /// Everything that a correct program survives without losing a stream: jitter, reordering between sockets, short
    /// transfers, small pipes, `ENOBUFS` bursts, `EMFILE`, accepts that end.
    #[must_use]
    pub fn rough(seed: u64) -> Self {
        Self {
            latency_ns: 1_000..3_000_000,
            op_delay_ns: 0..200_000,
            split: 0.4,
            segment_max: 9_000,
            pipe_capacity: 24_000,
            enobufs: 0.05,
            enobufs_burst: 6,
            emfile: 0.05,
            accept_end: 0.2,
            backlog: 16,
            ..Self::calm(seed)
        }
    }

    /// [`SimConfig::rough`], and connections break: resets on the way, refused and unanswered connection attempts.
    #[must_use]
    pub fn stormy(seed: u64) -> Self {
        Self {
            reset: 0.002,
            refuse: 0.05,
            unanswered: 0.02,
            ..Self::rough(seed)
        }
    }
}

/// The configuration and the random source, asked in the order of events.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) config: SimConfig,
    rng: fastrand::Rng,
    enobufs_left: u32,
}

impl Faults {
    pub(super) fn new(config: SimConfig) -> Self {
        let rng = fastrand::Rng::with_seed(config.seed);
        Self {
            config,
            rng,
            enobufs_left: 0,
        }
    }

    /// One-way delay of the next packet.
    pub(super) fn latency(&mut self) -> Duration {
        let range = self.config.latency_ns.clone();
        self.delay(range)
    }

    /// Delay of the next step of an operation.
    pub(super) fn op_delay(&mut self) -> Duration {
        let range = self.config.op_delay_ns.clone();
        self.delay(range)
    }

    /// How many of `n` bytes a send or receive moves: at least one unless `n` is zero.
    pub(super) fn shorten(&mut self, n: usize) -> usize {
        if n > 1 && self.chance(self.config.split) {
            self.rng.usize(1..n)
        } else {
            n
        }
    }

    /// Payload of the next packet, of `n` bytes that wait.
    pub(super) fn segment(&mut self, n: usize) -> usize {
        self.shorten(n.min(self.config.segment_max.max(1)))
    }

    /// How many of `n` packets on the way still arrive when their sender resets the connection.
    pub(super) fn survivors(&mut self, n: usize) -> usize {
        self.rng.usize(0..=n)
    }

    /// Picks one of `n` equals; `n` is not zero.
    pub(super) fn pick(&mut self, n: usize) -> usize {
        self.rng.usize(0..n)
    }

    /// Whether this receive finds the provided buffers gone.
    pub(super) fn enobufs(&mut self) -> bool {
        if self.enobufs_left == 0 && self.chance(self.config.enobufs) {
            self.enobufs_left = self.rng.u32(1..=self.config.enobufs_burst.max(1));
        }
        let hit = self.enobufs_left > 0;
        self.enobufs_left = self.enobufs_left.saturating_sub(1);
        hit
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }

    fn delay(&mut self, range: Range<u64>) -> Duration {
        let ns = if range.is_empty() {
            range.start
        } else {
            self.rng.u64(range)
        };
        Duration::from_nanos(ns)
    }
}
