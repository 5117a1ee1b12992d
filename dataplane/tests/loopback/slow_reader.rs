//! A client that does not read: its neighbours stay fast, memory stays bounded, and nothing is lost when it reads
//! again.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::target::Target;
use crate::harness::tunnel::Tunnel;
use crate::harness::{Engine, Transport, on_each_engine, pattern, wait};

on_each_engine!(slow_reader_plain, slow_reader_tls);

fn slow_reader_plain(engine: Engine) {
    stall_one(engine, Transport::Plain);
}

fn slow_reader_tls(engine: Engine) {
    stall_one(engine, Transport::Tls);
}

fn stall_one(engine: Engine, transport: Transport) {
    let echo = Target::echo();
    let flood = Target::start(|mut stream| pattern::write(&mut stream, FLOOD_SEED, FLOOD));
    let targets = [("echo", echo.address()), ("flood", flood.address())];
    let tunnel = Tunnel::open(engine.over(transport), &targets);
    let alone = median_round_trip(&tunnel);
    let memory = tunnel.pids().map(|pid| (pid, wait::resident(pid)));

    let mut stalled: Vec<_> = (0..STALLED).map(|_| tunnel.connect("flood")).collect();
    thread::sleep(STALL);
    let beside = median_round_trip(&tunnel);
    println!(
        "{} {transport:?}: round trip {alone:?} alone, {beside:?} beside stalled streams",
        engine.flag()
    );
    assert!(
        beside < alone * 4 + SLACK,
        "a stalled stream slows its neighbours: {alone:?} became {beside:?}"
    );
    for ((pid, before), name) in memory.into_iter().zip(["relay", "remote bridge", "local bridge"]) {
        let grown = wait::resident(pid).saturating_sub(before);
        println!(
            "{} {transport:?}: {name}: {grown} bytes for {STALLED} stalled streams",
            engine.flag()
        );
        assert!(
            grown < MEMORY,
            "{name} grew by {grown} bytes for {STALLED} stalled streams"
        );
    }
    for stream in &mut stalled {
        let whole = pattern::verify(stream, FLOOD_SEED, FLOOD).expect("the stalled stream goes on");
        assert!(whole, "a stalled stream lost or changed bytes");
    }
}

fn median_round_trip(tunnel: &Tunnel) -> Duration {
    let mut stream = tunnel.connect("echo");
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            stream.write_all(&[1; 128]).expect("ping");
            stream.read_exact(&mut [0; 128]).expect("pong");
            start.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

const ROUNDS: usize = 401;
const STALLED: usize = 8;
const STALL: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(3);
/// Far over what sockets and queues on the way can hold.
const FLOOD: u64 = 48 << 20;
const FLOOD_SEED: u64 = 11;
/// Each process may hold this much more while the streams stall, bytes.
const MEMORY: u64 = 48 << 20;
