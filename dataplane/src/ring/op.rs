//! Operations, their labels, and what comes back.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use crate::buf::{Gather, Lease};

/// A socket of a ring: a descriptor number, or a virtual handle in a simulation.
///
/// It is a name, not an owner: the ring that made, accepted or adopted it closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fd(pub(crate) i32);

impl Fd {
    /// The number, for log lines and for handing the socket to another ring of this process.
    #[must_use]
    pub const fn raw(self) -> RawFd {
        self.0
    }
}

/// The owner's label of an operation; it comes back with each completion.
///
/// Layout: index in bits 32..64, generation in bits 8..32, kind in bits 0..8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    /// Label of [`Outcome::Woken`].
    pub const WAKE: Self = Self(u64::MAX);
    /// Largest generation; the owner counts modulo this plus one.
    pub const GENERATION_MAX: u32 = (1 << 24) - 1;

    /// Packs a table index, the generation of its entry (the low 24 bits are kept), and the owner's kind of
    /// operation.
    #[must_use]
    pub const fn new(index: u32, generation: u32, kind: u8) -> Self {
        Self((index as u64) << 32 | ((generation & Self::GENERATION_MAX) as u64) << 8 | kind as u64)
    }

    /// The table index.
    #[must_use]
    pub const fn index(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The generation, at most [`Self::GENERATION_MAX`].
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 8) as u32 & Self::GENERATION_MAX
    }

    /// The owner's kind of operation.
    #[must_use]
    pub const fn kind(self) -> u8 {
        self.0 as u8
    }
}

/// Names one submitted operation, for cancelling it. Stale keys are harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl OpKey {
    /// Largest generation: one bit is left for the label of a kernel operation.
    pub(crate) const GENERATION_MAX: u32 = u32::MAX >> 1;
}

/// Where received bytes go.
#[derive(Debug)]
pub enum RecvInto {
    /// A buffer of the ring's small pool, chosen when data is there: waiting costs none.
    Provided,
    /// This buffer, behind what it holds already.
    Lease(Lease),
}

/// An operation. At most one of `Recv`, one of `Send` and one of `Poll` may be in flight per socket.
#[derive(Debug)]
pub enum Op {
    /// Accept connections until an error or a cancel; each is a completion.
    Accept {
        /// A listener.
        fd: Fd,
    },
    /// Connect; options of every connection are set before it completes.
    Connect {
        /// A fresh socket.
        fd: Fd,
        /// The peer.
        addr: SocketAddr,
    },
    /// Wait once until the socket is readable or the peer has hung up; takes no bytes and no buffer.
    Poll {
        /// A connection.
        fd: Fd,
        /// What to wait for.
        flags: Interest,
    },
    /// Receive once.
    Recv {
        /// A connection.
        fd: Fd,
        /// Where to.
        into: RecvInto,
    },
    /// Send once. It may transmit a part only: the caller advances the gather by the result and submits it
    /// again.
    Send {
        /// A connection.
        fd: Fd,
        /// What.
        gather: Box<Gather>,
    },
}

impl Op {
    /// The socket it is for.
    #[must_use]
    pub const fn fd(&self) -> Fd {
        match self {
            Self::Accept { fd }
            | Self::Connect { fd, .. }
            | Self::Poll { fd, .. }
            | Self::Recv { fd, .. }
            | Self::Send { fd, .. } => *fd,
        }
    }
}

/// What a poll waits for; errors always end it. Sets are joined with `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// Only what always ends a poll: an error, or the end of both directions. (io_uring always reports [`Self::HANGUP`] too.)
    pub const ERROR: Self = Self(0);
    /// Data or end of stream to read.
    pub const READ: Self = Self(1);
    /// The peer has shut down its sending half, or the connection is gone.
    pub const HANGUP: Self = Self(2);

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The same for `poll`.
    pub(crate) const fn poll_flags(self) -> i16 {
        let read = if self.contains(Self::READ) {
            libc::POLLIN
        } else {
            0
        };
        let hangup = if self.contains(Self::HANGUP) {
            libc::POLLRDHUP
        } else {
            0
        };
        read | hangup
    }
}

impl std::ops::BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a poll found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// A receive would not wait.
    pub readable: bool,
    /// The peer has shut down its sending half, or the connection is gone.
    pub hangup: bool,
    /// The socket has an error pending; the next receive or send tells which.
    pub error: bool,
}

impl Readiness {
    /// Decodes the flags that `poll` answers with.
    pub(crate) const fn from_poll_flags(flags: usize) -> Self {
        const fn has(flags: usize, any: i16) -> bool {
            flags & any.cast_unsigned() as usize != 0
        }
        Self {
            readable: has(flags, libc::POLLIN),
            hangup: has(flags, libc::POLLRDHUP | libc::POLLHUP),
            error: has(flags, libc::POLLERR),
        }
    }
}

/// One result of an operation.
#[derive(Debug)]
pub struct Completion {
    /// Label given at submission.
    pub token: Token,
    /// Further completions of the same operation follow.
    pub more: bool,
    /// What happened.
    pub outcome: Outcome,
}

/// What happened. A cancelled operation ends with `ECANCELED`, or with its real result if that came first;
/// either way everything it held is in its final completion.
#[derive(Debug)]
pub enum Outcome {
    /// A connection and its peer's address (`None` if the peer has gone again), or why accepting stopped.
    Accepted(io::Result<(Fd, Option<SocketAddr>)>),
    /// The connection stands, or why not.
    Connected(io::Result<()>),
    /// The socket is ready, or why waiting ended.
    Polled(io::Result<Readiness>),
    /// End of a receive.
    Received {
        /// Bytes received; 0 is the end of the stream. `ENOBUFS`: the pool was empty, try again when it is
        /// not.
        result: io::Result<usize>,
        /// The bytes, or the given buffer back; `None` only for a provided receive without data.
        lease: Option<Lease>,
    },
    /// End of a send.
    Sent {
        /// Bytes taken by the kernel, from the front; not yet dropped from `gather`.
        result: io::Result<usize>,
        /// What was given.
        gather: Box<Gather>,
    },
    /// Somebody called [`Waker::wake`](super::Waker::wake).
    Woken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_its_three_parts() {
        for (index, generation, kind) in [(0, 0, 0), (7, 9, 3), (u32::MAX - 1, Token::GENERATION_MAX, 255)] {
            let token = Token::new(index, generation, kind);
            assert_eq!(
                (token.index(), token.generation(), token.kind()),
                (index, generation, kind)
            );
        }
        assert_eq!(Token::new(1, Token::GENERATION_MAX + 3, 0).generation(), 2);
        assert_ne!(Token::new(u32::MAX - 1, u32::MAX, 255), Token::WAKE);
    }

    #[test]
    fn interests_join() {
        let both = Interest::READ | Interest::HANGUP;
        assert!(both.contains(Interest::READ) && both.contains(Interest::HANGUP));
        assert!(!Interest::READ.contains(Interest::HANGUP));
    }
}
