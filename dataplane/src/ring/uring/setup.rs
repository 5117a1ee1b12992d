//! Creating the kernel's side of a ring.

use std::io;

use io_uring::IoUring;

use crate::ring::RingConfig;

/// A step of opening a ring that failed.
#[derive(Debug)]
pub(crate) struct SetupError {
    /// What was tried.
    pub(crate) step: &'static str,
    /// Why it did not work.
    pub(crate) error: io::Error,
}

impl SetupError {
    /// Names the step in which an error came up.
    pub(crate) fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { step, error }
    }
}

/// Creates a ring for this thread alone, whose completions are processed only when this thread enters it.
///
/// The flags are those of kernel 6.1, plus the one of 6.6 that saves an index array, where it is known.
pub(super) fn create(config: &RingConfig) -> io::Result<IoUring> {
    let entries = config.entries.max(ENTRIES_MIN);
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(config.cq_entries.max(entries))
        .dontfork();
    match builder.clone().setup_no_sqarray().build(entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(entries),
        other => other,
    }
}

/// Fewer would make cancels wait for a turn of their own.
const ENTRIES_MIN: u32 = 4;
