//! What an operating system error means to the one who got it.

use std::io;

/// A resource ran out: the same call may work later. Accept loops back off on these.
#[must_use]
pub fn is_throttling(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN)
    )
}

/// The peer or the path is gone; nothing is wrong on this side.
#[must_use]
pub fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED | libc::ENOTCONN | libc::ETIMEDOUT)
    )
}

/// The operation was cancelled by its owner or by a close.
#[must_use]
pub fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

/// No receive buffer was free; the socket still holds its data.
#[must_use]
pub fn is_out_of_buffers(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_do_not_overlap_where_it_matters() {
        let emfile = io::Error::from_raw_os_error(libc::EMFILE);
        let reset = io::Error::from_raw_os_error(libc::ECONNRESET);
        let cancelled = io::Error::from_raw_os_error(libc::ECANCELED);
        assert!(is_throttling(&emfile) && !is_reset(&emfile));
        assert!(is_reset(&reset) && !is_throttling(&reset));
        assert!(is_cancelled(&cancelled) && !is_reset(&cancelled));
        assert!(is_out_of_buffers(&io::Error::from_raw_os_error(libc::ENOBUFS)));
    }
}
