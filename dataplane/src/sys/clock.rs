//! The monotonic clock behind every deadline.

use viaduct_proto::time::Now;

/// `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn monotonic() -> Now {
    let mut at = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // JUSTIFICATION: `Instant` hides its value; deadlines are handed to the kernel as numbers.
    // SAFETY: `at` is a valid timespec for the duration of the call.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut at) };
    debug_assert_eq!(rc, 0, "CLOCK_MONOTONIC always exists");
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(at.tv_nsec).unwrap_or(0);
    Now(seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos))
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::monotonic;

    #[test]
    fn never_goes_back() {
        let first = monotonic();
        assert!(first.0 > 0);
        assert!(monotonic() >= first);
    }
}
