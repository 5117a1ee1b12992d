//! Tests of the simulated network and of the ring on it.

mod echo;
mod hosts;
mod net;
mod ring;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{SimConfig, SimNet};
use crate::buf::{Chunk, Gather, Pool, PoolConfig};
use crate::ring::{Completion, Fd, Interest, Op, OpKey, Outcome, RecvInto, Ring, Token};

/// The host of servers in these tests.
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
/// The host of clients that have a ring.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const SEEDS: u64 = 200;

/// A label whose kind is all that matters.
fn label(kind: u8) -> Token {
    Token::new(0, 0, kind)
}

fn pool(count: u32) -> Pool {
    Pool::new(PoolConfig {
        data_len: 2048,
        count,
    })
    .unwrap()
}

fn gather(bytes: &[u8]) -> Box<Gather> {
    let mut gather = Gather::new();
    gather.push(Chunk::from_slice(bytes));
    gather
}

/// The error of a completion.
fn errno_of(completion: &Completion) -> Option<i32> {
    match &completion.outcome {
        Outcome::Accepted(result) => result.as_ref().err(),
        Outcome::Connected(result) => result.as_ref().err(),
        Outcome::Polled(result) => result.as_ref().err(),
        Outcome::Received { result, .. } | Outcome::Sent { result, .. } => result.as_ref().err(),
        Outcome::Woken => None,
    }
    .and_then(std::io::Error::raw_os_error)
}

/// Lets everything on the way arrive, but no attempt or partition time out.
fn settle(net: &SimNet) {
    let limit = net.now().after(Duration::from_secs(1));
    while net.advance_to_next(limit) {}
}

/// Gives rings their turns until a second passed without an event. Answers each ring's completions.
fn run<const N: usize>(net: &SimNet, mut rings: [&mut Ring; N]) -> [Vec<Completion>; N] {
    let mut outs = [const { Vec::new() }; N];
    let limit = net.now().after(Duration::from_secs(1));
    loop {
        for (ring, out) in rings.iter_mut().zip(&mut outs) {
            ring.wait(None, out).unwrap();
        }
        if !net.advance_to_next(limit) {
            return outs;
        }
    }
}

/// Distinguishable bytes.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}
