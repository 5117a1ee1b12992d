//! Relay, remote bridge and local bridge as a whole: client -> local bridge -> relay -> remote bridge -> target.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::process::{Folder, Process};
use super::wait::{self, free_address, wait_until};
use super::{Mode, Transport};

/// The hybrid connection that all tests use.
pub(crate) const PATH: &str = "hc";

/// A relay node in its own folder.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    mode: Mode,
    // After the process, so that the process is gone when its folder is removed.
    folder: Folder,
}

impl Relay {
    pub(crate) fn start(mode: Mode) -> Self {
        let folder = Folder::new();
        let mut process = Process::start("relay", command(mode, &folder, "127.0.0.1:0"), folder.path());
        process.wait_log(LISTENING);
        let address = announced(&process.log());
        Self {
            process,
            address,
            mode,
            folder,
        }
    }

    /// Starts the relay again on the same port with the same state, after it was killed.
    pub(crate) fn restart(&mut self) {
        let command = command(self.mode, &self.folder, &self.address.to_string());
        let before = self.process.log().matches(LISTENING).count();
        self.process = Process::start("relay", command, self.folder.path());
        wait_until("the relay listens again", wait::PATIENCE, || {
            self.process.log().matches(LISTENING).count() > before
        });
    }

    pub(crate) fn connection_string(&self) -> String {
        let text = fs::read_to_string(self.folder.file("connection-string"))
            .expect("connection string of the relay");
        text.trim().to_owned()
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.file("ca.pem")
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// A bridge that knows this relay, with `forwards` added to its command line.
    pub(crate) fn bridge(&self, name: &str, forwards: &[String]) -> Bridge {
        Bridge::start(self, name, forwards)
    }
}

/// A bridge process.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) process: Process,
    name: String,
    forwards: Vec<String>,
}

impl Bridge {
    fn start(relay: &Relay, name: &str, forwards: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
        command.arg("bridge").arg("-x").arg(relay.connection_string());
        match relay.mode.transport {
            Transport::Plain => command.arg("--no-tls"),
            Transport::Tls => command.arg("--ca").arg(relay.ca()),
        };
        command.args(["--engine", relay.mode.engine.flag(), "--threads", THREADS]);
        command.args(forwards);
        Self {
            process: Process::start(name, command, relay.folder.path()),
            name: name.to_owned(),
            forwards: forwards.to_vec(),
        }
    }

    /// Starts the bridge again after it was killed.
    pub(crate) fn restart(&mut self, relay: &Relay) {
        *self = Self::start(relay, &self.name.clone(), &self.forwards.clone());
    }
}

/// The three processes and the way in of each logical port.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) local: Bridge,
    pub(crate) remote: Bridge,
    pub(crate) relay: Relay,
    entries: HashMap<String, SocketAddr>,
}

impl Tunnel {
    /// Starts everything and waits until each logical port of `targets` lets a connection through.
    pub(crate) fn open(mode: Mode, targets: &[(&str, SocketAddr)]) -> Self {
        let tunnel = Self::start(mode, targets, &[]);
        for (port, _) in targets {
            wait_open(tunnel.entry(port));
        }
        tunnel
    }

    /// As `open`, with local ports that the remote bridge does not know, and without waiting.
    pub(crate) fn start(mode: Mode, targets: &[(&str, SocketAddr)], unknown: &[&str]) -> Self {
        let relay = Relay::start(mode);
        let remote: Vec<_> = targets
            .iter()
            .map(|(port, target)| format!("{port}/{target}"))
            .collect();
        let remote = relay.bridge(
            "remote",
            &["-T".to_owned(), format!("{PATH}:{}", remote.join(";"))],
        );
        let entries: HashMap<_, _> = targets
            .iter()
            .map(|(port, _)| *port)
            .chain(unknown.iter().copied())
            .map(|port| (port.to_owned(), free_address()))
            .collect();
        let local: Vec<_> = entries
            .iter()
            .map(|(port, address)| format!("{address}/{port}"))
            .collect();
        let local = relay.bridge("local", &["-L".to_owned(), format!("{}:{PATH}", local.join(";"))]);
        Self {
            local,
            remote,
            relay,
            entries,
        }
    }

    /// Where clients of a logical port connect to.
    pub(crate) fn entry(&self, port: &str) -> SocketAddr {
        self.entries[port]
    }

    /// A new client connection through the tunnel, with a time limit on every read and write.
    pub(crate) fn connect(&self, port: &str) -> TcpStream {
        connect(self.entry(port))
    }

    /// Process ids of relay, remote bridge and local bridge.
    pub(crate) fn pids(&self) -> [u32; 3] {
        [
            self.relay.process.pid(),
            self.remote.process.pid(),
            self.local.process.pid(),
        ]
    }
}

/// Connects, with a limit of [`wait::PATIENCE`] on every read and write.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, wait::SOON).expect("connection to a loopback address");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream.set_read_timeout(Some(wait::PATIENCE)).expect("read limit");
    stream
        .set_write_timeout(Some(wait::PATIENCE))
        .expect("write limit");
    stream
}

/// Waits until a connection to `entry` is carried to its target. A local bridge closes a client at once when the far
/// side cannot be reached; a connection that stays open for a moment, or that the target speaks on, has arrived.
pub(crate) fn wait_open(entry: SocketAddr) {
    wait_until("the tunnel carries connections", wait::PATIENCE, || {
        is_open(entry)
    });
}

fn is_open(entry: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&entry, wait::SOON) else {
        return false;
    };
    stream.set_read_timeout(Some(SETTLED)).expect("read limit");
    match stream.read(&mut [0; 1]) {
        Ok(n) => n > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn command(mode: Mode, folder: &Folder, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
    command.args(["relay", "--dev", "--state-dir"]).arg(folder.path());
    command.args(["--listen", listen, "--admin", "127.0.0.1:0", "--threads", THREADS]);
    command.args(["--engine", mode.engine.flag()]);
    if mode.transport == Transport::Plain {
        command.arg("--no-tls");
    }
    command
}

/// The address in the line `listening on wss://localhost:PORT`.
fn announced(log: &str) -> SocketAddr {
    let port = log
        .lines()
        .filter_map(|line| line.split_once(LISTENING))
        .filter_map(|(_, url)| url.split("://").nth(1)?.rsplit_once(':'))
        .find_map(|(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u16>().ok()
        });
    SocketAddr::from(([127, 0, 0, 1], port.expect("port in the line of the relay")))
}

const LISTENING: &str = "listening on ws";
/// Two shards, so that connections have to meet on one of them.
const THREADS: &str = "2";
const SETTLED: Duration = Duration::from_millis(400);
