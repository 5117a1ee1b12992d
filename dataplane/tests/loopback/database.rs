//! A Redis server behind the tunnel.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::process::{self, Folder, Process};
use crate::harness::tunnel::Tunnel;
use crate::harness::{Engine, Scale, Transport, on_each_engine, wait};

on_each_engine!(redis_session_plain, redis_session_tls);

fn redis_session_plain(engine: Engine) {
    session(engine, Transport::Plain);
}

fn redis_session_tls(engine: Engine) {
    session(engine, Transport::Tls);
}

fn session(engine: Engine, transport: Transport) {
    if !process::have(&["redis-server", "redis-cli", "redis-benchmark"]) {
        return;
    }
    let folder = Folder::new();
    let (_server, address) = start_redis(&folder);
    let tunnel = Tunnel::open(engine.over(transport), &[("redis", address)]);
    write_then_read_back(&folder, tunnel.entry("redis"));
    benchmark(tunnel.entry("redis"));
}

/// A redis-server on a loopback port that keeps nothing on disk.
pub(crate) fn start_redis(folder: &Folder) -> (Process, SocketAddr) {
    let address = wait::free_address();
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        &address.port().to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    command.arg("--dir").arg(folder.path());
    let server = Process::start("redis", command, folder.path());
    wait::wait_until("redis listens", wait::PATIENCE, || {
        TcpStream::connect(address).is_ok()
    });
    (server, address)
}

/// One connection, one command after the other, each answered before the next is sent.
fn write_then_read_back(folder: &Folder, entry: SocketAddr) {
    let queries = Scale::from_env().queries;
    let mut script = String::new();
    let mut expected = String::new();
    for n in 0..queries {
        writeln!(script, "SET key:{n} value-{}", n * n).expect("a String takes every write");
        expected.push_str("OK\n");
    }
    for n in 0..queries {
        writeln!(script, "GET key:{n}").expect("a String takes every write");
        writeln!(expected, "value-{}", n * n).expect("a String takes every write");
    }
    let path = folder.file("script");
    fs::write(&path, script).expect("script of redis commands");
    let mut cli = Command::new("timeout");
    cli.args([
        LIMIT.as_secs().to_string().as_str(),
        "redis-cli",
        "-h",
        "127.0.0.1",
        "-p",
    ])
    .arg(entry.port().to_string());
    let output = cli
        .stdin(Stdio::from(File::open(&path).expect("script")))
        .output()
        .expect("redis-cli");
    assert!(output.status.success(), "redis-cli: {}", output.status);
    assert!(
        output.stdout == expected.as_bytes(),
        "redis-cli got other answers than the server gave"
    );
}

/// Many connections, pipelined.
fn benchmark(entry: SocketAddr) {
    let requests = Scale::from_env().queries.to_string();
    let mut command = Command::new("redis-benchmark");
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &entry.port().to_string(),
        "-n",
        &requests,
    ]);
    command.args([
        "-c",
        "32",
        "-P",
        "8",
        "-d",
        "512",
        "-t",
        "set,get,lpush,lrange_100",
        "--csv",
    ]);
    let report = process::output(&mut command, LIMIT);
    assert!(
        report.contains("\"GET\""),
        "redis-benchmark did not finish: {report}"
    );
}

const LIMIT: Duration = Duration::from_secs(180);
