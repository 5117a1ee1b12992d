//! Operations that end early.

use std::time::Duration;

use super::rig::{Rig, errno_of};
use crate::ring::{Interest, Op, Outcome, RecvInto};

pub(super) fn an_idle_operation_of_each_kind_can_be_cancelled(rig: &mut Rig) {
    let (listener, _) = rig.listen();
    let (client, server) = rig.pair();
    let lease = rig.pool.take().unwrap();
    let send = rig.send_until_it_waits(client);
    let operations = [
        rig.submit(Op::Accept { fd: listener }),
        rig.submit(Op::Recv {
            fd: client,
            into: RecvInto::Lease(lease),
        }),
        rig.submit(Op::Poll {
            fd: client,
            flags: Interest::HANGUP,
        }),
        send,
    ];
    rig.quiet(Duration::from_millis(5));
    for (key, token) in operations {
        rig.ring.cancel(key);
        rig.ring.cancel(key);
        let outcome = rig.outcome(token);
        assert_eq!(errno_of(&outcome), Some(libc::ECANCELED), "{outcome:?}");
        match outcome {
            Outcome::Received { lease, .. } => assert!(lease.is_some(), "the lease comes back"),
            Outcome::Sent { gather, .. } => assert_eq!(gather.len(), 1 << 20, "the chain comes back"),
            _ => {}
        }
    }
    // A provided receive, idle and before it was ever tried.
    let (key, token) = rig.submit(Op::Recv {
        fd: client,
        into: RecvInto::Provided,
    });
    rig.ring.cancel(key);
    assert_eq!(errno_of(&rig.outcome(token)), Some(libc::ECANCELED));
    [listener, client, server]
        .into_iter()
        .for_each(|fd| rig.ring.close(fd));
}

pub(super) fn a_cancel_that_races_with_data_loses_none(rig: &mut Rig) {
    let (client, server) = rig.pair();
    for round in 0..40u8 {
        let (key, token) = rig.submit(Op::Recv {
            fd: server,
            into: RecvInto::Provided,
        });
        if round % 3 == 0 {
            rig.turn(rig.ring.now());
        }
        rig.send(client, &[round]);
        rig.ring.cancel(key);
        match rig.outcome(token) {
            Outcome::Received {
                result: Ok(1),
                lease: Some(lease),
            } => assert_eq!(lease.data(), [round]),
            Outcome::Received {
                result: Err(error),
                lease: None,
            } => {
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                assert_eq!(
                    rig.recv_exact(server, 1),
                    [round],
                    "a cancelled receive takes no bytes"
                );
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    rig.ring.close(client);
    rig.ring.close(server);
}

pub(super) fn closing_ends_every_operation(rig: &mut Rig) {
    let (client, server) = rig.pair();
    let (_, send) = rig.send_until_it_waits(client);
    let (_, recv) = rig.submit(Op::Recv {
        fd: client,
        into: RecvInto::Provided,
    });
    let (_, poll) = rig.submit(Op::Poll {
        fd: client,
        flags: Interest::HANGUP,
    });
    rig.quiet(Duration::from_millis(2));
    rig.ring.close(client);
    rig.ring.close(client);
    for token in [send, recv, poll] {
        let outcome = rig.outcome(token);
        assert_eq!(errno_of(&outcome), Some(libc::ECANCELED), "{outcome:?}");
    }
    // What was sent arrives, then the end.
    while rig.recv(server).unwrap().is_some() {}
    rig.ring.close(server);
}

pub(super) fn a_stale_key_cancels_nothing(rig: &mut Rig) {
    let (client, server) = rig.pair();
    let (old, token) = rig.submit(Op::Recv {
        fd: server,
        into: RecvInto::Provided,
    });
    rig.send(client, b"1");
    assert!(matches!(
        rig.outcome(token),
        Outcome::Received { result: Ok(1), .. }
    ));
    let (_, token) = rig.submit(Op::Recv {
        fd: server,
        into: RecvInto::Provided,
    });
    rig.ring.cancel(old);
    rig.quiet(Duration::from_millis(5));
    rig.send(client, b"2");
    assert!(matches!(
        rig.outcome(token),
        Outcome::Received { result: Ok(1), .. }
    ));
    rig.ring.close(client);
    rig.ring.close(server);
}

pub(super) fn a_recycled_number_gets_no_old_completion(rig: &mut Rig) {
    for round in 0..20u8 {
        let (client, server) = rig.pair();
        let (_, old) = rig.submit(Op::Recv {
            fd: server,
            into: RecvInto::Provided,
        });
        rig.turn(rig.ring.now());
        rig.send(client, b"for the old one");
        // The data and the close are both under way.
        rig.ring.close(server);
        rig.ring.close(client);
        let outcome = rig.outcome(old);
        assert!(
            matches!(
                outcome,
                Outcome::Received {
                    result: Ok(15) | Err(_),
                    ..
                }
            ),
            "{outcome:?}"
        );
        let (client, server) = rig.pair();
        let (_, new) = rig.submit(Op::Recv {
            fd: server,
            into: RecvInto::Provided,
        });
        rig.send(client, &[round]);
        let Outcome::Received {
            lease: Some(lease), ..
        } = rig.outcome(new)
        else {
            panic!("no data")
        };
        assert_eq!(lease.data(), [round]);
        rig.ring.close(client);
        rig.ring.close(server);
    }
}

/// More operations than the queues of the ring hold, ended in every way.
pub(super) fn many_operations_come_and_go(rig: &mut Rig) {
    let pairs: Vec<_> = (0..100).map(|_| rig.pair()).collect();
    let waiting: Vec<_> = pairs
        .iter()
        .map(|&(_, server)| {
            rig.submit(Op::Poll {
                fd: server,
                flags: Interest::READ,
            })
        })
        .collect();
    rig.turn(rig.ring.now());
    for (n, (&(client, _), &(key, _))) in pairs.iter().zip(&waiting).enumerate() {
        match n % 3 {
            0 => rig.send(client, b"x"),
            1 => rig.ring.cancel(key),
            _ => rig.ring.shutdown_write(client).unwrap(),
        }
    }
    for (n, (_, token)) in waiting.into_iter().enumerate() {
        let outcome = rig.outcome(token);
        match n % 3 {
            1 => assert_eq!(errno_of(&outcome), Some(libc::ECANCELED)),
            _ => assert!(
                matches!(outcome, Outcome::Polled(Ok(ready)) if ready.readable),
                "{outcome:?}"
            ),
        }
    }
    for (client, server) in pairs {
        rig.ring.close(client);
        rig.ring.close(server);
    }
}

pub(super) fn teardown_takes_everything_back(rig: &mut Rig) {
    let (listener, addr) = rig.listen();
    rig.submit(Op::Accept { fd: listener });
    let (client, server) = rig.pair();
    rig.send_until_it_waits(client);
    let lease = rig.pool.take().unwrap();
    rig.submit(Op::Recv {
        fd: client,
        into: RecvInto::Lease(lease),
    });
    rig.submit(Op::Poll {
        fd: server,
        flags: Interest::HANGUP,
    });
    rig.submit(Op::Recv {
        fd: server,
        into: RecvInto::Provided,
    });
    // Connected, accepted by the kernel, not yet seen by the ring.
    let late = rig.ring.socket(&addr, None).unwrap();
    rig.submit(Op::Connect { fd: late, addr });
    rig.ring.teardown();
    assert_eq!((rig.ring.in_flight(), rig.ring.open_fds()), (0, 0));
    assert_eq!(rig.pool.free(), rig.pool.count());
}
