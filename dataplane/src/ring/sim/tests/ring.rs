//! The ring's own promises, one by one.

use viaduct_proto::time::Now;

use super::super::SimListener;
use super::*;

/// A ring on [`CLIENT`] with a connection to a scripted server.
struct Rig {
    net: SimNet,
    small: Pool,
    ring: Ring,
    fd: Fd,
    server: super::super::SimSocket,
    _listener: SimListener,
}

fn rig(config: SimConfig) -> Rig {
    let net = SimNet::new(config);
    let small = pool(2);
    let mut listener = net.listen(SocketAddr::new(SERVER, 0)).unwrap();
    let mut ring = Ring::sim(&net, CLIENT, small.clone());
    let fd = ring.socket(&listener.addr(), None).unwrap();
    ring.submit(
        Op::Connect {
            fd,
            addr: listener.addr(),
        },
        label(0),
    );
    let [out] = run(&net, [&mut ring]);
    assert!(matches!(
        out[..],
        [Completion {
            outcome: Outcome::Connected(Ok(())),
            more: false,
            ..
        }]
    ));
    let server = listener.accept().unwrap();
    Rig {
        net,
        small,
        ring,
        fd,
        server,
        _listener: listener,
    }
}

impl Rig {
    fn run(&mut self) -> Vec<Completion> {
        let [out] = run(&self.net, [&mut self.ring]);
        out
    }

    fn recv(&mut self, into: RecvInto) -> OpKey {
        self.ring.submit(Op::Recv { fd: self.fd, into }, label(1))
    }

    fn send(&mut self, bytes: &[u8]) -> OpKey {
        self.ring.submit(
            Op::Send {
                fd: self.fd,
                gather: gather(bytes),
            },
            label(2),
        )
    }
}

#[test]
fn a_lease_is_appended_to() {
    let mut rig = rig(SimConfig::calm(1));
    let mut lease = rig.small.take().unwrap();
    lease.extend_from_slice(b"head ");
    rig.recv(RecvInto::Lease(lease));
    rig.server.write(b"tail");
    let out = rig.run();
    let [
        Completion {
            outcome:
                Outcome::Received {
                    result: Ok(4),
                    lease: Some(lease),
                },
            more: false,
            ..
        },
    ] = &out[..]
    else {
        panic!("{out:?}");
    };
    assert_eq!(lease.data(), b"head tail");
}

#[test]
fn misuse_is_answered_by_a_completion() {
    let mut rig = rig(SimConfig::calm(1));
    rig.recv(RecvInto::Provided);
    rig.recv(RecvInto::Provided);
    rig.ring.submit(
        Op::Poll {
            fd: Fd(99),
            flags: Interest::READ,
        },
        label(3),
    );
    let out = rig.run();
    assert_eq!(
        out.iter().map(errno_of).collect::<Vec<_>>(),
        [Some(libc::EBUSY), Some(libc::EBADF)]
    );
    let mut full = rig.small.take().unwrap();
    full.set_filled(full.capacity());
    rig.ring.submit(
        Op::Recv {
            fd: rig.fd,
            into: RecvInto::Lease(full),
        },
        label(3),
    );
    let out = rig.run();
    assert!(matches!(
        &out[..],
        [Completion {
            outcome: Outcome::Received { lease: Some(_), .. },
            ..
        }]
    ));
    assert_eq!(errno_of(&out[0]), Some(libc::EINVAL));
}

#[test]
fn a_cancel_ends_an_idle_operation_once_and_a_stale_key_nothing() {
    let mut rig = rig(SimConfig::calm(1));
    let lease = rig.small.take().unwrap();
    let key = rig.recv(RecvInto::Lease(lease));
    rig.ring.cancel(key);
    rig.ring.cancel(key);
    let out = rig.run();
    assert!(matches!(
        &out[..],
        [Completion {
            outcome: Outcome::Received { lease: Some(_), .. },
            more: false,
            ..
        }]
    ));
    assert_eq!(errno_of(&out[0]), Some(libc::ECANCELED));
    let next = rig.recv(RecvInto::Provided);
    assert_eq!(next.index, key.index);
    rig.ring.cancel(key);
    assert!(rig.run().is_empty());
    assert_eq!(rig.ring.in_flight(), 1);
}

#[test]
fn a_cancel_that_races_with_data_gives_one_completion_and_loses_nothing() {
    let mut real = 0;
    for seed in 0..SEEDS {
        let mut rig = rig(SimConfig {
            enobufs: 0.0,
            split: 0.0,
            ..SimConfig::rough(seed)
        });
        let key = rig.recv(RecvInto::Provided);
        rig.server.write(b"data");
        let limit = rig.net.now().after(Duration::from_nanos(seed * 10_000));
        let mut out = Vec::new();
        while rig.net.advance_to_next(limit) {
            rig.ring.wait(None, &mut out).unwrap();
        }
        rig.ring.cancel(key);
        out.extend(rig.run());
        assert_eq!(out.len(), 1, "seed {seed}");
        if errno_of(&out[0]).is_none() {
            real += 1;
            continue;
        }
        rig.recv(RecvInto::Provided);
        let out = rig.run();
        assert!(matches!(
            &out[..],
            [Completion {
                outcome: Outcome::Received { result: Ok(4), .. },
                ..
            }]
        ));
    }
    assert!(real > 0 && real < SEEDS, "both orders happen: {real}");
}

#[test]
fn closing_under_an_operation_cancels_it_before_the_peer_hears_and_frees_the_number() {
    let mut rig = rig(SimConfig {
        op_delay_ns: 1_000_000..1_000_001,
        ..SimConfig::calm(1)
    });
    rig.recv(RecvInto::Provided);
    rig.run();
    rig.ring.close(rig.fd);
    let addr = SocketAddr::new(SERVER, 1);
    assert_eq!(
        rig.ring.socket(&addr, None).unwrap(),
        rig.fd,
        "the number names another socket"
    );
    rig.net
        .advance_to_next(rig.net.now().after(Duration::from_micros(900)));
    assert!(rig.server.read().is_empty() && !rig.server.is_eof());
    let out = rig.run();
    assert_eq!(
        out.iter().map(errno_of).collect::<Vec<_>>(),
        [Some(libc::ECANCELED)]
    );
    assert!(rig.server.read().is_empty() && rig.server.is_eof());
    assert_eq!(rig.net.counters().closes_in_flight, 1);
}

#[test]
fn a_reset_peer_is_an_error_and_then_the_end() {
    let mut rig = rig(SimConfig::calm(1));
    rig.recv(RecvInto::Provided);
    rig.server.reset();
    assert_eq!(
        rig.run().iter().map(errno_of).collect::<Vec<_>>(),
        [Some(libc::ECONNRESET)]
    );
    rig.send(b"x");
    assert_eq!(
        rig.run().iter().map(errno_of).collect::<Vec<_>>(),
        [Some(libc::EPIPE)]
    );
    rig.recv(RecvInto::Provided);
    let out = rig.run();
    assert!(matches!(
        &out[..],
        [Completion {
            outcome: Outcome::Received {
                result: Ok(0),
                lease: None
            },
            ..
        }]
    ));
}

#[test]
fn resetting_is_seen_by_the_peer() {
    let mut rig = rig(SimConfig::calm(1));
    rig.ring.reset(rig.fd);
    rig.run();
    rig.server.read();
    assert_eq!(rig.server.error(), Some(libc::ECONNRESET));
    assert_eq!((rig.ring.open_fds(), rig.net.open_fds(CLIENT)), (0, 0));
}

#[test]
fn a_send_takes_at_most_64_pieces_and_waits_for_room() {
    let mut rig = rig(SimConfig {
        pipe_capacity: 100,
        ..SimConfig::calm(1)
    });
    let mut many = Gather::new();
    (0..200).for_each(|n| many.push(Chunk::from_slice(&[n])));
    rig.ring.submit(
        Op::Send {
            fd: rig.fd,
            gather: many,
        },
        label(2),
    );
    let out = rig.run();
    let [
        Completion {
            outcome: Outcome::Sent {
                result: Ok(64),
                gather,
            },
            ..
        },
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(gather.len(), 200);
    rig.send(&[1; 100]);
    assert!(matches!(
        rig.run()[..],
        [Completion {
            outcome: Outcome::Sent { result: Ok(36), .. },
            ..
        }]
    ));
    rig.send(&[2; 10]);
    assert!(rig.run().is_empty());
    assert_eq!(rig.server.read().len(), 100);
    assert!(matches!(
        rig.run()[..],
        [Completion {
            outcome: Outcome::Sent { result: Ok(10), .. },
            ..
        }]
    ));
}

#[test]
fn an_empty_pool_is_enobufs_only_when_data_waits() {
    let mut rig = rig(SimConfig::calm(1));
    let taken = [rig.small.take(), rig.small.take()];
    rig.recv(RecvInto::Provided);
    assert!(rig.run().is_empty());
    rig.server.write(b"data");
    assert_eq!(
        rig.run().iter().map(errno_of).collect::<Vec<_>>(),
        [Some(libc::ENOBUFS)]
    );
    drop(taken);
    rig.recv(RecvInto::Provided);
    assert!(matches!(
        &rig.run()[..],
        [Completion {
            outcome: Outcome::Received { result: Ok(4), .. },
            ..
        }]
    ));
}

#[test]
fn a_poll_tells_data_and_hangup_apart_and_takes_nothing() {
    let mut rig = rig(SimConfig::calm(1));
    let poll = Op::Poll {
        fd: rig.fd,
        flags: Interest::READ | Interest::HANGUP,
    };
    rig.ring.submit(poll, label(3));
    assert!(rig.run().is_empty());
    rig.server.write(b"x");
    let out = rig.run();
    let [
        Completion {
            outcome: Outcome::Polled(Ok(found)),
            ..
        },
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert!(found.readable && !found.hangup && !found.error);
    rig.ring.submit(
        Op::Poll {
            fd: rig.fd,
            flags: Interest::HANGUP,
        },
        label(3),
    );
    assert!(rig.run().is_empty());
    rig.server.shutdown();
    let out = rig.run();
    assert!(matches!(&out[..], [Completion { outcome: Outcome::Polled(Ok(found)), .. }] if found.hangup));
}

#[test]
fn deadlines_and_wakers_are_events_of_the_network() {
    let mut rig = rig(SimConfig::calm(1));
    let mut out = Vec::new();
    let deadline = rig.net.now().after(Duration::from_secs(5));
    rig.ring.wait(Some(deadline), &mut out).unwrap();
    assert_eq!(rig.net.next_event(), Some(deadline));
    assert!(rig.net.advance_to_next(Now(u64::MAX)));
    assert_eq!((rig.ring.now(), rig.net.next_event()), (deadline, None));
    let waker = rig.ring.waker();
    std::thread::spawn(move || waker.wake()).join().unwrap();
    assert_eq!(rig.net.next_event(), Some(deadline));
    assert!(rig.net.advance_to_next(Now(u64::MAX)));
    rig.ring.wait(None, &mut out).unwrap();
    assert!(matches!(
        out[..],
        [Completion {
            token: Token::WAKE,
            outcome: Outcome::Woken,
            ..
        }]
    ));
    assert!(!rig.net.advance_to_next(Now(u64::MAX)));
}

#[test]
fn a_socket_moves_between_rings_of_a_host() {
    let mut rig = rig(SimConfig::calm(1));
    let mut other = Ring::sim(&rig.net, CLIENT, rig.small.clone());
    rig.ring.detach(rig.fd);
    rig.server.write(b"sent while it moves");
    settle(&rig.net);
    other.adopt(rig.fd);
    other.submit(
        Op::Recv {
            fd: rig.fd,
            into: RecvInto::Provided,
        },
        label(1),
    );
    let [here, there] = run(&rig.net, [&mut rig.ring, &mut other]);
    assert!(here.is_empty());
    assert!(matches!(
        &there[..],
        [Completion {
            outcome: Outcome::Received { result: Ok(19), .. },
            ..
        }]
    ));
}

#[test]
fn the_ring_of_a_killed_host_touches_nothing_of_its_successor() {
    let mut rig = rig(SimConfig::calm(1));
    rig.recv(RecvInto::Provided);
    rig.net.kill_host(CLIENT);
    assert_eq!(rig.net.open_fds(CLIENT), 0);
    let mut next = Ring::sim(&rig.net, CLIENT, rig.small.clone());
    let (listener, addr) = next.listen(SocketAddr::new(CLIENT, 0), false).unwrap();
    assert_eq!(listener, rig.fd, "the number is in use again");
    assert!(rig.run().is_empty());
    assert!(rig.ring.socket(&addr, None).is_err());
    drop(rig.ring);
    let client = rig.net.connect(addr);
    settle(&rig.net);
    assert!(client.is_open());
    assert!(rig.server.read().is_empty() && rig.server.is_eof());
}

#[test]
fn teardown_gives_everything_back() {
    for seed in 0..SEEDS {
        let mut rig = rig(SimConfig {
            emfile: 0.0,
            ..SimConfig::rough(seed)
        });
        let lease = rig.small.take().unwrap();
        rig.recv(RecvInto::Lease(lease));
        rig.send(&[7; 50_000]);
        let (listener, addr) = rig.ring.listen(SocketAddr::new(CLIENT, 0), false).unwrap();
        rig.ring.submit(Op::Accept { fd: listener }, label(4));
        let clients: Vec<_> = (0..4).map(|_| rig.net.connect(addr)).collect();
        for _ in 0..seed % 30 {
            rig.net
                .advance_to_next(rig.net.now().after(Duration::from_millis(1)));
            rig.ring.wait(None, &mut Vec::new()).unwrap();
        }
        rig.ring.teardown();
        assert_eq!(
            (rig.ring.in_flight(), rig.small.free(), rig.net.open_fds(CLIENT)),
            (0, 2, 0),
            "seed {seed}"
        );
        drop((rig.server, rig._listener, clients));
        while rig.net.advance_to_next(Now(u64::MAX)) {}
        assert_eq!(rig.net.sockets(), 0, "seed {seed}");
    }
}
