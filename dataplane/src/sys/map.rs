//! Anonymous memory mappings: zeroed, page-aligned, touched lazily, not inherited by a forked child.

use std::io;
use std::ptr::NonNull;

/// A private anonymous mapping, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes of zeroes.
    ///
    /// # Errors
    /// What `mmap` says; `EINVAL` for a length of zero.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        // JUSTIFICATION: memory that the kernel writes to needs a stable page-aligned address that no
        // allocator moves.
        // SAFETY: a fresh private mapping without an address hint touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base =
            NonNull::new(base.cast::<u8>()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        // JUSTIFICATION: a forked child must not turn these pages copy-on-write under the kernel's feet.
        // SAFETY: the range is the mapping made above. Failure only loses the protection, so the result is
        // not needed.
        unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_DONTFORK) };
        Ok(Self { base, len })
    }

    /// First byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // JUSTIFICATION: the counterpart of `mmap`.
        // SAFETY: the range was mapped by `anonymous` and nothing refers to it past its owner.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
