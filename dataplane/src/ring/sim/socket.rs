//! One endpoint of the simulated network: what the kernel keeps for a TCP socket, as far as a program can observe it.
//!
//! # Invariants
//! * `unacked` counts the payload bytes this side sent and the far side has not read; it never exceeds the capacity.
//! * `wire` is first in, first out; one delivery event exists per packet in it, or is counted in `stalled`.
//! * `holders` counts the descriptor and every operation in flight: the socket closes when the last one lets go, so
//!   closing a descriptor under an operation sends nothing, as under io_uring.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use viaduct_proto::time::Now;

use super::world::EventKey;

/// Identity of a socket; never reused, unlike descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SockId(pub(super) u64);

/// Index of a ring's seat at the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeatId(pub(super) usize);

/// Where a socket is in its life.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Neither connected nor listening.
    Fresh,
    /// Others may listen on the address too if all are `shared` (`SO_REUSEPORT`).
    Listening {
        queue: VecDeque<SockId>,
        shared: bool,
    },
    Connecting,
    /// Both directions, or only the receiving one when `write_done`.
    Open {
        write_done: bool,
    },
    /// Reset, refused or timed out. What had arrived can still be read.
    Ended,
}

/// What travels between two sockets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Syn(SocketAddr),
    SynAck,
    Data(Vec<u8>),
    /// The reader took this many bytes out of its inbox.
    Ack(usize),
    Fin,
    Rst,
    /// A packet its sender took back by resetting; it keeps its delivery event.
    Lost,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) host: IpAddr,
    pub(super) local: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    pub(super) peer: Option<SockId>,
    /// The ring that is told when something changes.
    pub(super) seat: Option<SeatId>,
    pub(super) holders: u32,
    pub(super) phase: Phase,
    /// Arrived and unread.
    pub(super) inbox: VecDeque<u8>,
    /// The far side's end of stream has arrived.
    pub(super) eof: bool,
    /// Pending socket error; the first call that can report it takes it, as on Linux.
    pub(super) error: Option<i32>,
    /// `SO_LINGER` with zero seconds: closing resets.
    pub(super) linger_zero: bool,
    pub(super) unacked: usize,
    /// When the newest completion of an operation on it becomes visible.
    pub(super) visible: Now,
    pub(super) wire: VecDeque<Packet>,
    /// When the newest packet in `wire` arrives.
    pub(super) last_arrival: Now,
    /// When the running connection attempt fails.
    pub(super) timeout: Option<EventKey>,
    /// Delivery events that fell due during a partition.
    pub(super) stalled: u32,
}

impl Socket {
    pub(super) fn new(local: SocketAddr, host: IpAddr, phase: Phase) -> Self {
        Self {
            host,
            local,
            remote: None,
            peer: None,
            seat: None,
            holders: 1,
            phase,
            inbox: VecDeque::new(),
            eof: false,
            error: None,
            linger_zero: false,
            unacked: 0,
            visible: Now(0),
            wire: VecDeque::new(),
            last_arrival: Now(0),
            timeout: None,
            stalled: 0,
        }
    }

    /// Whether a receive (or an accept) would end at once.
    pub(super) fn is_readable(&self) -> bool {
        match &self.phase {
            Phase::Listening { queue, .. } => !queue.is_empty(),
            Phase::Open { .. } => !self.inbox.is_empty() || self.eof,
            Phase::Fresh | Phase::Ended => true,
            Phase::Connecting => false,
        }
    }

    /// What `poll(2)` would report, `POLLOUT` left out.
    pub(super) fn poll_flags(&self) -> i16 {
        let mut flags = if self.is_readable() { libc::POLLIN } else { 0 };
        match self.phase {
            Phase::Fresh => flags = libc::POLLHUP,
            Phase::Ended => flags |= libc::POLLHUP | libc::POLLRDHUP,
            Phase::Open { write_done: true } if self.eof => flags |= libc::POLLHUP | libc::POLLRDHUP,
            Phase::Open { .. } if self.eof => flags |= libc::POLLRDHUP,
            Phase::Open { .. } | Phase::Listening { .. } | Phase::Connecting => {}
        }
        if self.error.is_some() {
            flags | libc::POLLERR
        } else {
            flags
        }
    }

    /// Moves up to `out.len()` arrived bytes into `out`. `Ok(0)` is the end of the stream (or an empty `out`).
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.inbox.is_empty() || out.is_empty() {
            let n = out.len().min(self.inbox.len());
            for (to, from) in out.iter_mut().zip(self.inbox.drain(..n)) {
                *to = from;
            }
            return Ok(n);
        }
        match self.phase {
            Phase::Open { .. } | Phase::Ended if self.eof => Ok(0),
            Phase::Open { .. } | Phase::Connecting => Err(io::ErrorKind::WouldBlock.into()),
            Phase::Ended => self
                .error
                .take()
                .map_or(Ok(0), |errno| Err(io::Error::from_raw_os_error(errno))),
            Phase::Fresh | Phase::Listening { .. } => Err(io::Error::from_raw_os_error(libc::ENOTCONN)),
        }
    }

    /// How many more bytes this side may send, with `capacity` for the direction.
    pub(super) fn room(&mut self, capacity: usize) -> io::Result<usize> {
        match self.phase {
            Phase::Open { write_done: false } if self.unacked < capacity => Ok(capacity - self.unacked),
            Phase::Open { write_done: false } | Phase::Connecting => Err(io::ErrorKind::WouldBlock.into()),
            Phase::Ended => Err(io::Error::from_raw_os_error(
                self.error.take().unwrap_or(libc::EPIPE),
            )),
            Phase::Open { write_done: true } | Phase::Fresh | Phase::Listening { .. } => {
                Err(io::Error::from_raw_os_error(libc::EPIPE))
            }
        }
    }

    /// How the connection attempt ended, `None` while it runs.
    pub(super) fn connect_result(&mut self) -> Option<io::Result<()>> {
        match self.phase {
            Phase::Connecting => None,
            Phase::Open { .. } => Some(Ok(())),
            Phase::Ended => {
                let errno = self.error.take().unwrap_or(libc::ECONNABORTED);
                Some(Err(io::Error::from_raw_os_error(errno)))
            }
            Phase::Fresh | Phase::Listening { .. } => Some(Err(io::Error::from_raw_os_error(libc::EINVAL))),
        }
    }

    /// Takes back the packets after the first `keep` data-carrying ones: a reset discards what was not yet received.
    pub(super) fn lose_after(&mut self, keep: usize) {
        let stream = self
            .wire
            .iter_mut()
            .filter(|p| matches!(p, Packet::Data(_) | Packet::Fin));
        for packet in stream.skip(keep) {
            *packet = Packet::Lost;
        }
    }

    /// Packets on the way that carry the stream.
    pub(super) fn stream_packets(&self) -> usize {
        self.wire
            .iter()
            .filter(|p| matches!(p, Packet::Data(_) | Packet::Fin))
            .count()
    }

    /// Ends the socket with an error for its holder, if it has not ended before.
    pub(super) fn end(&mut self, errno: Option<i32>) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.error = errno;
        }
    }

    /// What the arrival of a reset reports, by state, as Linux's `tcp_reset` has it.
    pub(super) fn reset_errno(&self) -> i32 {
        match self.phase {
            Phase::Connecting => libc::ECONNREFUSED,
            _ if self.eof => libc::EPIPE,
            _ => libc::ECONNRESET,
        }
    }
}
