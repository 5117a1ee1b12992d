//! The stage: relay and bridge nodes made of real shards, and scripted peers around them, on one simulated network.
//!
//! Everything takes its turns in an order drawn from the seed, then virtual time moves to the next event. Between two
//! steps a test may look at everything, break something, or let somebody new come.

mod bridge;
pub(crate) mod flow;
pub(crate) mod listener;
mod node;
pub(crate) mod tcp;
pub(crate) mod websocket;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use viaduct::ring::sim::{SimConfig, SimNet};
use viaduct_proto::sas;
use viaduct_proto::time::{Now, UnixTime};

pub(crate) use bridge::{Forwards, bridge_config};
pub(crate) use node::{Node, Sizes};

/// Something scripted that takes turns.
pub(crate) trait Actor {
    /// Does what is due.
    fn turn(&mut self, now: Now);

    /// When it wants a turn although nothing happens on the network.
    fn wake_at(&self) -> Option<Now> {
        None
    }

    /// Closes what it holds.
    fn hang_up(&mut self);
}

/// How a connection ended for a scripted peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both directions, in order.
    Regular,
    /// With an error, or without the end that the protocol asks for.
    Broken,
    /// The relay refused with this status.
    Refused(u16),
}

pub(crate) struct Scene {
    pub(crate) net: SimNet,
    pub(crate) rng: fastrand::Rng,
    nodes: Vec<Node>,
    actors: Vec<Rc<RefCell<dyn Actor>>>,
    steps: u64,
}

impl Scene {
    pub(crate) fn new(config: SimConfig) -> Self {
        let rng = fastrand::Rng::with_seed(config.seed ^ 0x5eed);
        Self {
            net: SimNet::new(config),
            rng,
            nodes: Vec::new(),
            actors: Vec::new(),
            steps: 0,
        }
    }

    /// A random source of its own for a part of the scene.
    pub(crate) fn fork_rng(&mut self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.rng.u64(..))
    }

    /// Puts an actor on the stage; the test keeps a hold of it.
    pub(crate) fn add<A: Actor + 'static>(&mut self, actor: A) -> Rc<RefCell<A>> {
        let actor = Rc::new(RefCell::new(actor));
        self.actors.push(Rc::clone(&actor) as Rc<RefCell<dyn Actor>>);
        actor
    }

    /// A relay node that listens on [`RELAY_PORT`] of `host`.
    pub(crate) fn start_relay(&mut self, host: IpAddr, shards: usize, sizes: &Sizes) {
        let rng = self.fork_rng();
        let node = Node::relay(&self.net, host, shards, sizes, rng);
        self.nodes.push(node);
    }

    /// A bridge node; its local forwards listen on `host`.
    pub(crate) fn start_bridge(&mut self, host: IpAddr, shards: usize, sizes: &Sizes, forwards: &Forwards) {
        let rng = self.fork_rng();
        let node = Node::bridge(&self.net, host, shards, sizes, forwards, rng);
        self.nodes.push(node);
    }

    /// The node on a host.
    pub(crate) fn node(&self, host: IpAddr) -> &Node {
        let node = self.nodes.iter().find(|node| node.host == host);
        node.expect("a node runs there")
    }

    /// The processes of a host die without a word.
    pub(crate) fn kill(&mut self, host: IpAddr) {
        self.net.kill_host(host);
        self.nodes.retain(|node| node.host != host);
    }

    /// One turn for everybody, then on to the next event, at most to `limit`.
    pub(crate) fn step(&mut self, limit: Now) {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "this goes on and on");
        let now = self.net.now();
        let mut order: Vec<usize> = (0..self.nodes.len() + self.actors.len()).collect();
        self.rng.shuffle(&mut order);
        for index in order {
            match index.checked_sub(self.nodes.len()) {
                None => self.nodes[index].turn(&self.net, &mut self.rng),
                Some(actor) => self.actors[actor].borrow_mut().turn(now),
            }
        }
        let actors = self.actors.iter().filter_map(|actor| actor.borrow().wake_at());
        let nodes = self.nodes.iter().filter_map(Node::wake_at);
        let next = actors.chain(nodes).fold(limit, Now::min).max(now);
        self.net.advance_to_next(next);
    }

    /// Goes on until `done`, or until so much virtual time has passed. Answers whether it is done.
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let limit = self.net.now().after(limit);
        loop {
            if done(self) {
                return true;
            }
            if self.net.now() >= limit {
                return false;
            }
            self.step(limit);
        }
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Ends everybody and everything, and asserts that nothing is left of any stream. Answers the fingerprint of the run.
    pub(crate) fn finish(mut self) -> u64 {
        for actor in std::mem::take(&mut self.actors) {
            actor.borrow_mut().hang_up();
        }
        self.run_for(SETTLED);
        for node in self.nodes.iter().filter(|node| node.is_bridge()) {
            node.assert_no_streams(&self.net);
        }
        self.nodes.retain(|node| !node.is_bridge());
        self.run_for(SETTLED);
        for node in &self.nodes {
            node.assert_nothing_left(&self.net);
        }
        let hosts: Vec<_> = self.nodes.iter().map(|node| node.host).collect();
        self.nodes.clear();
        for host in hosts {
            assert_eq!(
                self.net.open_fds(host),
                0,
                "a node that has ended leaves descriptors"
            );
        }
        while self.net.advance_to_next(Now(u64::MAX)) {}
        assert_eq!(self.net.sockets(), 0, "sockets are left on the network");
        self.net.fingerprint()
    }
}

/// The network of a seed: half of them lose no stream, and half of those are calm.
pub(crate) fn weather(seed: u64) -> SimConfig {
    match seed % 4 {
        0 => SimConfig::calm(seed),
        1 => SimConfig::rough(seed),
        _ => SimConfig::stormy(seed),
    }
}

/// A network on which no stream breaks.
pub(crate) fn fair_weather(seed: u64) -> SimConfig {
    if seed.is_multiple_of(2) {
        SimConfig::calm(seed)
    } else {
        SimConfig::rough(seed)
    }
}

/// Whether streams break on it.
pub(crate) fn is_stormy(config: &SimConfig) -> bool {
    config.reset > 0.0
}

pub(crate) const fn host(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// Time of day of the network.
pub(crate) fn unix(now: Now) -> UnixTime {
    UnixTime(UNIX_EPOCH.0 + now.0 / 1_000_000_000)
}

/// A token for all of the relay, by the right key.
pub(crate) fn token(expires: UnixTime) -> String {
    sas::sign(
        &format!("http://{RELAY_NAME}/"),
        RULE,
        &sas::Key::new(KEY),
        expires,
    )
}

pub(crate) const RELAY: IpAddr = host(1);
pub(crate) const LOCAL_BRIDGE: IpAddr = host(2);
pub(crate) const REMOTE_BRIDGE: IpAddr = host(3);
pub(crate) const TARGET: IpAddr = host(4);
pub(crate) const RELAY_PORT: u16 = 8080;
pub(crate) const RELAY_ADDR: SocketAddr = SocketAddr::new(RELAY, RELAY_PORT);
/// By this name bridges know the relay.
pub(crate) const RELAY_NAME: &str = "relay.test";
pub(crate) const RULE: &str = "RootManageSharedAccessKey";
pub(crate) const KEY: &str = "the key of this test";
/// Time of day at `Now(0)`.
pub(crate) const UNIX_EPOCH: UnixTime = UnixTime(1_700_000_000);
/// After this time without anybody nothing moves any more: longer than every limit of relay and bridge.
const SETTLED: Duration = Duration::from_secs(90);
/// No scene needs so many.
const STEPS_MAX: u64 = 400_000;
