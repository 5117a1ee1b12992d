//! Thousands of streams at once, thousands of idle connections, and what one of them costs in memory.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::sas::Rule;
use crate::harness::target::{ManyEcho, Target, exchange};
use crate::harness::tunnel::{self, Relay, Tunnel};
use crate::harness::{Engine, Scale, Transport, frames, on_each_engine, pattern, tls, wait};

on_each_engine!(concurrent_streams, idle_listeners_plain, idle_listeners_tls);

fn concurrent_streams(engine: Engine) {
    let count = Scale::from_env().streams;
    let echo = ManyEcho::start();
    let tunnel = Tunnel::open(engine.over(Transport::Plain), &[("echo", echo.address)]);
    exchange(tunnel.entry("echo"), b"first");
    let before = tunnel
        .pids()
        .map(|pid| (pid, wait::resident(pid), wait::open_fds(pid)));
    let mut streams: Vec<_> = (0..count).map(|_| tunnel.connect("echo")).collect();
    for round in 0..ROUNDS {
        all_exchange(&mut streams, round);
    }
    for ((pid, memory, _), name) in before.iter().zip(["relay", "remote bridge", "local bridge"]) {
        let grown = wait::resident(*pid).saturating_sub(*memory);
        println!(
            "{}: {name}: {} bytes per open stream",
            engine.flag(),
            grown / count as u64
        );
    }
    drop(streams);
    for (pid, _, fds) in before {
        wait::wait_until(
            &format!("descriptors of {pid} are back to {fds}"),
            wait::PATIENCE,
            || wait::open_fds(pid) <= fds,
        );
    }
}

/// All streams carry a message at the same time.
fn all_exchange(streams: &mut [TcpStream], round: u64) {
    for (n, stream) in streams.iter_mut().enumerate() {
        stream
            .write_all(&pattern::bytes(round + n as u64, MESSAGE))
            .expect("message into a stream");
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        let mut back = [0; MESSAGE];
        stream
            .read_exact(&mut back)
            .unwrap_or_else(|error| panic!("stream {n} of round {round}: {error}"));
        assert!(
            back[..] == pattern::bytes(round + n as u64, MESSAGE),
            "stream {n} got other bytes"
        );
    }
}

fn idle_listeners_plain(engine: Engine) {
    let relay = Relay::start(engine.over(Transport::Plain));
    hold_idle(&relay, || tunnel::connect(relay.address));
}

fn idle_listeners_tls(engine: Engine) {
    let relay = Relay::start(engine.over(Transport::Tls));
    let config = tls::config(&relay.ca());
    hold_idle(&relay, || tls::connect(&config, relay.address));
}

/// Holds the scale's count of control channels, prints what one costs, and checks that the relay still works and
/// lets go.
fn hold_idle<S: Read + Write>(relay: &Relay, connect: impl Fn() -> S) {
    let count = Scale::from_env().idle;
    let rule = Rule::of(&relay.connection_string());
    let pid = relay.process.pid();
    let register = |n: usize| {
        let mut stream = connect();
        frames::listen_on(&mut stream, &format!("idle-{}", n / LISTENERS_PER_PATH), &rule);
        stream
    };
    let (first, fds) = (register(0), wait::open_fds(pid));
    let memory = wait::resident(pid);
    // The first half also touches pool buffers and table pages that the second half uses again.
    let half = count / 2;
    let mut held: Vec<_> = (1..=half).map(register).collect();
    let middle = wait::resident(pid);
    held.extend((half + 1..=count).map(register));
    let end = wait::resident(pid);
    let mode = relay.mode();
    println!(
        "{} {:?}: relay: {} bytes per idle connection, {} in the second half",
        mode.engine.flag(),
        mode.transport,
        end.saturating_sub(memory) / count as u64,
        end.saturating_sub(middle) / (count - half) as u64
    );
    check_still_works(relay);
    drop(held);
    wait::wait_until("the relay closes what its peers left", wait::PATIENCE, || {
        wait::open_fds(pid) <= fds
    });
    drop(first);
}

fn check_still_works(relay: &Relay) {
    let echo = Target::echo();
    let entry = wait::free_address();
    let forward = |flag: &str, text: String| [flag.to_owned(), text];
    let path = tunnel::PATH;
    let _remote = relay.bridge(
        "remote",
        &forward("-T", format!("{path}:echo/{}", echo.address())),
    );
    let _local = relay.bridge("local", &forward("-L", format!("{entry}/echo:{path}")));
    tunnel::wait_open(entry);
    exchange(entry, b"beside the idle ones");
}

const ROUNDS: u64 = 3;
const MESSAGE: usize = 128;
/// Below the limit of 25 listeners per path.
const LISTENERS_PER_PATH: usize = 20;
