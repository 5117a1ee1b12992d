//! Bridge: local forwards (`-L`) and remote forwards (`-T`) over a relay.
//!
//! # Life of a stream
//! ```text
//!   client ─TCP─▶ accepted ──▶ link: connect, TLS, upgrade ──▶ preamble + first data, one flight ──▶ bytes both ways
//!   control channel ─accept─▶ link: connect, TLS, upgrade ──▶ preamble read ──▶ reply, target connect ──▶ bytes both ways
//! ```
//! # Invariants
//! * A stream is one `Stream`: a TCP end and a link (WebSocket) end on one shard; whichever fails takes the other with it.
//! * The end of one direction is carried as it is: FIN becomes Close 1000 "Shutdown" and the reverse; a reset becomes a
//!   lost WebSocket and the reverse; any other close code resets the TCP end.
//! * Every frame is complete when it is queued, so frames of our own (ping, pong, Close) fit between any two.
//! * A client socket is never left open and silent: on every failure it is reset and a log line says which logical port,
//!   which relay and why.

mod control;
mod lifecycle;
mod link;
mod local;
mod remote;
mod resolve;
mod splice;
mod stream;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use slab::Slab;

use crate::config::bridge::BridgeConfig;
use crate::observe::{Counter, Counters, ShardStats};
use crate::ring::{Fd, Token};
use crate::shard::{Asks, Entropy, Order, Peers};
use crate::wire::{Roles, WireEvent, WireId, Wires};
use control::Channel;
use resolve::{Question, RelayState};
use stream::{Stream, StreamKey};

/// What a shard of a bridge needs to know.
#[derive(Debug, Clone)]
pub struct BridgeSetup {
    /// Number of this shard.
    pub shard: usize,
    /// All shards.
    pub peers: Peers,
    /// Forwards and relays.
    pub config: Arc<BridgeConfig>,
    /// The control thread.
    pub asks: Asks,
    /// Counters that others read.
    pub stats: ShardStats,
}

/// One shard of a bridge.
#[derive(Debug)]
pub struct Bridge {
    setup: BridgeSetup,
    sockets: Vec<LocalSocket>,
    roles: Roles<Role>,
    streams: Slab<Stream>,
    next_serial: u32,
    relays: Vec<RelayState>,
    /// Control channels of the remote forwards that this shard serves.
    channels: Vec<Channel>,
    /// Open questions to the control thread, by ticket.
    questions: HashMap<u64, Question>,
    /// Shard that gets the next rendezvous.
    next_shard: usize,
    entropy: Entropy,
    counters: Counters,
}

/// A listening socket and the forward it belongs to.
#[derive(Debug, Clone, Copy)]
struct LocalSocket {
    forward: usize,
    bind: usize,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// TCP end of a stream.
    Tcp(StreamKey),
    /// Relay end of a stream.
    Link(StreamKey),
    /// Control channel, by index.
    Channel(usize),
}

/// Timers of this job; those of streams and channels carry their index in the token.
mod timer {
    pub(super) const STREAM: u8 = 0;
    pub(super) const CHANNEL: u8 = 1;
}

impl Bridge {
    /// A shard that does nothing yet; tokens and sockets come to it.
    #[must_use]
    pub fn new(setup: BridgeSetup, entropy: Entropy) -> Self {
        let relays = setup
            .config
            .relays
            .iter()
            .map(|_| RelayState::default())
            .collect();
        let mine = setup
            .config
            .remotes
            .iter()
            .enumerate()
            .filter(|(n, _)| n % setup.peers.len().max(1) == setup.shard);
        let channels = mine
            .map(|(remote, forward)| Channel::new(remote, forward.relay))
            .collect();
        Self {
            sockets: Vec::new(),
            roles: Roles::default(),
            streams: Slab::new(),
            next_serial: 0,
            relays,
            channels,
            questions: HashMap::new(),
            next_shard: setup.shard,
            entropy,
            counters: Counters::default(),
            setup,
        }
    }

    /// Starts accepting clients of local forward `forward`, bind number `bind`, on a socket that listens.
    pub fn listen(&mut self, wires: &mut Wires, fd: Fd, forward: usize, bind: usize) {
        let listener = wires.accept(fd);
        debug_assert_eq!(
            listener as usize,
            self.sockets.len(),
            "this job owns all listeners of its shard"
        );
        self.sockets.push(LocalSocket { forward, bind });
    }

    /// Opens the control channels of the remote forwards that this shard serves.
    pub fn start(&mut self, wires: &mut Wires) {
        for index in 0..self.channels.len() {
            self.open_channel(wires, index);
        }
    }

    pub(crate) fn on_accepted(
        &mut self,
        wires: &mut Wires,
        socket: u32,
        result: io::Result<(Fd, Option<SocketAddr>)>,
    ) {
        let Some(local) = self.sockets.get(socket as usize).copied() else {
            return;
        };
        match result {
            Ok((fd, Some(peer))) => self.on_client(wires, local, fd, peer),
            // The client was gone before it could be asked for its address.
            Ok((fd, None)) => wires.ring().close(fd),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                self.counters.count(Counter::AcceptErrors);
            }
        }
    }

    pub(crate) fn on_event(&mut self, wires: &mut Wires, id: WireId, event: WireEvent) {
        match self.roles.get(id).copied() {
            None => wires.abort(id),
            Some(Role::Tcp(key)) => self.on_tcp_event(wires, key, event),
            Some(Role::Link(key)) => self.on_link_event(wires, key, event),
            Some(Role::Channel(index)) => self.on_channel_event(wires, index, event),
        }
    }

    pub(crate) fn on_timer(&mut self, wires: &mut Wires, token: Token) {
        let index = token.index() as usize;
        match Wires::timer_kind(token) {
            timer::STREAM => self.on_stream_timer(
                wires,
                StreamKey {
                    index,
                    serial: token.generation(),
                },
            ),
            timer::CHANNEL => self.on_channel_timer(wires, index),
            _ => {}
        }
    }

    pub(crate) fn on_order(&mut self, wires: &mut Wires, order: Order) {
        match order {
            Order::Resolved { ticket, result } => self.on_resolved(wires, ticket, result),
            Order::Token { relay, token } => self.on_token(wires, relay, token),
            Order::Rendezvous { relay, address } => self.open_rendezvous(wires, relay, &address),
            Order::Adopt(_) | Order::Stop => {}
        }
    }

    /// Lets others read the counters.
    pub(crate) fn publish(&mut self, wires: &Wires) {
        wires.count(&mut self.counters);
        self.counters.set(Counter::StreamsOpen, self.streams.len() as u64);
        self.counters.publish(&self.setup.stats);
    }

    /// Streams that are open or opening, for tests.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    fn stream(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.streams
            .get_mut(key.index)
            .filter(|stream| stream.serial == key.serial)
    }
}
