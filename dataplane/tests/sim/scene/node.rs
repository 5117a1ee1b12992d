//! A relay or bridge process: its shards, and the part of the control thread that a test plays.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use viaduct::bridge::{Bridge, BridgeSetup};
use viaduct::config::bridge::BridgeConfig;
use viaduct::config::limits::RelayLimits;
use viaduct::config::relay::Namespace;
use viaduct::control::tokens::TokenCache;
use viaduct::mailbox::{self, Receiver, mailbox};
use viaduct::observe::{Counter, Counters, ShardStats};
use viaduct::relay::{Relay, RelaySetup};
use viaduct::ring::Ring;
use viaduct::ring::sim::SimNet;
use viaduct::shard::{Ask, Asks, Entropy, Job, Order, Peers, Shard, Turn};
use viaduct::wire::{Wires, WiresConfig};
use viaduct_proto::sas;
use viaduct_proto::time::{Now, UnixTime};

use super::{Forwards, KEY, RELAY_NAME, RELAY_PORT, UNIX_EPOCH, bridge_config, host, unix};

/// Bounds of each shard.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    pub(crate) small_buffers: u32,
    pub(crate) large_buffers: u32,
    pub(crate) queue_bytes: usize,
    pub(crate) relay: RelayLimits,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            small_buffers: 32,
            large_buffers: 2,
            queue_bytes: 1 << 20,
            relay: RelayLimits::default(),
        }
    }
}

impl Sizes {
    fn wires(&self) -> WiresConfig {
        WiresConfig {
            small_buffers: self.small_buffers,
            large_buffers: self.large_buffers,
            connections: 1000,
            queue_bytes: self.queue_bytes,
        }
    }
}

pub(crate) struct Node {
    pub(crate) host: IpAddr,
    shards: Vec<Shard>,
    mailboxes: Peers,
    /// Listening sockets of each shard.
    listening: usize,
    /// Control channels of all shards.
    channels: usize,
    stats: Vec<ShardStats>,
    control: Option<Control>,
}

/// What the control thread of a bridge knows and does.
struct Control {
    asks: tokio::sync::mpsc::Receiver<Ask>,
    answers: Vec<(Now, Answer)>,
    tokens: TokenCache,
    config: Arc<BridgeConfig>,
    refresh_at: Now,
}

struct Answer {
    shard: usize,
    ticket: u64,
    result: Result<Vec<SocketAddr>, String>,
}

impl Node {
    pub(super) fn relay(
        net: &SimNet,
        host: IpAddr,
        shards: usize,
        sizes: &Sizes,
        mut rng: fastrand::Rng,
    ) -> Self {
        let stats: Vec<_> = (0..shards).map(|_| ShardStats::new()).collect();
        let (parts, mailboxes) = open(net, host, shards, sizes);
        let namespace = Arc::new(Namespace::dev(sas::Key::new(KEY)));
        let make = |(shard, (mut wires, inbox)): (usize, (Wires, Receiver<Order>))| {
            let setup = RelaySetup {
                shard,
                peers: Arc::clone(&mailboxes),
                namespace: Arc::clone(&namespace),
                limits: sizes.relay.clone(),
                tls: None,
                advertise: None,
                stats: stats[shard].clone(),
            };
            let relay = Relay::new(setup, Entropy::seeded(rng.u64(..)));
            let addr = SocketAddr::new(host, RELAY_PORT);
            let (socket, _) = wires.ring().listen(addr, shards > 1).expect("the port is free");
            wires.accept(socket);
            Shard::new(wires, Job::Relay(Box::new(relay)), inbox)
        };
        let shards = parts.into_iter().enumerate().map(make).collect();
        Self {
            host,
            shards,
            mailboxes: Arc::clone(&mailboxes),
            listening: 1,
            channels: 0,
            stats,
            control: None,
        }
    }

    pub(super) fn bridge(
        net: &SimNet,
        host: IpAddr,
        shards: usize,
        sizes: &Sizes,
        forwards: &Forwards,
        mut rng: fastrand::Rng,
    ) -> Self {
        let (parts, mailboxes) = open(net, host, shards, sizes);
        let stats: Vec<_> = (0..shards).map(|_| ShardStats::new()).collect();
        let config = Arc::new(bridge_config(forwards));
        let (questions, asks) = tokio::sync::mpsc::channel(256);
        let make = |(shard, (mut wires, inbox)): (usize, (Wires, Receiver<Order>))| {
            let setup = BridgeSetup {
                shard,
                peers: Arc::clone(&mailboxes),
                config: Arc::clone(&config),
                asks: Asks::new(shard, questions.clone()),
                stats: stats[shard].clone(),
            };
            let mut bridge = Bridge::new(setup, Entropy::seeded(rng.u64(..)));
            for (forward, local) in config.locals.iter().enumerate() {
                for (bind, place) in local.binds.iter().enumerate() {
                    let addr = SocketAddr::new(host, place.port);
                    let (socket, _) = wires.ring().listen(addr, shards > 1).expect("the port is free");
                    bridge.listen(&mut wires, socket, forward, bind);
                }
            }
            bridge.start(&mut wires);
            Shard::new(wires, Job::Bridge(Box::new(bridge)), inbox)
        };
        let shards = parts.into_iter().enumerate().map(make).collect();
        Self {
            host,
            shards,
            mailboxes: Arc::clone(&mailboxes),
            listening: config.locals.iter().map(|local| local.binds.len()).sum(),
            channels: config.remotes.len(),
            stats,
            control: Some(Control {
                asks,
                answers: Vec::new(),
                tokens: TokenCache::new(config.relays.clone()),
                refresh_at: net.now().after(std::time::Duration::from_millis(rng.u64(..200))),
                config,
            }),
        }
    }

    pub(crate) fn is_bridge(&self) -> bool {
        self.control.is_some()
    }

    /// Sum of a counter over the shards.
    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.stats.iter().map(|stats| stats.get(counter)).sum()
    }

    pub(super) fn turn(&mut self, net: &SimNet, rng: &mut fastrand::Rng) {
        let due = net.is_due(self.host);
        for shard in self.shards.iter_mut().filter(|_| due) {
            // What a turn produces leaves at the beginning of the next.
            let mut seen = None;
            loop {
                assert_eq!(shard.turn().expect("the ring works"), Turn::Again);
                let turned = completions(shard.wires());
                if seen.replace(turned) == Some(turned) {
                    break;
                }
            }
        }
        if let Some(control) = &mut self.control {
            control.turn(net.now(), &self.mailboxes, rng);
        }
    }

    pub(super) fn wake_at(&self) -> Option<Now> {
        let control = self.control.as_ref()?;
        let answers = control.answers.iter().map(|(due, _)| *due);
        answers.chain([control.refresh_at]).min()
    }

    /// Of a bridge: all that is left is what listens, and its control channels.
    pub(super) fn assert_no_streams(&self, net: &SimNet) {
        let mut wires = 0;
        for shard in &self.shards {
            if let Job::Bridge(bridge) = shard.job() {
                assert_eq!(bridge.streams(), 0, "streams are left in a bridge");
            }
            wires += shard.wires().len();
            assert_buffers_free(shard.wires());
        }
        assert!(wires <= self.channels, "{wires} connections are left in a bridge");
        assert_eq!(
            net.open_fds(self.host),
            wires + self.listening * self.shards.len(),
            "descriptors of a bridge"
        );
    }

    /// Of a relay: all that is left is what listens.
    pub(super) fn assert_nothing_left(&self, net: &SimNet) {
        for shard in &self.shards {
            if let Job::Relay(relay) = shard.job() {
                assert_eq!(
                    relay.load(),
                    (0, 0, 0),
                    "roles, waiting senders, entities of a relay"
                );
            }
            assert_eq!(shard.wires().len(), 0, "connections are left in a relay");
            assert_eq!(shard.wires().timers(), 0, "timers are left in a relay");
            assert_buffers_free(shard.wires());
        }
        let sockets = self.listening * self.shards.len();
        assert_eq!(net.open_fds(self.host), sockets, "descriptors of a relay");
    }
}

impl Control {
    fn turn(&mut self, now: Now, mailboxes: &Peers, rng: &mut fastrand::Rng) {
        while let Ok(ask) = self.asks.try_recv() {
            let Ask::Resolve {
                shard,
                ticket,
                host,
                port,
            } = ask
            else {
                continue;
            };
            let due = now.after(std::time::Duration::from_micros(rng.u64(..80_000)));
            let result = resolve(&host, port);
            self.answers.push((
                due,
                Answer {
                    shard,
                    ticket,
                    result,
                },
            ));
        }
        for (due, answer) in std::mem::take(&mut self.answers) {
            if due > now {
                self.answers.push((due, answer));
                continue;
            }
            let Answer {
                shard,
                ticket,
                result,
            } = answer;
            tell(&mailboxes[shard], Order::Resolved { ticket, result });
        }
        if now >= self.refresh_at {
            self.refresh(now, mailboxes);
        }
    }

    fn refresh(&mut self, now: Now, mailboxes: &Peers) {
        for relay in 0..self.config.relays.len() {
            let token = match self.tokens.current(relay, unix(now)) {
                Ok(issued) => Ok(issued.token.clone()),
                Err(error) => Err(error.to_string()),
            };
            for mailbox in mailboxes.iter() {
                let token = token.clone();
                tell(mailbox, Order::Token { relay, token });
            }
        }
        let next = self.tokens.next_renewal().expect("tokens are made from a key");
        let wait = UnixTime(next.0.saturating_sub(unix(now).0).max(1));
        self.refresh_at = now.after(std::time::Duration::from_secs(wait.0));
    }
}

fn tell(mailbox: &mailbox::Sender<Order>, order: Order) {
    assert!(mailbox.send(order).is_ok(), "a shard does not read its mailbox");
}

fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match name {
        RELAY_NAME => Ok(vec![SocketAddr::new(super::RELAY, port)]),
        // The first address leads nowhere, the second is right.
        "target.test" => Ok(vec![
            SocketAddr::new(host(250), port),
            SocketAddr::new(super::TARGET, port),
        ]),
        _ => Err(format!("no address for {name}")),
    }
}

type Parts = Vec<(Wires, Receiver<Order>)>;

fn open(net: &SimNet, host: IpAddr, shards: usize, sizes: &Sizes) -> (Parts, Peers) {
    let mut parts = Vec::new();
    let mut senders = Vec::new();
    for _ in 0..shards {
        let small = sizes.wires().small_pool().expect("memory");
        let ring = Ring::sim(net, host, small.clone());
        let (sender, inbox) = mailbox(256, ring.waker());
        let wires = Wires::new(ring, small, sizes.wires(), Some(UNIX_EPOCH)).expect("memory");
        senders.push(sender);
        parts.push((wires, inbox));
    }
    (parts, senders.into())
}

fn completions(wires: &Wires) -> u64 {
    let mut counters = Counters::default();
    wires.count(&mut counters);
    counters.get(Counter::RingCompletions)
}

fn assert_buffers_free(wires: &Wires) {
    let (small, large) = (wires.buffers(), wires.large_buffers());
    assert_eq!(small.0, small.1, "small buffers free and in all");
    assert_eq!(large.0, large.1, "large buffers free and in all");
    let mut counters = Counters::default();
    wires.count(&mut counters);
    // A control channel may just say something.
    if wires.is_empty() {
        assert_eq!(counters.get(Counter::QueueBytes), 0, "bytes in queues");
    }
}
