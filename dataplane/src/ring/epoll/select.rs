//! The epoll instance and its events.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use viaduct_proto::time::Now;

use crate::ring::op::Fd;
use crate::sys::{clock, socket};

/// An epoll instance with room for the events of one wait.
pub(super) struct Selector {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event; EVENTS_MAX]>,
}

/// One decoded event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Waker,
    Socket {
        fd: Fd,
        generation: u32,
        readable: bool,
        writable: bool,
        hangup: bool,
    },
}

impl Selector {
    pub(super) fn new() -> io::Result<Self> {
        // JUSTIFICATION: std has no epoll.
        // SAFETY: takes no pointers.
        let fd = socket::check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // JUSTIFICATION: the descriptor gets an owner.
        // SAFETY: `fd` was just created and belongs to nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            epoll,
            events: Box::new([libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX]),
        })
    }

    /// Registers the waker, level-triggered: it is drained when it is seen.
    pub(super) fn add_waker(&self, fd: i32) -> io::Result<()> {
        self.add(fd, libc::EPOLLIN, WAKER)
    }

    /// Registers a socket for every edge.
    pub(super) fn add_socket(&self, fd: Fd, generation: u32) -> io::Result<()> {
        let flags = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        self.add(
            fd.0,
            flags,
            u64::from(generation) << 32 | u64::from(fd.0.cast_unsigned()),
        )
    }

    /// Takes a socket out. Closing does this by itself.
    pub(super) fn remove(&self, fd: Fd) {
        // JUSTIFICATION: std has no epoll.
        // SAFETY: the event pointer is not read for this operation. A socket that is not there is what was
        // wanted.
        unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                fd.0,
                std::ptr::null_mut(),
            );
        }
    }

    /// Waits for events until `deadline` (`None`: without limit) and returns their number.
    pub(super) fn wait(&mut self, deadline: Option<Now>) -> io::Result<usize> {
        let timeout_ms = deadline.map_or(-1, |at| {
            let left = at.since(clock::monotonic()).as_nanos();
            // Rounded up: a wait never ends before its deadline.
            i32::try_from(left.div_ceil(NANOS_PER_MILLI)).unwrap_or(i32::MAX)
        });
        let room = EVENTS_MAX as libc::c_int;
        // JUSTIFICATION: std has no epoll.
        // SAFETY: the pointer and the count describe `events`, which outlives the call.
        let rc =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), room, timeout_ms) };
        match socket::check(rc) {
            Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Event `index` of the last wait.
    pub(super) fn event(&self, index: usize) -> Event {
        let libc::epoll_event { events, u64: data } = self.events[index];
        if data == WAKER {
            return Event::Waker;
        }
        let has = |flags: libc::c_int| events & flags.cast_unsigned() != 0;
        Event::Socket {
            fd: Fd((data as u32).cast_signed()),
            generation: (data >> 32) as u32,
            readable: has(libc::EPOLLIN),
            writable: has(libc::EPOLLOUT),
            hangup: has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR),
        }
    }

    fn add(&self, fd: i32, flags: libc::c_int, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: flags.cast_unsigned(),
            u64: data,
        };
        // JUSTIFICATION: std has no epoll.
        // SAFETY: `event` outlives the call.
        socket::check(unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event)
        })
        .map(drop)
    }
}

impl std::fmt::Debug for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selector")
            .field("epoll", &self.epoll)
            .finish_non_exhaustive()
    }
}

const EVENTS_MAX: usize = 512;
/// No socket has this label: its number would be negative.
const WAKER: u64 = u64::MAX;
const NANOS_PER_MILLI: u128 = 1_000_000;
