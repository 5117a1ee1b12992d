//! An eventfd: a counter that a ring can wait for.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A non-blocking eventfd.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    /// Creates one with count zero.
    ///
    /// # Errors
    /// What `eventfd` says (descriptor limits).
    pub(crate) fn new() -> io::Result<Self> {
        // JUSTIFICATION: std has no eventfd.
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // JUSTIFICATION: the descriptor gets an owner.
        // SAFETY: `fd` was just created and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds one. A counter at its maximum is readable already, so `EAGAIN` needs no answer.
    pub(crate) fn signal(&self) {
        let one: u64 = 1;
        // JUSTIFICATION: one system call without the `File` detour.
        // SAFETY: the buffer is eight bytes on this stack, as eventfd demands.
        unsafe { libc::write(self.raw(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// Sets the count to zero.
    pub(crate) fn drain(&self) {
        let mut count: u64 = 0;
        // JUSTIFICATION: as in `signal`.
        // SAFETY: the buffer is eight bytes on this stack; a non-blocking descriptor answers `EAGAIN` when at
        // zero.
        unsafe { libc::read(self.raw(), (&raw mut count).cast(), size_of::<u64>()) };
    }

    /// The descriptor, still owned by this value.
    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
