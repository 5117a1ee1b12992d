//! kill -9 of each party in the middle of transfers: the others notice, report, recover and leak nothing.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::harness::helper::EchoProcess;
use crate::harness::target::{Target, exchange};
use crate::harness::tunnel::{Tunnel, connect, wait_open};
use crate::harness::{Engine, Transport, on_each_engine, wait};

on_each_engine!(
    remote_bridge_killed_plain,
    remote_bridge_killed_tls,
    local_bridge_killed_tls,
    relay_killed_tls,
    target_killed_plain,
    orderly_stop_ends_at_once,
);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Local,
    Remote,
    Relay,
}

fn remote_bridge_killed_plain(engine: Engine) {
    kill_midway(engine, Transport::Plain, Victim::Remote);
}

fn remote_bridge_killed_tls(engine: Engine) {
    kill_midway(engine, Transport::Tls, Victim::Remote);
}

fn local_bridge_killed_tls(engine: Engine) {
    kill_midway(engine, Transport::Tls, Victim::Local);
}

fn relay_killed_tls(engine: Engine) {
    kill_midway(engine, Transport::Tls, Victim::Relay);
}

fn kill_midway(engine: Engine, transport: Transport, victim: Victim) {
    let traffic = Traffic::new();
    let (sink, source) = (traffic.sink(), traffic.source());
    let echo = Target::echo();
    let targets = [
        ("echo", echo.address()),
        ("sink", sink.address()),
        ("source", source.address()),
    ];
    let mut tunnel = Tunnel::open(engine.over(transport), &targets);
    let survivors = warmed_up(&tunnel, victim);
    traffic.wait_targets_released("the first probes");

    let ends = traffic.run_streams(&tunnel);
    match victim {
        Victim::Local => tunnel.local.process.kill(),
        Victim::Remote => tunnel.remote.process.kill(),
        Victim::Relay => tunnel.relay.process.kill(),
    }
    for _ in 0..2 * STREAMS {
        let end = ends
            .recv_timeout(wait::SOON)
            .expect("every stream ends soon after the kill");
        assert!(
            end != End::Finished || victim == Victim::Local,
            "a client saw a clean end of a cut stream"
        );
    }
    traffic.wait_targets_released("cut streams");

    match victim {
        Victim::Local => tunnel.local.restart(&tunnel.relay),
        Victim::Remote => tunnel.remote.restart(&tunnel.relay),
        Victim::Relay => tunnel.relay.restart(),
    }
    wait_open(tunnel.entry("echo"));
    exchange(tunnel.entry("echo"), b"after the restart");
    for (pid, before) in survivors {
        wait::wait_until(
            &format!("descriptors of {pid} are back to {before}"),
            wait::PATIENCE,
            || wait::open_fds(pid) <= before,
        );
    }
}

/// Descriptor counts of those that stay alive, taken after a first exchange when all is quiet again.
fn warmed_up(tunnel: &Tunnel, victim: Victim) -> Vec<(u32, usize)> {
    exchange(tunnel.entry("echo"), b"before the kill");
    let [relay, remote, local] = tunnel.pids();
    let pids = match victim {
        Victim::Local => [relay, remote],
        Victim::Remote => [relay, local],
        Victim::Relay => [remote, local],
    };
    pids.iter().map(|pid| (*pid, settled_fds(*pid))).collect()
}

/// The count of open descriptors once it has stayed the same for a while.
fn settled_fds(pid: u32) -> usize {
    let (mut count, mut same) = (0, 0);
    wait::wait_until("descriptor count settles", wait::PATIENCE, || {
        let now = wait::open_fds(pid);
        same = if now == count { same + 1 } else { 0 };
        count = now;
        same >= SETTLED_POLLS
    });
    count
}

fn target_killed_plain(engine: Engine) {
    let mut target = EchoProcess::start();
    let tunnel = Tunnel::open(engine.over(Transport::Plain), &[("echo", target.address)]);
    exchange(tunnel.entry("echo"), b"before the kill");
    let survivors: Vec<_> = tunnel
        .pids()
        .iter()
        .map(|pid| (*pid, settled_fds(*pid)))
        .collect();
    let mut clients: Vec<_> = (0..STREAMS).map(|_| tunnel.connect("echo")).collect();
    for client in &mut clients {
        client.write_all(&[7; 1000]).expect("write to the target");
        client.read_exact(&mut [0; 1000]).expect("answer of the target");
        client
            .write_all(&[7; 1 << 16])
            .expect("write that the target has not answered");
    }
    target.process.kill();
    for mut client in clients {
        let end = io::copy(&mut client, &mut io::sink());
        let timed_out = end
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        assert!(!timed_out, "a client was not told that the target died");
    }
    target.restart();
    exchange(tunnel.entry("echo"), b"after the restart");
    for (pid, before) in survivors {
        wait::wait_until(
            &format!("descriptors of {pid} are back to {before}"),
            wait::PATIENCE,
            || wait::open_fds(pid) <= before,
        );
    }
}

fn orderly_stop_ends_at_once(engine: Engine) {
    let echo = Target::echo();
    let mut tunnel = Tunnel::open(engine.over(Transport::Tls), &[("echo", echo.address())]);
    exchange(tunnel.entry("echo"), b"before the stop");
    for process in [
        &mut tunnel.local.process,
        &mut tunnel.remote.process,
        &mut tunnel.relay.process,
    ] {
        let status = process.terminate(wait::SOON);
        assert_eq!(status.code(), Some(0), "exit status after SIGTERM");
    }
}

/// How a client's stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A FIN, as if all had been said.
    Finished,
    /// A reset or another error.
    Cut,
}

/// Endless streams in both directions, and how many of their far ends still hold on.
struct Traffic {
    at_target: Arc<AtomicU64>,
    moved: Arc<AtomicU64>,
}

impl Traffic {
    fn new() -> Self {
        Self {
            at_target: Arc::new(AtomicU64::new(0)),
            moved: Arc::new(AtomicU64::new(0)),
        }
    }

    fn sink(&self) -> Target {
        self.target(|mut stream| io::copy(&mut stream, &mut io::sink()).map(drop))
    }

    fn source(&self) -> Target {
        self.target(|mut stream| {
            loop {
                stream.write_all(&[5; BLOCK])?;
            }
        })
    }

    fn target(&self, serve: fn(TcpStream) -> io::Result<()>) -> Target {
        let held = Arc::clone(&self.at_target);
        Target::start(move |stream| {
            held.fetch_add(1, Ordering::Relaxed);
            let result = serve(stream);
            held.fetch_sub(1, Ordering::Relaxed);
            result
        })
    }

    /// Starts the streams and waits until all have reached their targets. Each sends its end when it has one.
    fn run_streams(&self, tunnel: &Tunnel) -> Receiver<End> {
        let (sender, ends) = mpsc::channel();
        for _ in 0..STREAMS {
            self.spawn(tunnel.entry("sink"), &sender, |stream| {
                stream.write_all(&[9; BLOCK]).map(|()| BLOCK)
            });
            self.spawn(tunnel.entry("source"), &sender, |stream| {
                stream.read(&mut [0; BLOCK])
            });
        }
        wait::wait_until(
            "every stream has reached its target and data flows",
            wait::PATIENCE,
            || {
                let arrived = self.at_target.load(Ordering::Relaxed) >= 2 * STREAMS as u64;
                arrived && self.moved.load(Ordering::Relaxed) > ENOUGH
            },
        );
        ends
    }

    fn spawn(&self, entry: SocketAddr, ends: &Sender<End>, step: fn(&mut TcpStream) -> io::Result<usize>) {
        let (moved, ends) = (Arc::clone(&self.moved), ends.clone());
        let mut stream = connect(entry);
        thread::spawn(move || {
            let end = loop {
                match step(&mut stream) {
                    Ok(0) => break End::Finished,
                    Ok(n) => moved.fetch_add(n as u64, Ordering::Relaxed),
                    Err(_) => break End::Cut,
                };
            };
            // The test may have failed and gone already.
            let _ = ends.send(end);
        });
    }

    fn wait_targets_released(&self, of: &str) {
        wait::wait_until(&format!("targets notice the end of {of}"), wait::SOON, || {
            self.at_target.load(Ordering::Relaxed) == 0
        });
    }
}

const STREAMS: usize = 4;
const BLOCK: usize = 32 * 1024;
const ENOUGH: u64 = 16 << 20;
const SETTLED_POLLS: usize = 50;
