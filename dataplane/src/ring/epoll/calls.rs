//! The non-blocking calls behind the operations. All of them answer `EAGAIN` instead of waiting.

use std::io;
use std::net::SocketAddr;

use crate::buf::{Exposed, Gather};
use crate::ring::op::{Fd, Interest};
use crate::sys::sockaddr::SockAddr;
use crate::sys::socket::{self, check};

/// Accepts one connection, non-blocking and close-on-exec.
pub(super) fn accept(listener: Fd) -> io::Result<(Fd, Option<SocketAddr>)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // JUSTIFICATION: std accepts only on its own listener type.
    // SAFETY: null address pointers say that no address is wanted.
    let accepted =
        check(unsafe { libc::accept4(listener.0, std::ptr::null_mut(), std::ptr::null_mut(), flags) })?;
    Ok((Fd(accepted), socket::peer_addr(accepted).ok()))
}

/// Starts to connect.
pub(super) fn connect(fd: Fd, addr: &SockAddr) -> io::Result<()> {
    // JUSTIFICATION: std connects only while creating a socket, and waits.
    // SAFETY: the pointer and the length describe `addr`, which outlives the call.
    check(unsafe { libc::connect(fd.0, addr.as_ptr(), addr.len()) }).map(drop)
}

/// Poll flags that are set now among those of interest; errors are always of interest.
pub(super) fn poll(fd: Fd, interest: Interest) -> io::Result<usize> {
    let mut request = libc::pollfd {
        fd: fd.0,
        events: interest.poll_flags(),
        revents: 0,
    };
    // JUSTIFICATION: std has no poll.
    // SAFETY: the pointer refers to one pollfd that outlives the call.
    check(unsafe { libc::poll(&raw mut request, 1, 0) })?;
    match usize::from(request.revents.cast_unsigned()) {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        flags => Ok(flags),
    }
}

/// Receives into `room`.
pub(super) fn recv(fd: Fd, room: &mut [u8]) -> io::Result<usize> {
    retry(|| {
        // JUSTIFICATION: std receives only on its own socket types.
        // SAFETY: the pointer and the length describe `room`, which is borrowed exclusively.
        unsafe { libc::recv(fd.0, room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) }
    })
}

/// Sends as much of a gather as one call takes.
pub(super) fn send(fd: Fd, gather: &mut Gather) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let exposed = gather.expose();
    retry(|| match exposed {
        Exposed::One { ptr, len } => {
            // JUSTIFICATION: std sends only on its own socket types.
            // SAFETY: the bytes belong to the gather, which is borrowed and not changed during this call.
            unsafe { libc::send(fd.0, ptr.cast(), len, flags) }
        }
        Exposed::Many { header, rest, .. } => {
            let flags = if rest { flags | libc::MSG_MORE } else { flags };
            // JUSTIFICATION: as above.
            // SAFETY: as above; header, vectors and bytes all belong to that gather.
            unsafe { libc::sendmsg(fd.0, header, flags) }
        }
    })
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(n) => return Ok(n),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
