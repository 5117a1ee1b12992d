//! Trying an operation with a non-blocking call.

use std::io;

use super::{EpollRing, Socket, calls};
use crate::buf::Lease;
use crate::ring::op::{Completion, Fd, OpKey, Outcome, Token};
use crate::ring::slots::{Held, Lane};
use crate::sys::sockaddr::SockAddr;
use crate::sys::socket;

impl EpollRing {
    /// Tries the operation once: it ends, or it is parked until an edge.
    pub(super) fn attempt(&mut self, key: OpKey, out: &mut Vec<Completion>) {
        let Some(entry) = self.slots.get_mut(key) else {
            return;
        };
        let (fd, token, lane) = (entry.fd, entry.token, entry.lane());
        let Some(socket) = self.fds.get_mut(fd) else {
            return;
        };
        let result = match &mut entry.held {
            Held::Accept => return self.attempt_accept(key, fd, token, out),
            Held::Connect(addr) => connect(socket, fd, addr),
            Held::Poll(interest) => calls::poll(fd, *interest).map(|flags| (flags, None)),
            Held::RecvProvided => match self.pool.take() {
                Some(mut lease) => recv(socket, fd, &mut lease).map(|n| (n, Some(lease).filter(|_| n > 0))),
                None => Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            },
            Held::RecvLease(lease) => recv(socket, fd, lease).map(|n| (n, None)),
            Held::Send(gather) => {
                let sent = calls::send(fd, gather);
                if sent.as_ref().is_ok_and(|&n| n < gather.exposed()) {
                    self.counters.short_sends += 1;
                    // Registered, so that room for more is an edge.
                    socket.ready.write &= !socket.registered;
                }
                sent.map(|n| (n, None))
            }
        };
        match result {
            Ok((n, lease)) => out.extend(self.finish(key).map(|entry| entry.completed(n, lease))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.park(key, fd, lane, out),
            Err(error) => self.fail(key, &error, out),
        }
    }

    /// Accepts up to [`ACCEPTS_PER_TURN`] connections; the operation stays.
    fn attempt_accept(&mut self, key: OpKey, fd: Fd, token: Token, out: &mut Vec<Completion>) {
        for _ in 0..ACCEPTS_PER_TURN {
            match calls::accept(fd) {
                Ok((accepted, peer)) => {
                    // Fails only for a connection that is reset already; its first operation will tell.
                    drop(socket::tune_connection(accepted.0));
                    let accepted = self.take_in(accepted.0);
                    let outcome = Outcome::Accepted(Ok((accepted, peer)));
                    out.push(Completion {
                        token,
                        more: true,
                        outcome,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.park(key, fd, Lane::Read, out);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(key, &error, out),
            }
        }
        self.enqueue(fd);
    }

    /// Leaves the operation until an edge on its lane, and sees to it that there can be one.
    fn park(&mut self, key: OpKey, fd: Fd, lane: Lane, out: &mut Vec<Completion>) {
        let Some(socket) = self.fds.get_mut(fd) else {
            return;
        };
        match lane {
            Lane::Read => socket.ready.read = false,
            Lane::Write => socket.ready.write = false,
            // A poll asks the kernel, not the flags.
            Lane::Poll => {}
        }
        if socket.registered {
            return;
        }
        socket.registered = true;
        if let Err(error) = self.selector.add_socket(fd, socket.generation) {
            socket.registered = false;
            self.fail(key, &error, out);
        }
    }

    fn fail(&mut self, key: OpKey, error: &io::Error, out: &mut Vec<Completion>) {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        if errno == libc::ENOBUFS {
            self.counters.enobufs += 1;
        }
        out.extend(self.finish(key).map(|entry| entry.failed(errno)));
    }
}

/// Receives behind the data of `lease`. The data is counted in by the caller, or here for a provided buffer.
fn recv(socket: &mut Socket, fd: Fd, lease: &mut Lease) -> io::Result<usize> {
    let room = lease.spare();
    let n = calls::recv(fd, lease.spare_mut())?;
    // A short count means that the socket was empty, and what comes later is a new edge: if the socket is
    // registered, and unless a hang-up was the last one.
    if n < room && socket.registered && !socket.ready.hangup {
        socket.ready.read = false;
    }
    Ok(n)
}

/// Starts to connect, or finds out what became of it.
fn connect(socket: &mut Socket, fd: Fd, addr: &SockAddr) -> io::Result<(usize, Option<Lease>)> {
    let pending = || io::Error::from(io::ErrorKind::WouldBlock);
    if !socket.connecting {
        socket.connecting = true;
        match calls::connect(fd, addr) {
            Ok(()) => {}
            // An interrupted connect goes on by itself.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
                return Err(pending());
            }
            Err(error) => return Err(error),
        }
    } else {
        socket::take_error(fd.0)?;
        // An edge from before the connection stood says nothing.
        socket::peer_addr(fd.0).map_err(|_| pending())?;
    }
    socket.connecting = false;
    // Fails only for a connection that is reset already; its first operation will tell.
    drop(socket::tune_connection(fd.0));
    Ok((0, None))
}

/// Most connections taken from one listener in one turn.
const ACCEPTS_PER_TURN: usize = 64;
