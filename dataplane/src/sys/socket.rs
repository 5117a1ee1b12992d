//! TCP sockets by number: creation, options, addresses, closing.
//!
//! Descriptors are plain numbers here because their owner is a ring, which closes them when their last
//! operation is over. Blocking mode is the ring's choice: blocking under io_uring, non-blocking under epoll.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::sockaddr::SockAddr;

/// Whether calls on a socket may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// Calls wait. What io_uring wants: it waits in the kernel instead.
    Yes,
    /// Calls answer `EAGAIN`.
    No,
}

/// A TCP socket for the family of `addr`, close-on-exec.
///
/// # Errors
/// Descriptor limits, or a family that the host does not have.
pub fn stream(addr: &SocketAddr, blocking: Blocking) -> io::Result<RawFd> {
    let family = if addr.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mode = if blocking == Blocking::No {
        libc::SOCK_NONBLOCK
    } else {
        0
    };
    // JUSTIFICATION: std makes sockets only already connected or listening.
    // SAFETY: takes no pointers.
    check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | mode, 0) })
}

/// A listening TCP socket on `addr`, with `SO_REUSEADDR` and, if asked for, `SO_REUSEPORT`. An IPv6 socket takes IPv6 only.
///
/// # Errors
/// What `socket`, `bind` or `listen` says; `EADDRINUSE` most of the time.
pub fn listener(addr: &SocketAddr, reuse_port: bool, blocking: Blocking) -> io::Result<RawFd> {
    let fd = stream(addr, blocking)?;
    let set_up = || {
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        if reuse_port {
            set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if addr.is_ipv6() {
            // So that `::` and `0.0.0.0` can be listened on side by side.
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        bind(fd, addr)?;
        // JUSTIFICATION: std listens only while binding, with a backlog of its own.
        // SAFETY: takes no pointers.
        check(unsafe { libc::listen(fd, BACKLOG) }).map(drop)
    };
    set_up().inspect_err(|_| close(fd))?;
    Ok(fd)
}

/// Binds to a local address.
///
/// # Errors
/// What `bind` says.
pub fn bind(fd: RawFd, addr: &SocketAddr) -> io::Result<()> {
    let addr = SockAddr::new(addr);
    // JUSTIFICATION: no std call binds an existing socket.
    // SAFETY: the pointer and the length describe `addr`, which outlives the call.
    check(unsafe { libc::bind(fd, addr.as_ptr(), addr.len()) }).map(drop)
}

/// Options of every connection: `TCP_NODELAY`, and keepalive probes after 60 s of silence, every 15 s, 4 of
/// them.
///
/// # Errors
/// What `setsockopt` says; a connection that is already reset can fail here.
pub fn tune_connection(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, KEEPALIVE_IDLE_S)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, KEEPALIVE_PROBES)
}

/// Makes the next close a reset (`SO_LINGER` of zero seconds), also the one that the kernel does when the process dies; or
/// an orderly end again.
///
/// # Errors
/// What `setsockopt` says.
pub fn set_reset_on_close(fd: RawFd, reset: bool) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: i32::from(reset),
        l_linger: 0,
    };
    // JUSTIFICATION: std has no stable linger option.
    // SAFETY: the pointer and the length describe `linger`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            option_len::<libc::linger>(),
        )
    })
    .map(drop)
}

/// Sets or clears `O_NONBLOCK`.
///
/// # Errors
/// What `fcntl` says.
pub fn set_blocking(fd: RawFd, blocking: Blocking) -> io::Result<()> {
    // JUSTIFICATION: std does this only for its own socket types.
    // SAFETY: takes no pointers.
    let old = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let new = match blocking {
        Blocking::Yes => old & !libc::O_NONBLOCK,
        Blocking::No => old | libc::O_NONBLOCK,
    };
    if new == old {
        return Ok(());
    }
    // JUSTIFICATION: as above.
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, new) }).map(drop)
}

/// Sends FIN after what was sent so far.
///
/// # Errors
/// `ENOTCONN` if the peer has reset the connection.
pub fn shutdown_write(fd: RawFd) -> io::Result<()> {
    // JUSTIFICATION: std does this only for its own socket types.
    // SAFETY: takes no pointers.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) }).map(drop)
}

/// Closes the descriptor. Linux releases the number whatever `close` answers, so the answer is of no use.
pub fn close(fd: RawFd) {
    // JUSTIFICATION: the owner of a number, not of an `OwnedFd`, closes it.
    // SAFETY: takes no pointers; the ring that calls this owns the number and forgets it here.
    unsafe { libc::close(fd) };
}

/// Local address.
///
/// # Errors
/// What `getsockname` says.
pub fn local_addr(fd: RawFd) -> io::Result<SocketAddr> {
    SockAddr::fill(|addr, len| {
        // JUSTIFICATION: std does this only for its own socket types.
        // SAFETY: `fill` gives a buffer of `*len` bytes.
        unsafe { libc::getsockname(fd, addr, len) }
    })
}

/// Address of the peer.
///
/// # Errors
/// `ENOTCONN` if the peer is already gone.
pub fn peer_addr(fd: RawFd) -> io::Result<SocketAddr> {
    SockAddr::fill(|addr, len| {
        // JUSTIFICATION: std does this only for its own socket types.
        // SAFETY: `fill` gives a buffer of `*len` bytes.
        unsafe { libc::getpeername(fd, addr, len) }
    })
}

/// Bytes that were sent and that the peer has not acknowledged, its end of stream included (`SIOCOUTQ`).
///
/// # Errors
/// The socket is not connected.
pub fn unacknowledged(fd: RawFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // JUSTIFICATION: std has no call for it.
    // SAFETY: the request writes one int to the pointer, which refers to a local that outlives the call.
    check(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Takes the pending error of a socket (`SO_ERROR`).
///
/// # Errors
/// The pending error, or that of `getsockopt`.
pub fn take_error(fd: RawFd) -> io::Result<()> {
    let mut code: libc::c_int = 0;
    let mut len = option_len::<libc::c_int>();
    // JUSTIFICATION: std does this only for its own socket types.
    // SAFETY: the pointers refer to locals that outlive the call, and `len` is the size of `code`.
    check(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut code).cast(),
            &raw mut len,
        )
    })?;
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code))
    }
}

/// Turns the `-1` of a system call into its error.
pub(crate) fn check(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc)
    }
}

fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // JUSTIFICATION: std knows only a few options.
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            option_len::<libc::c_int>(),
        )
    })
    .map(drop)
}

/// Size of an option's value as the kernel counts it; option values are a few bytes.
const fn option_len<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// Connections that wait for `accept`; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: libc::c_int = 4096;
const KEEPALIVE_IDLE_S: libc::c_int = 60;
const KEEPALIVE_INTERVAL_S: libc::c_int = 15;
const KEEPALIVE_PROBES: libc::c_int = 4;
