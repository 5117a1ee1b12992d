//! What a case works with: a ring, its pool, and a way to wait for one operation.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use viaduct_proto::time::Now;

use crate::buf::{Chunk, Gather, Lease, Pool, PoolConfig};
use crate::ring::{
    Completion, EngineChoice, Fd, Op, OpKey, Outcome, RecvInto, Ring, RingConfig, Token, Waker,
};

/// A ring under test.
pub(super) struct Rig {
    pub(super) ring: Ring,
    pub(super) pool: Pool,
    /// Opens another ring of the same kind, if sockets can move between two.
    pub(super) sibling: Option<fn() -> Self>,
    /// Lets virtual time pass up to a limit, after a wait that found nothing. Real time passes by itself.
    advance: Box<dyn FnMut(Now)>,
    /// Completions that nobody asked for yet.
    stash: Vec<Completion>,
    tokens: u32,
}

impl Rig {
    pub(super) fn uring() -> Self {
        Self::real(EngineChoice::IoUring, Self::uring)
    }

    pub(super) fn epoll() -> Self {
        Self::real(EngineChoice::Epoll, Self::epoll)
    }

    fn real(choice: EngineChoice, sibling: fn() -> Self) -> Self {
        let config = config();
        let (ring, _) = Ring::open(choice, &config).unwrap();
        Self::new(ring, config.small, Some(sibling), Box::new(|_| ()))
    }

    pub(super) fn new(
        ring: Ring,
        pool: Pool,
        sibling: Option<fn() -> Self>,
        advance: Box<dyn FnMut(Now)>,
    ) -> Self {
        Self {
            ring,
            pool,
            sibling,
            advance,
            stash: Vec::new(),
            tokens: 0,
        }
    }

    /// Ends the case: nothing is in flight, no descriptor and no buffer is missing.
    pub(super) fn ends_clean(mut self) {
        self.settle();
        assert_eq!(self.ring.open_fds(), 0, "the case left sockets open");
        assert!(
            self.stash.is_empty(),
            "completions that nobody asked for: {:?}",
            self.stash
        );
        self.ring.teardown();
        assert_eq!(self.pool.free(), self.pool.count(), "a buffer is missing");
    }

    pub(super) fn submit(&mut self, op: Op) -> (OpKey, Token) {
        self.tokens += 1;
        let token = Token::new(self.tokens, self.tokens % 5, 1);
        (self.ring.submit(op, token), token)
    }

    /// Waits once, up to `limit`.
    pub(super) fn turn(&mut self, limit: Now) {
        let before = self.stash.len();
        self.ring.wait(Some(limit), &mut self.stash).unwrap();
        if self.stash.len() == before {
            (self.advance)(limit);
        }
    }

    /// The next completion with this token.
    pub(super) fn next(&mut self, token: Token) -> Completion {
        let limit = self.limit();
        loop {
            if let Some(at) = self.stash.iter().position(|completion| completion.token == token) {
                return self.stash.remove(at);
            }
            assert!(
                self.ring.now() < limit,
                "nothing came for {token:?}; there is {:?}",
                self.stash
            );
            self.turn(limit);
        }
    }

    /// The outcome of an operation that has one completion.
    pub(super) fn outcome(&mut self, token: Token) -> Outcome {
        let completion = self.next(token);
        assert!(!completion.more, "more than one completion: {completion:?}");
        completion.outcome
    }

    pub(super) fn run(&mut self, op: Op) -> Outcome {
        let (_, token) = self.submit(op);
        self.outcome(token)
    }

    /// Waits until every final completion is out.
    pub(super) fn settle(&mut self) {
        let limit = self.limit();
        while self.ring.in_flight() > 0 {
            assert!(self.ring.now() < limit, "operations do not end");
            self.turn(limit);
        }
    }

    /// Lets `time` pass and expects no completion in it.
    pub(super) fn quiet(&mut self, time: Duration) {
        let limit = self.ring.now().after(time);
        while self.ring.now() < limit {
            self.turn(limit);
        }
        assert!(self.stash.is_empty(), "unexpected: {:?}", self.stash);
    }

    pub(super) fn listen(&mut self) -> (Fd, SocketAddr) {
        self.ring
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false)
            .unwrap()
    }

    pub(super) fn connect(&mut self, addr: SocketAddr) -> Fd {
        let fd = self.ring.socket(&addr, None).unwrap();
        let Outcome::Connected(Ok(())) = self.run(Op::Connect { fd, addr }) else {
            panic!("not connected")
        };
        fd
    }

    /// A connection: the end that connected, and the one that was accepted.
    pub(super) fn pair(&mut self) -> (Fd, Fd) {
        let (listener, addr) = self.listen();
        let (key, accept) = self.submit(Op::Accept { fd: listener });
        let client = self.connect(addr);
        let Outcome::Accepted(Ok((server, _))) = self.next(accept).outcome else {
            panic!("not accepted")
        };
        self.ring.cancel(key);
        let Outcome::Accepted(Err(_)) = self.outcome(accept) else {
            panic!("only one connection was made")
        };
        self.ring.close(listener);
        (client, server)
    }

    /// Receives into a provided buffer: the data, or the errno.
    pub(super) fn recv(&mut self, fd: Fd) -> Result<Option<Lease>, i32> {
        match self.run(Op::Recv {
            fd,
            into: RecvInto::Provided,
        }) {
            Outcome::Received { result: Ok(n), lease } => {
                assert_eq!(lease.as_ref().map_or(0, Lease::filled), n);
                Ok(lease)
            }
            Outcome::Received {
                result: Err(error),
                lease: None,
            } => Err(error.raw_os_error().unwrap()),
            other => panic!("not the end of a receive: {other:?}"),
        }
    }

    /// Receives exactly `n` bytes.
    pub(super) fn recv_exact(&mut self, fd: Fd, n: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < n {
            let lease = self.recv(fd).unwrap().expect("the stream goes on");
            got.extend_from_slice(lease.data());
        }
        assert_eq!(got.len(), n, "more than was sent");
        got
    }

    /// Sends a few bytes, which fit into any socket.
    pub(super) fn send(&mut self, fd: Fd, bytes: &[u8]) {
        let gather = gather(&[bytes]);
        let Outcome::Sent { result, gather } = self.run(Op::Send { fd, gather }) else {
            panic!("not a send")
        };
        assert_eq!(result.unwrap(), bytes.len());
        assert_eq!(
            gather.len(),
            bytes.len(),
            "the owner advances the chain, not the ring"
        );
    }

    /// Fills the socket until a send waits, and returns the waiting send.
    pub(super) fn send_until_it_waits(&mut self, fd: Fd) -> (OpKey, Token) {
        let block = vec![7; 1 << 20];
        for _ in 0..64 {
            let (key, token) = self.submit(Op::Send {
                fd,
                gather: gather(&[&block]),
            });
            let limit = self.ring.now().after(Duration::from_millis(50));
            while self.ring.now() < limit && !self.stash.iter().any(|it| it.token == token) {
                self.turn(limit);
            }
            match self.stash.iter().position(|it| it.token == token) {
                Some(at) => drop(self.stash.remove(at)),
                None => return (key, token),
            }
        }
        panic!("64 MiB fit into a socket");
    }

    pub(super) fn waker(&self) -> Waker {
        self.ring.waker()
    }

    /// Completions that nobody asked for yet.
    pub(super) fn stash(&mut self) -> &mut Vec<Completion> {
        &mut self.stash
    }

    /// When a case has waited long enough for anything.
    pub(super) fn limit(&self) -> Now {
        self.ring.now().after(Duration::from_secs(10))
    }
}

/// Small, so that its limits are met.
pub(super) fn config() -> RingConfig {
    let small = Pool::new(PoolConfig {
        data_len: 4096,
        count: 16,
    })
    .unwrap();
    RingConfig {
        entries: 8,
        cq_entries: 64,
        small,
        provided: 4,
    }
}

/// A chain of heap chunks.
pub(super) fn gather(parts: &[&[u8]]) -> Box<Gather> {
    let mut gather = Gather::new();
    parts.iter().for_each(|part| gather.push(Chunk::from_slice(part)));
    gather
}

/// The errno that ended an operation, if one did.
pub(super) fn errno_of(outcome: &Outcome) -> Option<i32> {
    match outcome {
        Outcome::Accepted(Err(error))
        | Outcome::Connected(Err(error))
        | Outcome::Polled(Err(error))
        | Outcome::Received {
            result: Err(error), ..
        }
        | Outcome::Sent {
            result: Err(error), ..
        } => error.raw_os_error(),
        _ => None,
    }
}
