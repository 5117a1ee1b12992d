//! Resource limits of the process.

use std::io;

/// Raises the soft limit of open descriptors to the hard one and returns the limit now in force.
///
/// # Errors
/// What `getrlimit` or `setrlimit` says.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // JUSTIFICATION: std has no resource limits.
    // SAFETY: `limit` is writable for the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // JUSTIFICATION: as above.
        // SAFETY: `limit` is readable for the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    #[test]
    fn raising_twice_gives_the_same_limit() {
        let first = super::raise_open_files().unwrap();
        assert!(first > 0);
        assert_eq!(super::raise_open_files().unwrap(), first);
    }
}
