//! `io_uring_enter` through a registered ring descriptor.
//!
//! The io-uring crate remembers a registration only in a borrow of the ring, which a struct cannot hold
//! beside the ring, so the two system calls are made here.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::IoUring;
use viaduct_proto::time::Now;

use crate::sys::clock;

/// How to enter one ring. The descriptor belongs to the ring, which outlives this.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    fd: libc::c_long,
    flags: libc::c_ulong,
}

/// How long an enter waits for a completion.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// Not at all; completions that are due are collected.
    None,
    /// Until this time.
    Until(Now),
    /// Without limit.
    Forever,
}

impl Gate {
    /// Registers the ring's descriptor with the calling thread, so that the kernel need not look it up each
    /// time.
    pub(super) fn new(ring: &IoUring) -> Self {
        let fd = ring.as_raw_fd();
        // Without it, a thread that waits here is counted as waiting for a disk (kernel 6.15).
        let idle = if ring.params().is_feature_no_iowait() {
            ENTER_NO_IOWAIT
        } else {
            0
        };
        let mut update = RsrcUpdate {
            offset: u32::MAX,
            resv: 0,
            data: u64::from(fd.cast_unsigned()),
        };
        if register(fd, REGISTER_RING_FDS, &mut update) {
            return Self {
                fd: libc::c_long::from(update.offset),
                flags: ENTER_REGISTERED_RING | idle,
            };
        }
        // The plain descriptor does the same, a little slower.
        Self {
            fd: libc::c_long::from(fd),
            flags: idle,
        }
    }

    /// Takes the registration back; what follows goes through the plain descriptor.
    ///
    /// The thread would hold the ring open until it ends, and it has room for 16.
    pub(super) fn release(&mut self, ring: &IoUring) {
        if !self.is_registered() {
            return;
        }
        let fd = ring.as_raw_fd();
        let mut update = RsrcUpdate {
            offset: u32::try_from(self.fd).unwrap_or(u32::MAX),
            resv: 0,
            data: 0,
        };
        // A thread without it, such as one that is ending, has nothing to take back.
        register(fd, UNREGISTER_RING_FDS, &mut update);
        self.fd = libc::c_long::from(fd);
        self.flags &= !ENTER_REGISTERED_RING;
    }

    /// Whether the thread knows the ring without looking its descriptor up.
    pub(super) fn is_registered(self) -> bool {
        self.flags & ENTER_REGISTERED_RING != 0
    }

    /// Submits `staged` entries and waits as long as `patience` says for one completion.
    ///
    /// # Errors
    /// That of the call, less `ETIME` and `EINTR`, which end a wait and are no errors.
    pub(super) fn enter(self, staged: usize, patience: Patience) -> io::Result<()> {
        let mut at = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut arg = GetEventsArg {
            sigmask: 0,
            sigmask_sz: 0,
            min_wait_usec: 0,
            ts: 0,
        };
        let want: u32 = match patience {
            Patience::None => 0,
            Patience::Forever => 1,
            Patience::Until(deadline) => {
                let left = deadline.since(clock::monotonic());
                at.tv_sec = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
                at.tv_nsec = i64::from(left.subsec_nanos());
                arg.ts = (&raw const at).addr() as u64;
                1
            }
        };
        let flags = self.flags | ENTER_GETEVENTS | ENTER_EXT_ARG;
        // JUSTIFICATION: see the module.
        // SAFETY: `arg` and the timespec it points to are in the kernel's layout and outlive the call. The
        // entries that are submitted were checked when they were staged.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd,
                staged,
                want,
                flags,
                &raw const arg,
                size_of::<GetEventsArg>(),
            )
        };
        if rc >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            _ => Err(error),
        }
    }
}

/// Adds or removes one registration of a ring's descriptor; whether the kernel did.
fn register(fd: RawFd, what: u32, update: &mut RsrcUpdate) -> bool {
    // JUSTIFICATION: see the module.
    // SAFETY: one update structure in the kernel's layout, borrowed for the call.
    let rc = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, what, &raw mut *update, 1u32) };
    rc == 1
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RsrcUpdate {
    offset: u32,
    resv: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_sz: u32,
    min_wait_usec: u32,
    ts: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    tv_sec: i64,
    tv_nsec: i64,
}

const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;
const ENTER_GETEVENTS: libc::c_ulong = 1 << 0;
const ENTER_EXT_ARG: libc::c_ulong = 1 << 3;
const ENTER_REGISTERED_RING: libc::c_ulong = 1 << 4;
const ENTER_NO_IOWAIT: libc::c_ulong = 1 << 7;
const _: () = assert!(size_of::<GetEventsArg>() == 24);
