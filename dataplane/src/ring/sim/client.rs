//! Scripted ends of connections, for tests that play a peer without a ring.
//!
//! Calls never block and take effect at the network's present time; between calls, advance the network.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::net::SimNet;
use super::socket::{Phase, SockId, Socket};

/// One end of a connection. Dropping it closes it.
#[derive(Debug)]
pub struct SimSocket {
    net: SimNet,
    id: SockId,
    /// The first error any call met.
    error: Option<i32>,
    ended: bool,
}

/// A listener whose connections a test serves by hand. Dropping it closes it.
#[derive(Debug)]
pub struct SimListener {
    net: SimNet,
    id: SockId,
    addr: SocketAddr,
}

impl SimSocket {
    pub(super) fn connect(net: SimNet, host: IpAddr, addr: SocketAddr) -> Self {
        let id = net.world().fresh(host, None);
        let mut socket = Self {
            net,
            id,
            error: None,
            ended: false,
        };
        let started = socket.net.world().connect(id, addr);
        socket.keep_error(&started);
        socket
    }

    /// Takes everything that has arrived. If nothing has, [`SimSocket::is_eof`] and [`SimSocket::is_reset`] say why.
    pub fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut chunk = [0; CHUNK];
        loop {
            let got = self.net.world().recv(self.id, &mut chunk);
            self.keep_error(&got);
            match got {
                Ok(0) => self.ended = self.error.is_none(),
                Ok(n) => {
                    bytes.extend_from_slice(&chunk[..n]);
                    continue;
                }
                Err(_) => {}
            }
            return bytes;
        }
    }

    /// Sends from the front of `bytes`, as much as the connection takes: zero while it is full, not yet open, or dead.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let sent = self.net.world().send(self.id, std::iter::once(bytes));
        self.keep_error(&sent);
        sent.unwrap_or(0)
    }

    /// Half-close: the far side reads to the end of what was written.
    pub fn shutdown(&mut self) {
        let done = self.net.world().shutdown(self.id);
        self.keep_error(&done);
    }

    /// Resets the connection; what is on the way may be lost.
    pub fn reset(&mut self) {
        self.ask(|socket| socket.linger_zero = true);
        self.net.world().let_go(self.id);
        self.error = self.error.or(Some(libc::ECONNABORTED));
    }

    /// Whether the connection is established and not reset.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ask(|s| matches!(s.phase, Phase::Open { .. }))
            .unwrap_or(false)
    }

    /// Whether the connection failed: refused, timed out, or reset by either side. [`SimSocket::error`] says which.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.error().is_some()
    }

    /// The error number of the failed connection.
    #[must_use]
    pub fn error(&self) -> Option<i32> {
        self.error.or_else(|| self.ask(|s| s.error).flatten())
    }

    /// Whether the far side ended its direction in order and everything was read.
    #[must_use]
    pub fn is_eof(&self) -> bool {
        self.ended
    }

    /// The address of this end, while the network knows the connection.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.ask(|s| s.local)
    }

    /// The address of the far end, while the network knows the connection.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.ask(|s| s.remote).flatten()
    }

    fn ask<T>(&self, what: impl FnOnce(&mut Socket) -> T) -> Option<T> {
        self.net.world().sockets.get_mut(&self.id).map(what)
    }

    fn keep_error<T>(&mut self, result: &io::Result<T>) {
        let errno = result.as_ref().err().and_then(io::Error::raw_os_error);
        self.error = self.error.or(errno);
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.net.world().let_go(self.id);
    }
}

impl SimListener {
    pub(super) fn bind(net: SimNet, addr: SocketAddr) -> io::Result<Self> {
        let (id, addr) = net.world().listen(addr.ip(), addr, false)?;
        Ok(Self { net, id, addr })
    }

    /// The oldest waiting connection.
    pub fn accept(&mut self) -> Option<SimSocket> {
        let id = self.net.world().accept(self.id).ok()?;
        Some(SimSocket {
            net: self.net.clone(),
            id,
            error: None,
            ended: false,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.net.world().let_go(self.id);
    }
}

/// Bytes taken per call into the network.
const CHUNK: usize = 4096;
