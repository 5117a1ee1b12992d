//! Connections that cannot be carried: the client is closed at once, and the log says which port, which relay and
//! why.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::time::Instant;

use crate::harness::target::{Target, exchange};
use crate::harness::tunnel::{self, PATH, Tunnel};
use crate::harness::{Engine, Transport, on_each_engine, wait};

on_each_engine!(unknown_port, dead_target, no_listener, relay_away);

fn unknown_port(engine: Engine) {
    let echo = Target::echo();
    let targets = [("echo", echo.address()), ("other", echo.address())];
    let tunnel = Tunnel::start(engine.over(Transport::Tls), &targets, &["nobody-knows"]);
    tunnel::wait_open(tunnel.entry("echo"));
    closed_at_once(tunnel.entry("nobody-knows"));
    logged(&tunnel, &["nobody-knows", PATH]);
    exchange(tunnel.entry("echo"), b"the known port works on");
}

fn dead_target(engine: Engine) {
    let echo = Target::echo();
    let dead = wait::free_address();
    let targets = [("echo", echo.address()), ("dead", dead)];
    let tunnel = Tunnel::start(engine.over(Transport::Tls), &targets, &[]);
    tunnel::wait_open(tunnel.entry("echo"));
    closed_at_once(tunnel.entry("dead"));
    logged(&tunnel, &["dead", PATH, "refused"]);
    exchange(tunnel.entry("echo"), b"the live target works on");
}

fn no_listener(engine: Engine) {
    let echo = Target::echo();
    let mut tunnel = Tunnel::open(engine.over(Transport::Tls), &[("echo", echo.address())]);
    tunnel.remote.process.terminate(wait::SOON);
    closed_at_once(tunnel.entry("echo"));
    logged(&tunnel, &["echo", PATH, "404"]);
}

fn relay_away(engine: Engine) {
    let echo = Target::echo();
    let mut tunnel = Tunnel::open(engine.over(Transport::Tls), &[("echo", echo.address())]);
    tunnel.relay.process.kill();
    closed_at_once(tunnel.entry("echo"));
    logged(&tunnel, &["echo", PATH]);
}

/// The local bridge accepts and closes; it does not leave the client waiting.
fn closed_at_once(entry: SocketAddr) {
    // The bridge may still be binding its ports.
    wait::wait_until("the local port is bound", wait::PATIENCE, || {
        std::net::TcpStream::connect(entry).is_ok()
    });
    let start = Instant::now();
    let mut stream = tunnel::connect(entry);
    match stream.read(&mut [0; 1]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("a client without a way through got {other:?}"),
    }
    assert!(
        start.elapsed() < wait::SOON,
        "the client was closed only after {:?}",
        start.elapsed()
    );
}

/// One line of a bridge's log has all of `words`.
fn logged(tunnel: &Tunnel, words: &[&str]) {
    wait::wait_until(
        &format!("a bridge logs {words:?} in one line"),
        wait::SOON,
        || {
            let logs = [tunnel.local.process.log(), tunnel.remote.process.log()];
            logs.iter()
                .flat_map(|log| log.lines())
                .any(|line| words.iter().all(|word| line.contains(word)))
        },
    );
}
