//! Bytes through connections.

use std::time::Duration;

use super::rig::{Rig, errno_of, gather};
use crate::buf::{Chunk, Gather};
use crate::ring::{Fd, Interest, Op, Outcome, Readiness, RecvInto};

pub(super) fn a_provided_receive_waits_without_a_buffer(rig: &mut Rig) {
    let (client, server) = rig.pair();
    rig.quiet(Duration::from_millis(1));
    let free = rig.ring.buffers_available();
    let (_, token) = rig.submit(Op::Recv {
        fd: server,
        into: RecvInto::Provided,
    });
    rig.quiet(Duration::from_millis(5));
    assert_eq!(
        rig.ring.buffers_available(),
        free,
        "a waiting receive costs no buffer"
    );
    rig.send(client, b"hello");
    let Outcome::Received {
        result: Ok(5),
        lease: Some(lease),
    } = rig.outcome(token)
    else {
        panic!("no data")
    };
    assert_eq!(lease.data(), b"hello");
    assert_eq!(rig.ring.buffers_available(), free - 1);
    drop(lease);
    rig.ring.close(client);
    rig.ring.close(server);
}

pub(super) fn a_lease_is_appended_to(rig: &mut Rig) {
    let (client, server) = rig.pair();
    let mut lease = rig.pool.take().unwrap();
    lease.extend_from_slice(b"one ");
    for text in [&b"two "[..], b"three"] {
        rig.send(client, text);
        let Outcome::Received {
            result,
            lease: Some(grown),
        } = rig.run(Op::Recv {
            fd: server,
            into: RecvInto::Lease(lease),
        })
        else {
            panic!("the lease comes back")
        };
        assert_eq!(result.unwrap(), text.len());
        lease = grown;
    }
    assert_eq!(lease.data(), b"one two three");
    // A lease comes back at the end of the stream, too.
    rig.ring.close(client);
    let end = rig.run(Op::Recv {
        fd: server,
        into: RecvInto::Lease(lease),
    });
    assert!(matches!(end, Outcome::Received { result: Ok(0), lease: Some(lease) } if lease.filled() == 13));
    rig.ring.close(server);
}

pub(super) fn the_end_of_the_stream_is_zero_bytes(rig: &mut Rig) {
    let (client, server) = rig.pair();
    rig.send(client, b"tail");
    rig.ring.close(client);
    assert_eq!(rig.recv_exact(server, 4), b"tail");
    for _ in 0..2 {
        assert!(rig.recv(server).unwrap().is_none(), "the end stays the end");
    }
    rig.ring.close(server);
}

pub(super) fn half_a_connection_can_be_closed(rig: &mut Rig) {
    let (client, server) = rig.pair();
    rig.send(client, b"request");
    rig.ring.shutdown_write(client).unwrap();
    assert_eq!(rig.recv_exact(server, 7), b"request");
    assert!(rig.recv(server).unwrap().is_none());
    rig.send(server, b"answer");
    assert_eq!(rig.recv_exact(client, 6), b"answer");
    rig.ring.close(server);
    assert!(rig.recv(client).unwrap().is_none());
    rig.ring.close(client);
}

pub(super) fn a_reset_after_the_end_of_the_stream_is_seen_by_poll(rig: &mut Rig) {
    let (client, server) = rig.pair();
    rig.ring.shutdown_write(client).unwrap();
    assert!(rig.recv(server).unwrap().is_none());
    rig.ring.reset(client);
    rig.quiet(Duration::from_millis(2));
    match rig.run(Op::Poll {
        fd: server,
        flags: Interest::ERROR,
    }) {
        Outcome::Polled(Ok(found)) => assert!(found.error, "{found:?}"),
        other => panic!("{other:?}"),
    }
    rig.ring.close(server);
}

pub(super) fn a_close_is_a_reset_where_asked_for(rig: &mut Rig) {
    for reset in [true, false] {
        let (client, server) = rig.pair();
        rig.ring.reset_on_close(client, true);
        rig.ring.reset_on_close(client, reset);
        rig.ring.close(client);
        let expected = if reset { Err(libc::ECONNRESET) } else { Ok(()) };
        assert_eq!(rig.recv(server).map(|lease| assert!(lease.is_none())), expected);
        rig.ring.close(server);
    }
}

pub(super) fn a_reset_reaches_the_peer(rig: &mut Rig) {
    let (client, server) = rig.pair();
    let (_, token) = rig.submit(Op::Recv {
        fd: server,
        into: RecvInto::Provided,
    });
    rig.quiet(Duration::from_millis(2));
    rig.ring.reset(client);
    let end = rig.outcome(token);
    assert_eq!(errno_of(&end), Some(libc::ECONNRESET), "{end:?}");
    let send = rig.run(Op::Send {
        fd: server,
        gather: gather(&[b"x"]),
    });
    assert_eq!(errno_of(&send), Some(libc::EPIPE), "an error, not a signal");
    rig.ring.close(server);
}

pub(super) fn chains_of_any_length_arrive_in_order(rig: &mut Rig) {
    let (client, server) = rig.pair();
    for chunks in [1usize, 2, 64, 65, 200] {
        let mut chain = Gather::new();
        let mut expected = Vec::new();
        for n in 0..chunks {
            let part = vec![n as u8; n % 7 + 1];
            expected.extend_from_slice(&part);
            chain.push(if n % 2 == 0 {
                Chunk::from_slice(&part)
            } else {
                Chunk::from_vec(part)
            });
        }
        let sends = send_all(rig, client, chain);
        assert_eq!(sends, chunks.div_ceil(64), "{chunks} chunks");
        assert_eq!(rig.recv_exact(server, expected.len()), expected);
    }
    rig.ring.close(client);
    rig.ring.close(server);
}

pub(super) fn a_short_send_is_resumed_by_its_owner(rig: &mut Rig) {
    const TOTAL: usize = 12 << 20;
    let (client, server) = rig.pair();
    let data: Vec<u8> = (0..TOTAL).map(|n| (n / 251) as u8).collect();
    let mut chain = Gather::new();
    data.chunks(300_000)
        .for_each(|part| chain.push(Chunk::from_slice(part)));
    let (_, mut sending) = rig.submit(Op::Send {
        fd: client,
        gather: chain,
    });
    let (_, mut receiving) = rig.submit(Op::Recv {
        fd: server,
        into: RecvInto::Provided,
    });
    let mut got = Vec::with_capacity(TOTAL);
    let limit = rig.limit();
    while got.len() < TOTAL {
        assert!(rig.ring.now() < limit, "stuck at {} bytes", got.len());
        rig.turn(limit);
        for completion in std::mem::take(rig.stash()) {
            match completion.outcome {
                Outcome::Sent { result, mut gather } => {
                    assert_eq!(completion.token, sending);
                    gather.advance(result.unwrap());
                    if !gather.is_empty() {
                        sending = rig.submit(Op::Send { fd: client, gather }).1;
                    }
                }
                Outcome::Received {
                    result: Ok(_),
                    lease: Some(lease),
                } => {
                    assert_eq!(completion.token, receiving);
                    got.extend_from_slice(lease.data());
                    if got.len() < TOTAL {
                        receiving = rig
                            .submit(Op::Recv {
                                fd: server,
                                into: RecvInto::Provided,
                            })
                            .1;
                    }
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
    }
    assert!(got == data, "the bytes differ");
    assert!(
        rig.ring.counters().short_sends > 0,
        "12 MiB do not fit into a socket"
    );
    rig.ring.close(client);
    rig.ring.close(server);
}

pub(super) fn a_poll_reports_data_and_hang_up_and_takes_neither(rig: &mut Rig) {
    let (client, server) = rig.pair();
    let both = Interest::READ | Interest::HANGUP;
    let (_, token) = rig.submit(Op::Poll {
        fd: server,
        flags: both,
    });
    rig.quiet(Duration::from_millis(5));
    rig.send(client, b"x");
    let Outcome::Polled(Ok(ready)) = rig.outcome(token) else {
        panic!("not ready")
    };
    assert_eq!(
        ready,
        Readiness {
            readable: true,
            hangup: false,
            error: false
        }
    );
    assert_eq!(rig.recv_exact(server, 1), b"x");
    let (_, token) = rig.submit(Op::Poll {
        fd: server,
        flags: Interest::HANGUP,
    });
    rig.send(client, b"y");
    rig.quiet(Duration::from_millis(5));
    rig.ring.close(client);
    let Outcome::Polled(Ok(ready)) = rig.outcome(token) else {
        panic!("not ready")
    };
    assert!(ready.hangup);
    assert_eq!(rig.recv_exact(server, 1), b"y");
    rig.ring.close(server);
}

pub(super) fn an_empty_pool_is_reported_and_recovers(rig: &mut Rig) {
    let (client, server) = rig.pair();
    let mut held: Vec<_> = std::iter::from_fn(|| rig.pool.take()).collect();
    // What the ring has set aside goes to receives.
    loop {
        rig.send(client, b"z");
        match rig.recv(server) {
            Ok(lease) => held.extend(lease),
            Err(errno) => {
                assert_eq!(errno, libc::ENOBUFS);
                break;
            }
        }
        assert!(held.len() <= rig.pool.count() as usize);
    }
    assert_eq!(
        (held.len(), rig.ring.buffers_available()),
        (rig.pool.count() as usize, 0)
    );
    assert_eq!(rig.recv(server).map(drop), Err(libc::ENOBUFS), "it stays empty");
    assert!(rig.ring.counters().enobufs >= 2);
    held.truncate(1);
    assert!(rig.ring.buffers_available() > 0);
    assert_eq!(rig.recv_exact(server, 1), b"z");
    rig.ring.close(client);
    rig.ring.close(server);
}

/// Sends everything and returns the number of sends it took.
fn send_all(rig: &mut Rig, fd: Fd, mut chain: Box<Gather>) -> usize {
    let mut sends = 0;
    while !chain.is_empty() {
        let Outcome::Sent { result, gather } = rig.run(Op::Send { fd, gather: chain }) else {
            panic!("not a send")
        };
        chain = gather;
        chain.advance(result.unwrap());
        sends += 1;
    }
    sends
}
