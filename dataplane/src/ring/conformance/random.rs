//! Random operations on several streams; whatever happens, bytes arrive in order, once.

use std::collections::HashMap;

use super::rig::{Rig, gather};
use crate::buf::Lease;
use crate::ring::{Fd, Op, OpKey, Outcome, RecvInto, Token};

/// One direction of a connection. Byte `n` of it has the value `n mod 251`.
struct Stream {
    source: Fd,
    target: Fd,
    sent: usize,
    received: usize,
    sending: Option<OpKey>,
    receiving: Option<OpKey>,
}

/// Which stream and which end an operation belongs to.
type Owners = HashMap<Token, (usize, bool)>;

pub(super) fn streams_stay_whole_under_random_operations(rig: &mut Rig) {
    for seed in 1..=8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let pairs: Vec<_> = (0..5).map(|_| rig.pair()).collect();
        let mut streams: Vec<_> = pairs
            .iter()
            .flat_map(|&(a, b)| [stream(a, b), stream(b, a)])
            .collect();
        let mut owners = Owners::new();
        for _ in 0..800 {
            act(rig, &mut random, &mut streams, &mut owners);
        }
        // Everything that was sent must arrive.
        let limit = rig.limit();
        while streams
            .iter()
            .any(|it| it.received < it.sent || it.sending.is_some())
        {
            assert!(rig.ring.now() < limit, "seed {seed}: bytes are missing");
            for at in 0..streams.len() {
                if streams[at].received < streams[at].sent || streams[at].sending.is_some() {
                    receive(rig, &mut streams, at, &mut owners, None);
                }
            }
            rig.turn(rig.ring.now().after(std::time::Duration::from_millis(20)));
            take(rig, &mut streams, &mut owners);
        }
        for (a, b) in pairs {
            rig.ring.close(a);
            rig.ring.close(b);
        }
        rig.settle();
        rig.stash().clear();
    }
}

fn act(rig: &mut Rig, random: &mut fastrand::Rng, streams: &mut [Stream], owners: &mut Owners) {
    let at = random.usize(..streams.len());
    match random.u8(..8) {
        0 | 1 => {
            let lease = if random.bool() { rig.pool.take() } else { None };
            receive(rig, streams, at, owners, lease);
        }
        2 | 3 => send(rig, random, streams, at, owners),
        4 => streams[at]
            .receiving
            .into_iter()
            .for_each(|key| rig.ring.cancel(key)),
        5 => streams[at]
            .sending
            .into_iter()
            .for_each(|key| rig.ring.cancel(key)),
        _ => {
            rig.turn(rig.ring.now());
            take(rig, streams, owners);
        }
    }
}

fn receive(rig: &mut Rig, streams: &mut [Stream], at: usize, owners: &mut Owners, lease: Option<Lease>) {
    if streams[at].receiving.is_none() {
        let into = lease.map_or(RecvInto::Provided, RecvInto::Lease);
        let (key, token) = rig.submit(Op::Recv {
            fd: streams[at].target,
            into,
        });
        streams[at].receiving = Some(key);
        owners.insert(token, (at, false));
    }
}

fn send(rig: &mut Rig, random: &mut fastrand::Rng, streams: &mut [Stream], at: usize, owners: &mut Owners) {
    if streams[at].sending.is_some() {
        return;
    }
    let mut next = streams[at].sent;
    let parts: Vec<Vec<u8>> = (0..random.usize(1..90))
        .map(|_| {
            let part = (next..next + random.usize(1..3000)).map(byte).collect::<Vec<_>>();
            next += part.len();
            part
        })
        .collect();
    let gather = gather(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (key, token) = rig.submit(Op::Send {
        fd: streams[at].source,
        gather,
    });
    streams[at].sending = Some(key);
    owners.insert(token, (at, true));
}

/// Checks what came.
fn take(rig: &mut Rig, streams: &mut [Stream], owners: &mut Owners) {
    for completion in std::mem::take(rig.stash()) {
        assert!(!completion.more);
        let (at, is_send) = owners
            .remove(&completion.token)
            .expect("one completion per operation");
        let stream = &mut streams[at];
        match completion.outcome {
            Outcome::Sent { result, .. } => {
                assert!(is_send);
                stream.sending = None;
                stream.sent += result.or_else(cancelled).unwrap();
            }
            Outcome::Received { result, lease } => {
                assert!(!is_send);
                stream.receiving = None;
                let n = result.or_else(cancelled).unwrap();
                let data = lease.as_ref().map_or(&[][..], Lease::data);
                assert_eq!(data.len(), n);
                assert!(
                    data.iter()
                        .copied()
                        .eq((stream.received..stream.received + n).map(byte)),
                    "out of order"
                );
                stream.received += n;
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// An operation that was cancelled, or that found no buffer, moved nothing.
fn cancelled(error: std::io::Error) -> std::io::Result<usize> {
    match error.raw_os_error() {
        Some(libc::ECANCELED | libc::ENOBUFS) => Ok(0),
        _ => Err(error),
    }
}

fn stream(source: Fd, target: Fd) -> Stream {
    Stream {
        source,
        target,
        sent: 0,
        received: 0,
        sending: None,
        receiving: None,
    }
}

fn byte(n: usize) -> u8 {
    (n % 251) as u8
}
