//! A TCP proxy on one ring: accept, connect on, copy both ways with half-close, end both when one breaks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use viaduct::buf::{Gather, Pool, PoolConfig};
use viaduct::ring::sim::{SimConfig, SimListener, SimNet, SimSocket};
use viaduct::ring::{Completion, Fd, Op, OpKey, Outcome, RecvInto, Ring, Token};

use crate::harness::{Node, for_each_seed, run_until};

/// The proxy. Sides of a pair: 0 is the accepted one, 1 the one connected on.
struct Proxy {
    ring: Ring,
    listener: Fd,
    target: SocketAddr,
    pairs: BTreeMap<u32, Pair>,
    next: u32,
    accepting: bool,
    starved: Vec<(u32, usize)>,
    done: Vec<Completion>,
}

struct Pair {
    fds: [Fd; 2],
    /// Directions that have ended in order, by the side they come from.
    ended: [bool; 2],
    in_flight: BTreeMap<u8, OpKey>,
    /// Broken: both sides are being ended, and the pair goes with the last completion.
    broken: bool,
}

impl Proxy {
    fn new(net: &SimNet, small: Pool, target: SocketAddr) -> (Self, SocketAddr) {
        let mut ring = Ring::sim(net, PROXY, small);
        let (listener, addr) = ring.listen(SocketAddr::new(PROXY, 0), false).unwrap();
        let proxy = Self {
            ring,
            listener,
            target,
            pairs: BTreeMap::new(),
            next: 0,
            accepting: false,
            starved: Vec::new(),
            done: Vec::new(),
        };
        (proxy, addr)
    }

    fn on_accepted(&mut self, near: Fd) {
        let far = self.ring.socket(&self.target, None).unwrap();
        self.next += 1;
        let pair = Pair {
            fds: [near, far],
            ended: [false; 2],
            in_flight: BTreeMap::new(),
            broken: false,
        };
        self.pairs.insert(self.next, pair);
        let addr = self.target;
        self.submit(self.next, CONNECT, Op::Connect { fd: far, addr });
    }

    fn on_completion(&mut self, completion: Completion) {
        let (index, kind) = (completion.token.index(), completion.token.kind());
        if let Outcome::Accepted(result) = completion.outcome {
            self.accepting = completion.more;
            if let Ok((fd, _)) = result {
                self.on_accepted(fd);
            }
            return;
        }
        let pair = self
            .pairs
            .get_mut(&index)
            .expect("a pair outlives its operations");
        assert!(
            pair.in_flight.remove(&kind).is_some(),
            "one completion per operation"
        );
        if pair.broken {
            return self.break_pair(index);
        }
        let from = usize::from(kind & 1);
        match completion.outcome {
            Outcome::Connected(Ok(())) => {
                self.recv(index, 0);
                self.recv(index, 1);
            }
            Outcome::Received {
                result: Ok(_),
                lease: Some(lease),
            } => {
                let mut gather = Gather::new();
                gather.push(lease.freeze());
                self.send(index, from, gather);
            }
            Outcome::Received {
                result: Ok(_),
                lease: None,
            } => self.on_end(index, from),
            Outcome::Received {
                result: Err(error), ..
            } if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.starved.push((index, from));
            }
            Outcome::Sent {
                result: Ok(n),
                mut gather,
            } => {
                gather.advance(n);
                if gather.is_empty() {
                    self.recv(index, from)
                } else {
                    self.send(index, from, gather)
                }
            }
            _ => self.break_pair(index),
        }
    }

    fn on_end(&mut self, index: u32, from: usize) {
        let Some(pair) = self.pairs.get_mut(&index) else {
            return;
        };
        pair.ended[from] = true;
        let (fds, over) = (pair.fds, pair.ended == [true; 2]);
        if self.ring.shutdown_write(fds[1 - from]).is_err() {
            self.break_pair(index);
        } else if over {
            self.pairs.remove(&index);
            fds.into_iter().for_each(|fd| self.ring.close(fd));
        }
    }

    fn break_pair(&mut self, index: u32) {
        let Some(pair) = self.pairs.get_mut(&index) else {
            return;
        };
        if !std::mem::replace(&mut pair.broken, true) {
            pair.fds.into_iter().for_each(|fd| self.ring.reset(fd));
        }
        if pair.in_flight.is_empty() {
            self.pairs.remove(&index);
        }
    }

    fn recv(&mut self, index: u32, from: usize) {
        let Some(pair) = self.pairs.get(&index).filter(|pair| !pair.broken) else {
            return;
        };
        let op = Op::Recv {
            fd: pair.fds[from],
            into: RecvInto::Provided,
        };
        self.submit(index, RECV | from as u8, op);
    }

    fn send(&mut self, index: u32, from: usize, gather: Box<Gather>) {
        let Some(pair) = self.pairs.get(&index) else {
            return;
        };
        let op = Op::Send {
            fd: pair.fds[1 - from],
            gather,
        };
        self.submit(index, SEND | from as u8, op);
    }

    fn submit(&mut self, index: u32, kind: u8, op: Op) {
        let key = self.ring.submit(op, Token::new(index, 0, kind));
        self.pairs
            .get_mut(&index)
            .expect("only for pairs")
            .in_flight
            .insert(kind, key);
    }
}

impl Node for Proxy {
    fn turn(&mut self) {
        if !std::mem::replace(&mut self.accepting, true) {
            self.ring
                .submit(Op::Accept { fd: self.listener }, Token::new(0, 0, 0));
        }
        for (index, from) in std::mem::take(&mut self.starved) {
            self.recv(index, from);
        }
        self.ring.wait(None, &mut self.done).unwrap();
        for completion in std::mem::take(&mut self.done) {
            self.on_completion(completion);
        }
        if !self.starved.is_empty() || !self.accepting {
            let retry = self.ring.now().after(RETRY);
            self.ring.wait(Some(retry), &mut self.done).unwrap();
        }
    }
}

/// A scripted end that sends `bytes`, half-closes, and collects what it gets.
struct Peer {
    socket: SimSocket,
    bytes: Vec<u8>,
    sent: usize,
    ended: bool,
    got: Vec<u8>,
}

impl Peer {
    fn new(socket: SimSocket, bytes: Vec<u8>) -> Self {
        Self {
            socket,
            bytes,
            sent: 0,
            ended: false,
            got: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        (self.ended && self.socket.is_eof()) || self.socket.is_reset()
    }
}

impl Node for Peer {
    fn turn(&mut self) {
        if !self.ended {
            self.sent += self.socket.write(&self.bytes[self.sent..]);
            if self.socket.is_open() && self.sent == self.bytes.len() {
                self.socket.shutdown();
                self.ended = true;
            }
        }
        self.got.extend(self.socket.read());
    }
}

/// Serves every connection with the same bytes.
struct Service {
    listener: SimListener,
    peers: Rc<RefCell<Vec<Peer>>>,
}

impl Node for Service {
    fn turn(&mut self) {
        let mut peers = self.peers.borrow_mut();
        while let Some(socket) = self.listener.accept() {
            peers.push(Peer::new(socket, pattern(ANSWER, LEN)));
        }
        peers.iter_mut().for_each(Node::turn);
    }
}

/// Runs clients through the proxy to the service; answers them, the service's ends, and the fingerprint.
fn run(config: SimConfig) -> (Vec<Peer>, Vec<Peer>, u64) {
    let net = SimNet::new(config);
    let small = Pool::new(PoolConfig {
        data_len: 4096,
        count: 4,
    })
    .unwrap();
    let listener = net.listen(SocketAddr::new(SERVICE, 7)).unwrap();
    let target = listener.addr();
    let served = Rc::default();
    let mut service = Service {
        listener,
        peers: Rc::clone(&served),
    };
    let (mut proxy, addr) = Proxy::new(&net, small.clone(), target);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|n| Peer::new(net.connect(addr), pattern(n, LEN)))
        .collect();
    let mut nodes: Vec<&mut dyn Node> = vec![&mut proxy, &mut service];
    nodes.extend(clients.iter_mut().map(|client| client as &mut dyn Node));
    // Every attempt has ended, and long after that nothing moves.
    run_until(&net, &mut nodes, Duration::from_secs(120), |_| false);

    assert!(proxy.pairs.is_empty(), "{} pairs are left", proxy.pairs.len());
    let left = (proxy.ring.in_flight(), small.free(), net.open_fds(PROXY));
    assert_eq!(
        left,
        (1, small.count(), 1),
        "the listener and its accept are left"
    );
    drop((proxy, service));
    let fingerprint = net.fingerprint();
    (clients, served.take(), fingerprint)
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

#[test]
fn streams_pass_whole_in_both_directions_when_nothing_breaks() {
    for_each_seed(50, |seed| {
        let (clients, served, _) = run(SimConfig::rough(seed));
        assert!(
            clients
                .iter()
                .all(|peer| peer.is_done() && peer.got == pattern(ANSWER, LEN))
        );
        let mut questions: Vec<_> = served.iter().map(|peer| &peer.got).collect();
        let mut sent: Vec<_> = clients.iter().map(|peer| &peer.bytes).collect();
        questions.sort();
        sent.sort();
        assert!(questions == sent);
    });
}

#[test]
fn a_broken_stream_is_an_error_on_both_sides_and_never_short() {
    for_each_seed(50, |seed| {
        let (clients, served, _) = run(SimConfig {
            reset: 0.01,
            ..SimConfig::stormy(seed)
        });
        let is_sent = |got: &[u8]| clients.iter().any(|client| client.bytes == got);
        for client in &clients {
            assert!(client.is_done());
            assert!(client.socket.is_reset() || client.got == pattern(ANSWER, LEN));
        }
        for peer in &served {
            assert!(peer.is_done());
            assert!(peer.socket.is_reset() || is_sent(&peer.got));
        }
    });
}

#[test]
fn a_seed_repeats_its_run() {
    for_each_seed(5, |seed| {
        assert_eq!(run(SimConfig::stormy(seed)).2, run(SimConfig::stormy(seed)).2)
    });
}

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// After a lack of buffers or descriptors.
const RETRY: Duration = Duration::from_millis(1);
const CLIENTS: u64 = 5;
const LEN: usize = 30_000;
/// Seed of the service's bytes.
const ANSWER: u64 = 1 << 32;
/// Kinds of operations; the low bit is the side that bytes come from.
const CONNECT: u8 = 2;
const RECV: u8 = 4;
const SEND: u8 = 6;
