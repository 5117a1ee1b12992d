//! A small server on the ring, under every fault: nothing is lost, nothing leaks, and a seed repeats itself.

use std::collections::BTreeMap;

use super::super::SimSocket;
use super::*;

/// Answers with what it gets. One receive or one send in flight per connection.
struct Echo {
    ring: Ring,
    listener: Fd,
    addr: SocketAddr,
    conns: BTreeMap<u32, Fd>,
    /// Connections whose receive found no buffer.
    starved: Vec<u32>,
    accepting: bool,
    accepted: u32,
    done: Vec<Completion>,
}

impl Echo {
    fn new(net: &SimNet, small: Pool) -> Self {
        let mut ring = Ring::sim(net, SERVER, small);
        let (listener, addr) = ring.listen(SocketAddr::new(SERVER, 0), false).unwrap();
        Self {
            ring,
            listener,
            addr,
            conns: BTreeMap::new(),
            starved: Vec::new(),
            accepting: false,
            accepted: 0,
            done: Vec::new(),
        }
    }

    fn turn(&mut self) {
        if !std::mem::replace(&mut self.accepting, true) {
            self.ring.submit(Op::Accept { fd: self.listener }, label(0));
        }
        for conn in std::mem::take(&mut self.starved) {
            self.recv(conn);
        }
        self.ring.wait(None, &mut self.done).unwrap();
        for completion in std::mem::take(&mut self.done) {
            self.on_completion(completion);
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        let conn = completion.token.index();
        match completion.outcome {
            Outcome::Accepted(result) => {
                self.accepting = completion.more;
                if let Ok((fd, _)) = result {
                    self.accepted += 1;
                    self.conns.insert(self.accepted, fd);
                    self.recv(self.accepted);
                } else {
                    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EMFILE));
                }
            }
            Outcome::Received {
                result: Ok(n),
                lease: Some(lease),
            } => {
                assert_eq!(lease.filled(), n);
                let mut gather = Gather::new();
                gather.push(lease.freeze());
                self.send(conn, gather);
            }
            Outcome::Received {
                result: Ok(0),
                lease: None,
            } => {
                drop(self.ring.shutdown_write(self.conns[&conn]));
                self.close(conn);
            }
            Outcome::Received {
                result: Err(error), ..
            } if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.starved.push(conn);
            }
            Outcome::Sent {
                result: Ok(n),
                mut gather,
            } => {
                gather.advance(n);
                if gather.is_empty() {
                    self.recv(conn)
                } else {
                    self.send(conn, gather)
                }
            }
            Outcome::Received { result: Err(_), .. } | Outcome::Sent { result: Err(_), .. } => {
                self.close(conn)
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn recv(&mut self, conn: u32) {
        let op = Op::Recv {
            fd: self.conns[&conn],
            into: RecvInto::Provided,
        };
        self.ring.submit(op, Token::new(conn, 0, 1));
    }

    fn send(&mut self, conn: u32, gather: Box<Gather>) {
        self.ring.submit(
            Op::Send {
                fd: self.conns[&conn],
                gather,
            },
            Token::new(conn, 0, 2),
        );
    }

    fn close(&mut self, conn: u32) {
        self.ring.close(self.conns.remove(&conn).unwrap());
    }
}

/// A scripted client: what it sends, and what came back.
struct Client {
    socket: SimSocket,
    bytes: Vec<u8>,
    sent: usize,
    ended: bool,
    got: Vec<u8>,
}

impl Client {
    fn turn(&mut self) {
        if !self.ended {
            self.sent += self.socket.write(&self.bytes[self.sent..]);
            if self.sent == self.bytes.len() {
                self.socket.shutdown();
                self.ended = true;
            }
        }
        self.got.extend(self.socket.read());
    }

    fn is_done(&self) -> bool {
        self.socket.is_eof() || self.socket.is_reset()
    }
}

/// Runs clients against the server until all are done; answers them and the fingerprint, having checked for leaks.
fn run_echo(config: SimConfig, clients: usize) -> (Vec<Client>, u64) {
    let (seed, small) = (config.seed, pool(3));
    let net = SimNet::new(config);
    let mut echo = Echo::new(&net, small.clone());
    let connect = |index| Client {
        socket: net.connect(echo.addr),
        bytes: pattern(seed * 1000 + index as u64, 20_000),
        sent: 0,
        ended: false,
        got: Vec::new(),
    };
    let mut clients: Vec<_> = (0..clients).map(connect).collect();
    let limit = net.now().after(Duration::from_secs(600));
    while !clients.iter().all(Client::is_done) || !echo.conns.is_empty() {
        clients.iter_mut().for_each(Client::turn);
        echo.turn();
        let step = net.now().after(Duration::from_millis(10));
        net.advance_to_next(step);
        assert!(net.now() < limit, "seed {seed}: the run never ends");
    }
    let fingerprint = net.fingerprint();
    echo.ring.teardown();
    assert_eq!(
        (echo.ring.in_flight(), small.free(), net.open_fds(SERVER)),
        (0, small.count(), 0),
        "seed {seed}"
    );
    (clients, fingerprint)
}

#[test]
fn every_stream_comes_back_whole_when_nothing_breaks() {
    for seed in 0..RUNS {
        for config in [SimConfig::calm(seed), SimConfig::rough(seed)] {
            for client in run_echo(config, 5).0 {
                assert!(
                    client.got == client.bytes,
                    "seed {seed}: {} bytes",
                    client.got.len()
                );
                assert!(!client.socket.is_reset(), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_broken_stream_is_a_prefix_with_an_error() {
    let mut broken = 0;
    for seed in 0..RUNS {
        for client in run_echo(
            SimConfig {
                reset: 0.01,
                ..SimConfig::stormy(seed)
            },
            5,
        )
        .0
        {
            assert!(client.bytes.starts_with(&client.got), "seed {seed}");
            assert!(
                client.got.len() == client.bytes.len() || client.socket.is_reset(),
                "seed {seed}"
            );
            broken += usize::from(client.socket.is_reset());
        }
    }
    assert!(broken > 20, "the faults happen: {broken}");
}

#[test]
fn a_seed_repeats_its_run() {
    let fingerprint = |seed| run_echo(SimConfig::stormy(seed), 5).1;
    for seed in 0..10 {
        assert_eq!(fingerprint(seed), fingerprint(seed));
        assert_ne!(fingerprint(seed), fingerprint(seed + 1));
    }
}

/// Seeds of the long tests here; `tests/sim` takes their number from the environment.
const RUNS: u64 = 60;
