//! The table of connections and the mechanisms they share.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use slab::Slab;
use viaduct_proto::time::{Now, UnixTime};

use super::{IDLE_AFTER, Life, Tx, Wire, WireEvent, WireId, kind};
use crate::buf::{Chunk, Gather, Lease, Pool, PoolConfig};
use crate::config::limits::{HIGH_WATER, HIGH_WATER_MIN};
use crate::observe::{Counter, Counters};
use crate::ring::{Completion, Fd, Outcome, Ring, Token};
use crate::timer::{TimerKey, Timers};

/// Plaintext of one record plus room for frame headers.
const SMALL_DATA: usize = 16 * 1024 + 512;
/// Buffer of a hot connection.
const LARGE_DATA: usize = 256 * 1024 + 1024;
/// Longest wait while a connection has found no receive buffer.
const STARVED_PAUSE: Duration = Duration::from_millis(20);
/// Most gathers kept for reuse.
const SPARE_GATHERS: usize = 256;

/// Sizes of one shard's mechanisms.
#[derive(Debug, Clone, Copy)]
pub struct WiresConfig {
    /// Buffers of about 16 KiB.
    pub small_buffers: u32,
    /// Buffers of about 256 KiB.
    pub large_buffers: u32,
    /// Most connections.
    pub connections: usize,
    /// Bytes that all queues together may hold before every connection is down to [`HIGH_WATER_MIN`].
    pub queue_bytes: usize,
}

impl WiresConfig {
    /// The pool that the ring receives into.
    ///
    /// # Errors
    /// The operating system refuses the memory.
    pub fn small_pool(&self) -> io::Result<Pool> {
        Pool::new(PoolConfig {
            data_len: SMALL_DATA,
            count: self.small_buffers,
        })
    }
}

/// All connections of one shard.
#[derive(Debug)]
pub struct Wires {
    pub(super) ring: Ring,
    pub(super) small: Pool,
    pub(super) large: Pool,
    timers: Timers,
    table: Slab<Slot>,
    /// Generation for the next insertion at an index.
    generations: Vec<u32>,
    pub(super) connections_max: usize,
    pub(super) now: Now,
    /// Sockets that accept, by number.
    pub(super) listeners: Vec<Fd>,
    /// Wires to flush at the end of the turn.
    pub(super) dirty: Vec<WireId>,
    /// Wires whose receive found the pool empty.
    pub(super) starved: VecDeque<WireId>,
    pub(super) events: VecDeque<(WireId, WireEvent)>,
    /// Handshake bytes that wait for a later turn, and how many were taken in this one.
    pub(super) deferred: VecDeque<(WireId, Lease)>,
    pub(super) handshakes: u32,
    /// When to look for idle connections next.
    pub(super) next_sweep: Now,
    /// Where small pieces of plaintext are put together for one TLS record.
    pub(super) stage: Vec<u8>,
    #[expect(
        clippy::vec_box,
        reason = "operations own a gather by its box; unboxing would copy it twice a send"
    )]
    spare_gathers: Vec<Box<Gather>>,
    /// Bytes in all queues, in flight included.
    pub(super) queued_all: usize,
    queue_bytes: usize,
    pub(super) dialled: u64,
    turns: u64,
    /// Time of day at `Now(0)`, where it is not the system's.
    epoch: Option<UnixTime>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    wire: Wire,
}

impl Wires {
    /// # Errors
    /// The operating system refuses the memory of the pools.
    pub fn new(ring: Ring, small: Pool, config: WiresConfig, epoch: Option<UnixTime>) -> io::Result<Self> {
        let large = Pool::new(PoolConfig {
            data_len: LARGE_DATA,
            count: config.large_buffers,
        })?;
        let now = ring.now();
        Ok(Self {
            ring,
            small,
            large,
            timers: Timers::new(),
            table: Slab::new(),
            generations: Vec::new(),
            connections_max: config.connections,
            now,
            listeners: Vec::new(),
            dirty: Vec::new(),
            starved: VecDeque::new(),
            events: VecDeque::new(),
            deferred: VecDeque::new(),
            handshakes: 0,
            next_sweep: now.after(IDLE_AFTER),
            stage: Vec::new(),
            spare_gathers: Vec::new(),
            queued_all: 0,
            queue_bytes: config.queue_bytes,
            dialled: 0,
            turns: 0,
            epoch,
        })
    }

    // --- the turn -------------------------------------------------------------------------------------------------

    /// Flushes what the last turn produced, then waits for completions, a wake-up or a timer.
    ///
    /// # Errors
    /// The ring is broken; the shard cannot go on.
    pub fn wait(&mut self, completions: &mut Vec<Completion>, timers: &mut Vec<Token>) -> io::Result<()> {
        self.turns += 1;
        self.feed_starved();
        self.take_deferred();
        self.flush();
        // Flushing can fail connections; their roles are to hear of it before the shard sleeps.
        let deadline = if self.events.is_empty() && self.deferred.is_empty() {
            self.next_deadline()
        } else {
            self.now
        };
        self.ring.wait(Some(deadline), completions)?;
        self.now = self.ring.now();
        self.timers.expire(self.now, timers);
        self.sweep_idle();
        Ok(())
    }

    /// When [`Wires::wait`] returns at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Now {
        let timer = self.timers.next().unwrap_or(self.next_sweep);
        let deadline = timer.min(self.next_sweep);
        if self.starved.is_empty() {
            return deadline;
        }
        // Buffers come back with completions, mostly; this is for those that come back otherwise.
        deadline.min(self.now.after(STARVED_PAUSE))
    }

    /// Carries out a completion; [`Wires::next_event`] tells what it means for the role that owns the connection.
    pub fn on_completion(&mut self, completion: Completion) {
        let id = WireId {
            index: completion.token.index(),
            generation: completion.token.generation(),
        };
        // A completion for a connection that is not there cannot be: slots outlive their operations.
        let _found: Option<()> = match completion.outcome {
            Outcome::Connected(result) => self.on_connected(id, result),
            Outcome::Polled(result) => self.on_polled(id, result),
            Outcome::Received { result, lease } => self.on_received(id, result, lease),
            Outcome::Sent { result, gather } => self.on_sent(id, result, gather),
            Outcome::Accepted(_) | Outcome::Woken => None,
        };
    }

    /// The next thing that roles are to be told. Events of a connection that its role has given up are dropped.
    pub fn next_event(&mut self) -> Option<(WireId, WireEvent)> {
        loop {
            let (id, event) = self.events.pop_front()?;
            if self.peek(id).is_some_and(|wire| wire.life == Life::Open) {
                return Some((id, event));
            }
        }
    }

    /// Carries out a timer of this module; gives back one that belongs to a role.
    pub fn on_timer(&mut self, token: Token) -> Option<Token> {
        if token.kind() >= kind::TIMERS {
            return Some(token);
        }
        match token.kind() {
            kind::LINGER => self.on_linger_over(WireId {
                index: token.index(),
                generation: token.generation(),
            }),
            kind::ACCEPT => self.accept_again(token.index()),
            _ => {}
        }
        None
    }

    /// Time at the start of this turn.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Time of day.
    #[must_use]
    pub fn unix(&self) -> UnixTime {
        match self.epoch {
            Some(epoch) => UnixTime(epoch.0 + self.now.0 / 1_000_000_000),
            None => UnixTime(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |d| d.as_secs()),
            ),
        }
    }

    /// Sets a timer that comes back from [`Wires::wait`] with `token`.
    pub fn set_timer(&mut self, at: Now, token: Token) -> TimerKey {
        self.timers.set(at, token)
    }

    /// Forgets a timer.
    pub fn cancel_timer(&mut self, key: TimerKey) {
        self.timers.cancel(key);
    }

    /// Label for a timer of `id`; `kind` counts from zero for each role.
    #[must_use]
    pub fn timer_token(id: WireId, kind: u8) -> Token {
        Token::new(id.index, id.generation, kind::TIMERS + kind)
    }

    /// The role's kind in a timer token of [`Wires::timer_token`].
    #[must_use]
    pub fn timer_kind(token: Token) -> u8 {
        token.kind().saturating_sub(kind::TIMERS)
    }

    /// Buffers that hold copies of `bytes`. `None`: the system has no memory.
    #[must_use]
    pub fn leases(&self, mut bytes: &[u8]) -> Option<Vec<Lease>> {
        let mut leases = Vec::new();
        while !bytes.is_empty() {
            let mut lease = self.lease_for(bytes.len())?;
            let taken = lease.extend_from_slice(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            leases.push(lease);
        }
        Some(leases)
    }

    /// The ring, for listening sockets and counters.
    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    // --- looking --------------------------------------------------------------------------------------------------

    /// Connections in the table, those that are ending included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// No connections.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Address of the other end.
    #[must_use]
    pub fn peer(&self, id: WireId) -> Option<SocketAddr> {
        self.peek(id).map(|wire| wire.peer)
    }

    /// Plaintext bytes that wait to be sent or are being sent.
    #[must_use]
    pub fn queued(&self, id: WireId) -> usize {
        self.peek(id).map_or(0, |wire| wire.tx.queued())
    }

    /// Queue length at which a source must pause: a share of what is left, so that many stalled readers together cannot
    /// take all of it. What the queues can hold at most is `queue_bytes` and one receive buffer for each connection.
    #[must_use]
    pub fn high_water(&self) -> usize {
        let left = self.queue_bytes.saturating_sub(self.queued_all);
        (left / 8).clamp(HIGH_WATER_MIN, HIGH_WATER)
    }

    /// Memory is plentiful enough for receives of 256 KiB.
    pub(super) fn may_receive_large(&self) -> bool {
        self.queued_all < self.queue_bytes / 2
    }

    /// Writes down the counters of this layer.
    pub fn count(&self, counters: &mut Counters) {
        let ring = self.ring.counters();
        counters.set(Counter::ConnectionsOpen, self.table.len() as u64);
        counters.set(Counter::ConnectionsDialled, self.dialled);
        counters.set(Counter::RingEnters, ring.enters);
        counters.set(Counter::RingCompletions, ring.cqes);
        counters.set(Counter::BuffersMissed, ring.enobufs);
        counters.set(Counter::SmallBuffersFree, u64::from(self.small.free()));
        counters.set(Counter::LargeBuffersFree, u64::from(self.large.free()));
        counters.set(Counter::QueueBytes, self.queued_all as u64);
        counters.set(Counter::Turns, self.turns);
    }

    /// Timers set and not due yet.
    #[must_use]
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Free and all buffers of the receive pool.
    #[must_use]
    pub fn buffers(&self) -> (u32, u32) {
        (self.small.free(), self.small.count())
    }

    /// Free and all buffers for hot connections.
    #[must_use]
    pub fn large_buffers(&self) -> (u32, u32) {
        (self.large.free(), self.large.count())
    }

    // --- the table ------------------------------------------------------------------------------------------------

    pub(super) fn insert(&mut self, wire: Wire) -> WireId {
        let entry = self.table.vacant_entry();
        let position = entry.key();
        if self.generations.len() <= position {
            self.generations.resize(position + 1, 0);
        }
        let generation = self.generations[position];
        entry.insert(Slot { generation, wire });
        let index = u32::try_from(position).expect("the table is bounded far below 2^32 connections");
        WireId { index, generation }
    }

    pub(super) fn remove(&mut self, id: WireId) -> Option<Wire> {
        let position = id.index as usize;
        if self.table.get(position)?.generation != id.generation {
            return None;
        }
        self.generations[position] = (id.generation + 1) & 0x00ff_ffff;
        Some(self.table.remove(position).wire)
    }

    pub(super) fn get(&mut self, id: WireId) -> Option<&mut Wire> {
        let slot = self.table.get_mut(id.index as usize)?;
        (slot.generation == id.generation).then_some(&mut slot.wire)
    }

    pub(super) fn peek(&self, id: WireId) -> Option<&Wire> {
        let slot = self.table.get(id.index as usize)?;
        (slot.generation == id.generation).then_some(&slot.wire)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = (WireId, &Wire)> {
        self.table.iter().map(|(index, slot)| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            (
                WireId {
                    index,
                    generation: slot.generation,
                },
                &slot.wire,
            )
        })
    }

    pub(super) fn mark_dirty(&mut self, id: WireId) {
        if let Some(wire) = self.get(id)
            && !wire.tx.dirty
        {
            wire.tx.dirty = true;
            self.dirty.push(id);
        }
    }

    pub(super) fn take_gather(&mut self) -> Box<Gather> {
        self.spare_gathers.pop().unwrap_or_else(Gather::new)
    }

    pub(super) fn spare_gather(&mut self, mut gather: Box<Gather>) {
        if self.spare_gathers.len() < SPARE_GATHERS {
            gather.clear();
            self.spare_gathers.push(gather);
        }
    }

    /// Copies a chunk out of its pool buffer when buffers are short, so that what waits pins bytes, not buffers: the last
    /// quarter of them is for connections that go on. [`Wires::send`] does it; a role does it for what it keeps.
    #[must_use]
    pub fn unpin(&self, chunk: Chunk) -> Chunk {
        let short = self.small.free() <= self.small.count() / 4;
        if short && chunk.is_pooled() {
            chunk.copied()
        } else {
            chunk
        }
    }
}

impl Tx {
    pub(super) fn queued(&self) -> usize {
        self.in_flight_len + self.pending.as_ref().map_or(0, |g| g.len()) + self.protocol.len()
    }
}
