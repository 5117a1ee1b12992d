//! What only this ring can get wrong.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::UringRing;
use crate::buf::{Pool, PoolConfig};
use crate::ring::epoll::EpollRing;
use crate::ring::{Completion, Fd, Interest, Op, Outcome, RecvInto, RingConfig, Token};
use crate::sys::clock;

fn config(entries: u32, cq_entries: u32, count: u32) -> RingConfig {
    let small = Pool::new(PoolConfig {
        data_len: 2048,
        count,
    })
    .unwrap();
    RingConfig {
        entries,
        cq_entries,
        small,
        provided: 256,
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Waits until `count` completions are there.
fn collect(ring: &mut UringRing, count: usize) -> Vec<Completion> {
    let mut out = Vec::new();
    let limit = clock::monotonic().after(Duration::from_secs(10));
    while out.len() < count {
        assert!(
            clock::monotonic() < limit,
            "{} of {count} completions came",
            out.len()
        );
        ring.wait(Some(limit), &mut out).unwrap();
    }
    out
}

/// A connection to this ring: its end, and a client that blocks.
fn connection(ring: &mut UringRing) -> (Fd, TcpStream) {
    let (listener, addr) = ring.listen(loopback(), false).unwrap();
    ring.submit(Op::Accept { fd: listener }, Token::new(0, 0, 9));
    let client = TcpStream::connect(addr).unwrap();
    let Some(Outcome::Accepted(Ok((fd, _)))) = collect(ring, 1).pop().map(|it| it.outcome) else {
        panic!("not accepted")
    };
    ring.close(listener);
    collect(ring, 1);
    (fd, client)
}

#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    const COUNT: u32 = 64;
    let mut ring = UringRing::open(&config(4, 4, 8)).unwrap();
    let sockets: Vec<_> = (0..COUNT)
        .map(|_| {
            let (fd, mut client) = connection(&mut ring);
            client.write_all(b"x").unwrap();
            (fd, client)
        })
        .collect();
    // All of them are ready: each batch of submissions completes at once, and nobody reaps in between.
    for (&(fd, _), index) in sockets.iter().zip(0..) {
        ring.submit(
            Op::Poll {
                fd,
                flags: Interest::READ,
            },
            Token::new(index, 0, 1),
        );
    }
    assert!(
        ring.counters().backlogged > 0,
        "the submission queue is smaller than the burst"
    );
    let mut seen: Vec<_> = collect(&mut ring, COUNT as usize)
        .iter()
        .map(|it| it.token.index())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..COUNT).collect::<Vec<_>>(), "each completion once");
    assert!(
        ring.counters().overflows > 0,
        "the completion queue is smaller than the burst"
    );
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn a_cancel_does_not_overtake_its_backlogged_target() {
    let mut ring = UringRing::open(&config(4, 64, 8)).unwrap();
    let sockets: Vec<_> = (0..40).map(|_| connection(&mut ring)).collect();
    let keys: Vec<_> = sockets
        .iter()
        .map(|&(fd, _)| {
            ring.submit(
                Op::Recv {
                    fd,
                    into: RecvInto::Provided,
                },
                Token::new(1, 0, 1),
            )
        })
        .collect();
    keys.into_iter().for_each(|key| ring.cancel(key));
    for completion in collect(&mut ring, sockets.len()) {
        let Outcome::Received {
            result: Err(error),
            lease: None,
        } = completion.outcome
        else {
            panic!("{completion:?}")
        };
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    }
}

#[test]
fn at_most_half_of_the_pool_is_lent() {
    let config = config(8, 64, 100);
    let mut ring = UringRing::open(&config).unwrap();
    ring.wait(Some(clock::monotonic()), &mut Vec::new()).unwrap();
    assert_eq!((config.small.free(), ring.buffers_available()), (50, 100));
    ring.teardown();
    assert_eq!(config.small.free(), 100);
}

#[test]
fn a_socket_from_a_non_blocking_ring_waits_here() {
    let config = config(8, 64, 8);
    let mut ring = UringRing::open(&config).unwrap();
    let mut epoll = EpollRing::open(&config).unwrap();
    let (listener, addr) = epoll.listen(loopback(), false).unwrap();
    epoll.submit(Op::Accept { fd: listener }, Token::new(0, 0, 0));
    let mut client = TcpStream::connect(addr).unwrap();
    let mut out = Vec::new();
    epoll
        .wait(Some(clock::monotonic().after(Duration::from_secs(5))), &mut out)
        .unwrap();
    let Some(Outcome::Accepted(Ok((fd, _)))) = out.pop().map(|it| it.outcome) else {
        panic!("not accepted")
    };
    epoll.detach(fd);
    ring.adopt(fd);
    ring.submit(
        Op::Recv {
            fd,
            into: RecvInto::Provided,
        },
        Token::new(0, 0, 1),
    );
    ring.wait(
        Some(clock::monotonic().after(Duration::from_millis(10))),
        &mut out,
    )
    .unwrap();
    assert!(out.is_empty(), "an empty socket is waited for: {out:?}");
    client.write_all(b"now").unwrap();
    let received = collect(&mut ring, 1);
    assert!(matches!(
        received.as_slice(),
        [Completion {
            outcome: Outcome::Received { result: Ok(3), .. },
            ..
        }]
    ));
}

#[test]
fn no_socket_takes_more_than_one_buffer_per_turn() {
    let mut ring = UringRing::open(&config(64, 256, 64)).unwrap();
    let (greedy, mut flood) = connection(&mut ring);
    let (modest, mut drip) = connection(&mut ring);
    flood.write_all(&vec![0; 200_000]).unwrap();
    let (mut bytes, mut turns) = (0, 0);
    for fd in [greedy, modest] {
        ring.submit(
            Op::Recv {
                fd,
                into: RecvInto::Provided,
            },
            Token::new(0, 0, u8::from(fd == modest)),
        );
    }
    drip.write_all(b"x").unwrap();
    let mut out = Vec::new();
    while bytes == 0 {
        ring.wait(Some(clock::monotonic().after(Duration::from_secs(5))), &mut out)
            .unwrap();
        turns += 1;
        for completion in out.drain(..) {
            let Outcome::Received { result: Ok(n), .. } = completion.outcome else {
                panic!("{completion:?}")
            };
            if completion.token.kind() == 1 {
                bytes += n;
            } else {
                assert!(n <= 2048);
                ring.submit(
                    Op::Recv {
                        fd: greedy,
                        into: RecvInto::Provided,
                    },
                    completion.token,
                );
            }
        }
    }
    assert!(turns <= 2, "the modest socket waited {turns} turns");
}

#[test]
fn a_ring_that_is_dropped_lets_its_peers_know() {
    let mut ring = UringRing::open(&config(8, 64, 8)).unwrap();
    let (fd, mut client) = connection(&mut ring);
    ring.submit(
        Op::Recv {
            fd,
            into: RecvInto::Provided,
        },
        Token::new(0, 0, 1),
    );
    ring.wait(Some(clock::monotonic()), &mut Vec::new()).unwrap();
    drop(ring);
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(
        client.read(&mut [0; 8]).unwrap(),
        0,
        "a receive that was pending does not hold the socket open"
    );
}

#[test]
fn a_thread_can_open_rings_without_end() {
    // The kernel keeps at most 16 registered rings per thread, and keeps them open.
    for round in 0..40 {
        let ring = UringRing::open(&config(4, 16, 8)).unwrap();
        assert!(ring.gate.is_registered(), "ring {round} found no room");
    }
}

#[test]
fn a_kernel_that_does_not_let_go_keeps_the_buffers() {
    let config = config(8, 64, 8);
    let mut ring = UringRing::open(&config).unwrap();
    let (fd, _client) = connection(&mut ring);
    assert_eq!((config.small.free(), ring.buffers_available()), (4, 8));
    // An operation that never reaches the kernel gets no completion from it.
    ring.slots.insert(
        Op::Recv {
            fd,
            into: RecvInto::Provided,
        },
        Token::new(0, 0, 1),
    );
    ring.teardown();
    assert_eq!((config.small.free(), ring.buffers_available()), (4, 4));
    drop(ring);
    assert_eq!(
        config.small.free(),
        4,
        "a second teardown gives nothing back either"
    );
}
