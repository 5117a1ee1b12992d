//! Relay node: what a relay does with its connections.
//!
//! # Life of a connection
//! ```text
//!  accepted ─▶ Head ──(path known: moves to the shard of its hybrid connection)──▶ Head, there
//!                │ listen                  │ connect                         │ accept
//!                ▼                         ▼                                 ▼
//!             Listener ◀── accept msg ── Waiting ◀───── same id ─────── rendezvous
//!                                          └───────▶ Joined ◀───────────────┘
//! ```
//! # Invariants
//! * Listeners, senders and rendezvous of a hybrid connection meet on one shard, [`Relay::home_of`] its path, so nothing
//!   here is shared and no payload crosses threads.
//! * A rendezvous id is a secret that works once and for [`RelayLimits::rendezvous`].
//! * A stream ends at both ends: with the closer's Close frame, or, if one end broke, without any, so that the other end
//!   sees an error and never a regular end that is too short.

mod handshake;
mod join;
mod listen;
mod refuse;
mod rendezvous;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use viaduct_proto::http1::HeadBuffer;
use viaduct_proto::hybrid::{entity_key, match_entity};
use viaduct_proto::time::Now;

use crate::config::limits::RelayLimits;
use crate::config::relay::Namespace;
use crate::observe::{Counter, Counters, ShardStats};
use crate::ring::{Fd, Token};
use crate::shard::{Entropy, Handover, Order, Peers};
use crate::timer::TimerKey;
use crate::wire::{Roles, WireEvent, WireId, Wires};
use join::Joined;
use listen::{Entity, Listener};
use rendezvous::Waiting;

/// What a shard of a relay needs to know; the same for all shards.
#[derive(Debug, Clone)]
pub struct RelaySetup {
    /// Number of this shard.
    pub shard: usize,
    /// All shards.
    pub peers: Peers,
    /// Rules and hybrid connections.
    pub namespace: Arc<Namespace>,
    /// Times and bounds.
    pub limits: RelayLimits,
    /// `None`: plain `ws://`.
    pub tls: Option<Arc<ServerConfig>>,
    /// Authority in accept addresses; `None`: the one by which the listener came.
    pub advertise: Option<String>,
    /// Counters that others read.
    pub stats: ShardStats,
}

/// One shard of a relay node.
#[derive(Debug)]
pub struct Relay {
    setup: RelaySetup,
    roles: Roles<Role>,
    /// Hybrid connections with listeners, by lower-case path.
    entities: BTreeMap<String, Entity>,
    /// Senders that wait, by rendezvous id.
    waiting: BTreeMap<String, WireId>,
    entropy: Entropy,
    /// Bytes of unfinished request heads, all connections together.
    head_bytes: usize,
    /// Bytes kept for senders that wait.
    waiting_bytes: usize,
    /// Ends of joined streams.
    ends: u64,
    counters: Counters,
    /// Scratch space of `join`, kept to save allocations.
    pieces: Vec<join::Piece>,
}

/// What a connection is for.
#[derive(Debug)]
enum Role {
    Head(Box<Head>),
    /// Its hybrid connection lives on another shard; it leaves as soon as nothing of it is in flight.
    Leaving(Box<Leaving>),
    Listener(Box<Listener>),
    Waiting(Box<Waiting>),
    Joined(Box<Joined>),
}

/// A request head is being collected.
#[derive(Debug)]
struct Head {
    buffer: HeadBuffer,
    /// Bytes in the buffer.
    len: usize,
    since: Now,
    deadline: TimerKey,
}

#[derive(Debug)]
struct Leaving {
    /// The deadline of its head goes on.
    deadline: TimerKey,
    to: usize,
    head: viaduct_proto::http1::RequestHead,
    unread: Vec<u8>,
    since: Now,
}

/// Timers of roles.
mod timer {
    pub(super) const HEAD: u8 = 0;
    pub(super) const RENDEZVOUS: u8 = 1;
    pub(super) const LISTENER: u8 = 2;
    pub(super) const STREAM: u8 = 3;
}

impl Relay {
    /// A shard that does not listen yet.
    #[must_use]
    pub fn new(setup: RelaySetup, entropy: Entropy) -> Self {
        Self {
            setup,
            roles: Roles::default(),
            entities: BTreeMap::new(),
            waiting: BTreeMap::new(),
            entropy,
            head_bytes: 0,
            waiting_bytes: 0,
            ends: 0,
            counters: Counters::default(),
            pieces: Vec::new(),
        }
    }

    /// The shard where everything about the hybrid connection of `path` happens. For configured hybrid connections it
    /// follows from their path; where paths are created on first listen, from the first segment, because then a sender's
    /// `path/suffix` must come to the same shard before anybody knows which part of it is the suffix.
    #[must_use]
    pub fn home_of(namespace: &Namespace, path: &str, shards: usize) -> usize {
        let lower = entity_key(path);
        let key = match match_entity(&namespace.entities, &lower) {
            Some((entity, _, _)) => entity,
            None => lower.split('/').next().unwrap_or_default(),
        };
        // FNV-1a: stable across nodes and versions of the standard library.
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        usize::try_from(hash % shards.max(1) as u64).unwrap_or(0)
    }

    pub(crate) fn on_accepted(&mut self, wires: &mut Wires, result: io::Result<(Fd, Option<SocketAddr>)>) {
        match result {
            Ok((fd, peer)) => self.on_connection(wires, fd, peer),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                self.counters.count(Counter::AcceptErrors);
            }
        }
    }

    fn on_connection(&mut self, wires: &mut Wires, fd: Fd, peer: Option<SocketAddr>) {
        let Some(peer) = peer else {
            // The connection was gone before it could be asked for its address.
            wires.ring().close(fd);
            return;
        };
        match wires.adopt(fd, peer, self.setup.tls.as_ref()) {
            Ok(id) => {
                self.counters.count(Counter::ConnectionsAccepted);
                let since = wires.now();
                self.begin_head(wires, id, since);
            }
            Err(error) => {
                self.counters.count(Counter::ConnectionsRefused);
                tracing::warn!(%peer, %error, "connection refused: this shard is full");
            }
        }
    }

    pub(crate) fn on_event(&mut self, wires: &mut Wires, id: WireId, event: WireEvent) {
        match self.roles.get_mut(id) {
            None => wires.abort(id),
            Some(Role::Head(_)) => self.on_head_event(wires, id, event),
            Some(Role::Leaving(_)) => self.on_leaving_event(wires, id, event),
            Some(Role::Listener(_)) => self.on_listener_event(wires, id, event),
            Some(Role::Waiting(_)) => self.on_waiting_event(wires, id, event),
            Some(Role::Joined(_)) => self.on_joined_event(wires, id, event),
        }
    }

    pub(crate) fn on_timer(&mut self, wires: &mut Wires, token: Token) {
        let id = WireId {
            index: token.index(),
            generation: token.generation(),
        };
        match Wires::timer_kind(token) {
            timer::HEAD => self.on_head_deadline(wires, id),
            timer::RENDEZVOUS => self.on_rendezvous_deadline(wires, id),
            timer::LISTENER => self.on_listener_timer(wires, id),
            timer::STREAM => self.on_stream_timer(wires, id),
            _ => {}
        }
    }

    pub(crate) fn on_order(&mut self, wires: &mut Wires, order: Order) {
        if let Order::Adopt(handover) = order {
            self.on_handover(wires, *handover);
        }
    }

    fn on_handover(&mut self, wires: &mut Wires, handover: Handover) {
        let Handover {
            moved,
            head,
            unread,
            since,
        } = handover;
        match wires.adopt_moved(moved) {
            Ok(id) => {
                self.counters.count(Counter::ConnectionsMovedIn);
                self.begin_head(wires, id, since);
                self.on_head(wires, id, head, unread);
            }
            Err(error) => {
                tracing::warn!(%error, "connection refused: the shard of its hybrid connection is full")
            }
        }
    }

    /// Lets others read the counters.
    pub(crate) fn publish(&mut self, wires: &Wires) {
        wires.count(&mut self.counters);
        self.counters.set(Counter::StreamsOpen, self.ends.div_ceil(2));
        self.counters.publish(&self.setup.stats);
    }

    /// Connections with a role and senders that wait, for tests.
    #[must_use]
    pub fn load(&self) -> (usize, usize, usize) {
        (self.roles.len(), self.waiting.len(), self.entities.len())
    }
}
