//! How simulated sockets behave: the calls a program makes and the packets they lead to.
//!
//! The calls are non-blocking; `WouldBlock` means "not yet", and the socket's ring is told when to try again.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::socket::{Packet, Phase, SockId, Socket};
use super::world::{Event, Link, World, listening};

impl World {
    // ---- calls ----

    /// Binds and listens. Port zero picks one; an unspecified address becomes the host's own.
    pub(super) fn listen(
        &mut self,
        host: IpAddr,
        addr: SocketAddr,
        shared: bool,
    ) -> io::Result<(SockId, SocketAddr)> {
        let addr = self.bound(host, Some(addr));
        let taken = self.listeners.get(&addr).is_some_and(|others| !others.is_empty());
        if taken && !shared {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let id = self.add_socket(addr, host, listening());
        self.listeners.entry(addr).or_default().push(id);
        Ok((id, addr))
    }

    /// A socket that is neither connected nor listening.
    pub(super) fn fresh(&mut self, host: IpAddr, bind: Option<SocketAddr>) -> SockId {
        let local = self.bound(host, bind);
        self.add_socket(local, host, Phase::Fresh)
    }

    /// Starts a connection attempt.
    pub(super) fn connect(&mut self, id: SockId, addr: SocketAddr) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return Err(bad_fd());
        };
        if socket.phase != Phase::Fresh {
            return Err(io::Error::from_raw_os_error(libc::EISCONN));
        }
        socket.phase = Phase::Connecting;
        socket.remote = Some(addr);
        let timeout = self.now.after(self.faults.config.connect_timeout);
        self.schedule(timeout, Event::ConnectTimeout(id));
        if self.faults.chance(self.faults.config.refuse) {
            let at = self.now.after(self.faults.latency()).after(self.faults.latency());
            self.schedule(at, Event::Refuse(id));
        } else if !self.faults.chance(self.faults.config.unanswered) {
            self.transmit(id, Packet::Syn(addr));
        }
        Ok(())
    }

    /// Takes the oldest connection out of a listener's queue.
    pub(super) fn accept(&mut self, id: SockId) -> io::Result<SockId> {
        match self.sockets.get_mut(&id).map(|s| &mut s.phase) {
            Some(Phase::Listening { queue }) => {
                queue.pop_front().ok_or_else(|| io::ErrorKind::WouldBlock.into())
            }
            Some(_) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            None => Err(bad_fd()),
        }
    }

    /// Sends bytes from the front of `parts`; a short count is normal.
    pub(super) fn send<'a>(
        &mut self,
        id: SockId,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<usize> {
        let capacity = self.faults.config.pipe_capacity;
        let Some(socket) = self.sockets.get_mut(&id) else {
            return Err(bad_fd());
        };
        let room = socket.room(capacity)?;
        let mut bytes = gather(parts, room);
        bytes.truncate(self.faults.shorten(bytes.len()));
        let sent = bytes.len();
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.unacked += sent;
        }
        while !bytes.is_empty() {
            let rest = bytes.split_off(self.faults.segment(bytes.len()));
            self.transmit(id, Packet::Data(std::mem::replace(&mut bytes, rest)));
        }
        Ok(sent)
    }

    /// Moves arrived bytes into `out`; `Ok(0)` is the end of the stream.
    pub(super) fn recv(&mut self, id: SockId, out: &mut [u8]) -> io::Result<usize> {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return Err(bad_fd());
        };
        let most = self.faults.shorten(out.len().min(socket.inbox.len()));
        let out = if most == 0 { out } else { &mut out[..most] };
        let n = socket.read(out)?;
        if n > 0 && socket.phase != Phase::Ended {
            self.transmit(id, Packet::Ack(n));
        }
        Ok(n)
    }

    /// Half-close: the far side reads to the end of what was sent.
    pub(super) fn shutdown(&mut self, id: SockId) -> io::Result<()> {
        match self.sockets.get_mut(&id).map(|s| &mut s.phase) {
            Some(Phase::Open { write_done }) => {
                if !std::mem::replace(write_done, true) {
                    self.transmit(id, Packet::Fin);
                    self.touch(id);
                }
                Ok(())
            }
            Some(_) => Err(io::Error::from_raw_os_error(libc::ENOTCONN)),
            None => Err(bad_fd()),
        }
    }

    /// One holder of the socket (its descriptor, an operation) lets go; the last one closes it.
    pub(super) fn let_go(&mut self, id: SockId) {
        let Some(socket) = self.sockets.get_mut(&id).filter(|s| s.holders > 0) else {
            return;
        };
        socket.holders -= 1;
        if socket.holders == 0 {
            self.finish(id);
        }
    }

    /// Kills every socket of a host, as the end of its process does.
    pub(super) fn kill_host(&mut self, host: IpAddr) {
        self.bury(host);
        let mine: Vec<_> = self
            .sockets
            .iter()
            .filter(|(_, s)| s.host == host && s.holders > 0)
            .collect();
        let ids: Vec<_> = mine.into_iter().map(|(&id, _)| id).collect();
        for id in ids {
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.holders = 0;
                socket.seat = None;
            }
            self.finish(id);
        }
    }

    // ---- events ----

    pub(super) fn run(&mut self, event: Event) {
        match event {
            Event::Deliver(id) => self.deliver(id),
            Event::RetrySyn(id, addr) => {
                if self
                    .sockets
                    .get(&id)
                    .is_some_and(|s| s.phase == Phase::Connecting)
                {
                    self.transmit(id, Packet::Syn(addr));
                }
            }
            Event::Refuse(id) => self.fail_connect(id, libc::ECONNREFUSED),
            Event::ConnectTimeout(id) => self.fail_connect(id, libc::ETIMEDOUT),
            Event::Silence(link, hold) => self.on_silence(link, hold),
        }
    }

    fn deliver(&mut self, from: SockId) {
        let held = self.is_held(from);
        let Some(socket) = self.sockets.get_mut(&from) else {
            return;
        };
        if held {
            socket.stalled += 1;
            return;
        }
        let Some(packet) = socket.wire.pop_front() else {
            return;
        };
        let peer = socket.peer;
        self.note(&[1, from.0, packet_code(&packet)]);
        match (packet, peer) {
            (Packet::Syn(addr), _) => self.on_syn(from, addr),
            (packet, Some(peer)) => self.on_packet(peer, packet),
            (_, None) => {}
        }
        self.reap(from);
    }

    fn on_packet(&mut self, to: SockId, packet: Packet) {
        let reset = matches!(packet, Packet::Data(_)) && self.faults.chance(self.faults.config.reset);
        let Some(socket) = self.sockets.get_mut(&to) else {
            return;
        };
        let listens = socket.holders > 0 && matches!(socket.phase, Phase::Open { .. });
        match packet {
            Packet::Data(_) if reset && listens => {
                self.counters.resets += 1;
                self.on_reset(to);
                self.transmit(to, Packet::Rst);
            }
            Packet::Data(bytes) if listens => socket.inbox.extend(bytes),
            Packet::SynAck if socket.phase == Phase::Connecting && socket.holders > 0 => {
                socket.phase = Phase::Open { write_done: false };
            }
            // Nobody reads there any more: the sender learns it.
            Packet::Data(_) | Packet::SynAck => {
                socket.end(None);
                self.transmit(to, Packet::Rst);
            }
            Packet::Ack(n) => socket.unacked = socket.unacked.saturating_sub(n),
            Packet::Fin if matches!(socket.phase, Phase::Open { .. }) => socket.eof = true,
            Packet::Rst => self.on_reset(to),
            Packet::Fin | Packet::Lost | Packet::Syn(_) => return,
        }
        self.touch(to);
    }

    fn on_syn(&mut self, from: SockId, addr: SocketAddr) {
        let listeners = self.listeners.get(&addr).cloned().unwrap_or_default();
        if listeners.is_empty() {
            let at = self.now.after(self.faults.latency());
            self.schedule(at, Event::Refuse(from));
            return;
        }
        let listener = listeners[self.faults.pick(listeners.len())];
        let Some(client) = self.sockets.get(&from).filter(|s| s.phase == Phase::Connecting) else {
            return;
        };
        let (client_addr, backlog) = (client.local, self.faults.config.backlog);
        let Some(Socket {
            phase: Phase::Listening { queue },
            host,
            ..
        }) = self.sockets.get(&listener)
        else {
            return;
        };
        let (waiting, host) = (queue.len(), *host);
        if waiting >= backlog {
            self.schedule(self.now.after(SYN_RETRY), Event::RetrySyn(from, addr));
            return;
        }
        let server = self.add_socket(addr, host, Phase::Open { write_done: false });
        if let Some(socket) = self.sockets.get_mut(&server) {
            socket.peer = Some(from);
            socket.remote = Some(client_addr);
        }
        if let Some(client) = self.sockets.get_mut(&from) {
            client.peer = Some(server);
        }
        if let Some(Phase::Listening { queue }) = self.sockets.get_mut(&listener).map(|s| &mut s.phase) {
            queue.push_back(server);
        }
        self.transmit(server, Packet::SynAck);
        self.touch(listener);
    }

    fn on_reset(&mut self, id: SockId) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let errno = socket.reset_errno();
        socket.end(Some(errno));
        socket.lose_after(0);
        self.touch(id);
    }

    fn fail_connect(&mut self, id: SockId, errno: i32) {
        if let Some(socket) = self.sockets.get_mut(&id).filter(|s| s.phase == Phase::Connecting) {
            socket.end(Some(errno));
            self.note(&[2, id.0, errno.unsigned_abs().into()]);
            self.touch(id);
            self.reap(id);
        }
    }

    fn on_silence(&mut self, link: Link, hold: u64) {
        if !self.is_same_hold(link, hold) {
            return;
        }
        let open = |s: &Socket| matches!(s.phase, Phase::Open { .. });
        let across: Vec<_> = self
            .sockets
            .iter()
            .filter(|(_, s)| open(s))
            .map(|(&id, _)| id)
            .collect();
        for id in across
            .into_iter()
            .filter(|&id| self.link_of(id) == Some(link))
            .collect::<Vec<_>>()
        {
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.end(Some(libc::ETIMEDOUT));
                socket.lose_after(0);
            }
            self.touch(id);
        }
    }

    // ---- endings ----

    /// The last holder is gone: what the kernel does on the final close.
    fn finish(&mut self, id: SockId) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let rude = socket.linger_zero || !socket.inbox.is_empty();
        match std::mem::replace(&mut socket.phase, Phase::Ended) {
            Phase::Listening { queue } => {
                let addr = socket.local;
                self.listeners
                    .entry(addr)
                    .or_default()
                    .retain(|&other| other != id);
                self.listeners.retain(|_, ids| !ids.is_empty());
                for waiting in queue {
                    self.abort(waiting);
                    self.let_go(waiting);
                }
            }
            Phase::Open { write_done } if rude => {
                socket.phase = Phase::Open { write_done };
                self.abort(id);
            }
            Phase::Open { write_done } => {
                socket.phase = Phase::Open { write_done: true };
                if !write_done {
                    self.transmit(id, Packet::Fin);
                }
            }
            Phase::Fresh | Phase::Connecting | Phase::Ended => {}
        }
        self.reap(id);
    }

    /// Resets a connection from this side: some of what is on the way is lost.
    fn abort(&mut self, id: SockId) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let keep = self.faults.survivors(socket.stream_packets());
        socket.lose_after(keep);
        socket.end(None);
        self.transmit(id, Packet::Rst);
    }

    /// Forgets a connection when both ends have closed and nothing is on the way.
    fn reap(&mut self, id: SockId) {
        let is_gone = |id: &SockId| {
            self.sockets
                .get(id)
                .is_none_or(|s| s.holders == 0 && s.wire.is_empty())
        };
        let peer = self.sockets.get(&id).and_then(|s| s.peer);
        if is_gone(&id) && peer.as_ref().is_none_or(is_gone) {
            self.sockets.remove(&id);
            if let Some(peer) = peer {
                self.sockets.remove(&peer);
            }
        }
    }

    fn bound(&mut self, host: IpAddr, bind: Option<SocketAddr>) -> SocketAddr {
        let ip = bind
            .map(|a| a.ip())
            .filter(|ip| !ip.is_unspecified())
            .unwrap_or(host);
        let port = match bind.map_or(0, |a| a.port()) {
            0 => self.ephemeral(host),
            port => port,
        };
        SocketAddr::new(ip, port)
    }
}

/// The first `most` bytes of `parts`.
fn gather<'a>(parts: impl Iterator<Item = &'a [u8]>, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let n = part.len().min(most - bytes.len());
        bytes.extend_from_slice(&part[..n]);
        if bytes.len() == most {
            break;
        }
    }
    bytes
}

/// What a packet adds to the fingerprint.
fn packet_code(packet: &Packet) -> u64 {
    match packet {
        Packet::Syn(_) => 1,
        Packet::SynAck => 2,
        Packet::Data(bytes) => bytes
            .iter()
            .fold(3, |sum: u64, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b))),
        Packet::Ack(n) => 4 + ((*n as u64) << 3),
        Packet::Fin => 5,
        Packet::Rst => 6,
        Packet::Lost => 7,
    }
}

pub(super) fn bad_fd() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

/// How long a client waits before it knocks again at a full listener.
const SYN_RETRY: std::time::Duration = std::time::Duration::from_secs(1);
