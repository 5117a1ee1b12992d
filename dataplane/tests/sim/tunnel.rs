//! TCP through local bridge, relay and remote bridge.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use viaduct::observe::Counter;
use viaduct::ring::sim::SimConfig;

use crate::classic::LIMIT;
use crate::harness::for_each_seed;
use crate::scene::flow::{Flow, SharedFlow, pattern};
use crate::scene::tcp::{Habit, Part, Parts, Service, TcpEnd};
use crate::scene::{
    End, Forwards, LOCAL_BRIDGE, RELAY, REMOTE_BRIDGE, Scene, Sizes, TARGET, fair_weather, host, weather,
};

/// Local bridge, relay, remote bridge, a service behind it, and clients.
pub(crate) struct Tunnel {
    pub(crate) scene: Scene,
    pub(crate) parts: Parts,
    pub(crate) service: Rc<RefCell<Service>>,
    pub(crate) clients: BTreeMap<u32, Rc<RefCell<TcpEnd>>>,
}

/// Shards of local bridge, relay and remote bridge.
pub(crate) type Shards = [usize; 3];

impl Tunnel {
    /// The remote bridge is online when this returns.
    pub(crate) fn new(config: SimConfig, shards: Shards, sizes: &Sizes) -> Self {
        let mut scene = Scene::new(config);
        let parts = Parts::default();
        scene.start_relay(RELAY, shards[1], sizes);
        scene.start_bridge(REMOTE_BRIDGE, shards[2], sizes, &remote_forwards());
        scene.start_bridge(LOCAL_BRIDGE, shards[0], sizes, &local_forwards());
        let addr = SocketAddr::new(TARGET, SERVICE_PORT);
        let service = Service::new(&scene.net, addr, Rc::clone(&parts));
        let service = scene.add(service);
        let mut tunnel = Self {
            scene,
            parts,
            service,
            clients: BTreeMap::new(),
        };
        assert!(tunnel.await_online(), "the remote bridge comes online");
        tunnel
    }

    /// Starts a bridge again whose host was killed.
    pub(crate) fn restart_bridge(&mut self, host: IpAddr, shards: Shards, sizes: &Sizes) {
        if host == LOCAL_BRIDGE {
            self.scene.start_bridge(host, shards[0], sizes, &local_forwards());
        } else {
            self.scene
                .start_bridge(host, shards[2], sizes, &remote_forwards());
        }
    }

    /// Waits until the remote bridge listens on both hybrid connections.
    pub(crate) fn await_online(&mut self) -> bool {
        self.scene.run_until(Duration::from_secs(300), |scene| {
            let online = |host| scene.node(host).count(Counter::ListenersOnline);
            online(REMOTE_BRIDGE) == 2 && online(RELAY) == 2
        })
    }

    /// A client connects to one of the ports that lead to the service.
    pub(crate) fn open(&mut self, number: u32, stream: &Stream) {
        let port = self.scene.rng.choice(GOOD_PORTS).expect("ports");
        self.open_at(port, number, stream);
    }

    pub(crate) fn open_at(&mut self, port: u16, number: u32, stream: &Stream) {
        let part = Part {
            up: Rc::clone(&stream.up),
            down: Rc::clone(&stream.down),
            habit: stream.target,
        };
        self.parts.borrow_mut().insert(number, part);
        let from = host(150 + (number % 100) as u8);
        let socket = self
            .scene
            .net
            .connect_from(from, SocketAddr::new(LOCAL_BRIDGE, port));
        let client = TcpEnd::new(
            socket,
            Rc::clone(&stream.up),
            Rc::clone(&stream.down),
            stream.client,
        );
        let client = self.scene.add(client);
        self.clients.insert(number, client);
    }

    /// Goes on until all ends have ended; a stream that hangs fails the test.
    pub(crate) fn run(&mut self, limit: Duration) {
        let clients = self.clients.clone();
        let service = Rc::clone(&self.service);
        let over = self.scene.run_until(limit, |_| {
            let near = clients.values().all(|client| client.borrow().end.is_some());
            near && service.borrow().ends.values().all(|end| end.end.is_some())
        });
        assert!(over, "streams hang: {:?}", self.outcomes());
    }

    /// A host is killed. Of a service without further ado the kernel ends connections as if in order; of a bridge only
    /// those that it has taken just now.
    pub(crate) fn cut(&self, victim: IpAddr) {
        for part in self.parts.borrow().values() {
            let mut flows = [part.up.borrow_mut(), part.down.borrow_mut()];
            let fresh = flows.iter().all(|flow| flow.got == 0);
            let cut = victim == TARGET || (victim != RELAY && fresh);
            flows.iter_mut().for_each(|flow| flow.cut |= cut);
        }
    }

    pub(crate) fn far_end(&self, number: u32) -> Option<End> {
        self.service.borrow().ends.get(&number).and_then(|end| end.end)
    }

    fn outcomes(&self) -> Vec<(u32, Option<End>, Option<End>)> {
        let clients = self.clients.iter();
        clients
            .map(|(number, client)| (*number, client.borrow().end, self.far_end(*number)))
            .collect()
    }

    pub(crate) fn assert_all_complete(&self) {
        for (number, client, target) in self.outcomes() {
            let both = (client, target);
            assert_eq!(
                both,
                (Some(End::Regular), Some(End::Regular)),
                "ends of stream {number}"
            );
            let part = &self.parts.borrow()[&number];
            assert!(part.up.borrow().is_complete() && part.down.borrow().is_complete());
        }
    }
}

/// What a stream carries, and how its ends behave.
pub(crate) struct Stream {
    pub(crate) up: SharedFlow,
    pub(crate) down: SharedFlow,
    pub(crate) client: Habit,
    pub(crate) target: Habit,
}

impl Stream {
    /// The upward bytes begin with the number of the stream.
    pub(crate) fn new(number: u32, up: usize, down: usize) -> Self {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.extend(pattern(u64::from(number), up));
        Self {
            up: Flow::new(bytes),
            down: Flow::new(pattern(!u64::from(number), down)),
            client: Habit::default(),
            target: Habit::default(),
        }
    }

    /// A stream as they come: large or small, both ways at once or one after the other.
    pub(crate) fn some(number: u32, rng: &mut fastrand::Rng) -> Self {
        let mut len = || match rng.u8(..8) {
            0 => 0,
            1..4 => rng.usize(..200),
            4..7 => rng.usize(..20_000),
            _ => rng.usize(..150_000),
        };
        let mut stream = Self::new(number, len(), len());
        stream.target.answers = rng.bool();
        stream
    }
}

fn local_forwards() -> Forwards {
    Forwards {
        locals: vec![
            (GOOD_PORTS[0], "svc", "direct"),
            (GOOD_PORTS[1], "svc", "named"),
            (GOOD_PORTS[2], "other/svc", "direct"),
            (DEAD_PORT, "svc", "dead"),
            (UNKNOWN_PORT, "other/svc", "nobody knows"),
            (UNRESOLVED_PORT, "svc", "unresolved"),
            (NO_LISTENER_PORT, "nobody/listens", "direct"),
        ],
        remotes: Vec::new(),
    }
}

fn remote_forwards() -> Forwards {
    Forwards {
        locals: Vec::new(),
        remotes: vec![
            (
                "svc",
                vec![
                    ("direct", "127.0.0.4", SERVICE_PORT),
                    ("named", "target.test", SERVICE_PORT),
                    ("dead", "127.0.0.4", 9),
                    ("unresolved", "nowhere.test", 9),
                ],
            ),
            (
                "other/svc",
                vec![("direct", "127.0.0.4", SERVICE_PORT), ("more", "127.0.0.4", 9)],
            ),
        ],
    }
}

/// Tiny to usual.
pub(crate) fn some_sizes(rng: &mut fastrand::Rng) -> Sizes {
    Sizes {
        small_buffers: *rng.choice(&[2, 3, 8, 64]).expect("sizes"),
        large_buffers: rng.u32(1..3),
        queue_bytes: *rng.choice(&[64 * 1024, 1 << 20, 1 << 24]).expect("sizes"),
        ..Sizes::default()
    }
}

pub(crate) fn some_shards(rng: &mut fastrand::Rng) -> Shards {
    [rng.usize(1..3), rng.usize(1..4), rng.usize(1..3)]
}

fn run(config: SimConfig) -> Tunnel {
    let mut rng = fastrand::Rng::with_seed(config.seed);
    let sizes = some_sizes(&mut rng);
    let mut tunnel = Tunnel::new(config, some_shards(&mut rng), &sizes);
    for number in 0..rng.u32(1..7) {
        tunnel.open(number, &Stream::some(number, &mut rng));
        if rng.bool() {
            tunnel.scene.run_for(Duration::from_millis(rng.u64(..200)));
        }
    }
    tunnel.run(LIMIT);
    tunnel
}

#[test]
fn bytes_arrive_whole_and_in_order() {
    for_each_seed(150, |seed| {
        let config = weather(seed);
        let stormy = crate::scene::is_stormy(&config);
        let tunnel = run(config);
        if !stormy {
            tunnel.assert_all_complete();
        }
        tunnel.scene.finish();
    });
}

#[test]
fn a_seed_repeats_its_run() {
    for_each_seed(10, |seed| {
        let fingerprint = |seed| run(SimConfig::stormy(seed)).scene.finish();
        assert_eq!(fingerprint(seed), fingerprint(seed));
    });
}

#[test]
fn a_client_is_turned_away_at_once_where_nothing_answers() {
    for_each_seed(60, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut tunnel = Tunnel::new(fair_weather(seed), some_shards(&mut rng), &some_sizes(&mut rng));
        let port = rng.choice(BAD_PORTS).expect("ports");
        let mut stream = Stream::new(0, rng.usize(..50_000), 0);
        stream.client.answers = rng.bool();
        tunnel.open_at(port, 0, &stream);
        tunnel.open(1, &Stream::some(1, &mut rng));
        let client = Rc::clone(&tunnel.clients[&0]);
        let ended = tunnel
            .scene
            .run_until(Duration::from_secs(5), |_| client.borrow().end.is_some());
        assert!(ended, "the client waits for nothing");
        assert_eq!(client.borrow().end, Some(End::Broken));
        tunnel.clients.remove(&0);
        tunnel.run(LIMIT);
        tunnel.assert_all_complete();
        tunnel.scene.finish();
    });
}

pub(crate) const SERVICE_PORT: u16 = 7;
pub(crate) const GOOD_PORTS: [u16; 3] = [1001, 1002, 1003];
const DEAD_PORT: u16 = 1004;
const UNKNOWN_PORT: u16 = 1005;
const UNRESOLVED_PORT: u16 = 1006;
const NO_LISTENER_PORT: u16 = 1007;
const BAD_PORTS: [u16; 4] = [DEAD_PORT, UNKNOWN_PORT, UNRESOLVED_PORT, NO_LISTENER_PORT];
