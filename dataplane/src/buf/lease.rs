//! One buffer, one owner.

use std::ops::Range;
use std::ptr::NonNull;

use super::chunk::Chunk;
use super::pool::{HEADROOM, Pool};

/// A buffer that only its holder reads and writes. Dropping it gives the buffer back.
///
/// ```text
/// | headroom | data ............ | spare ...... |
///            ^ start             ^ end          ^ buffer_len
/// ```
/// Invariant: `start <= end <= buffer_len`, and `start <= HEADROOM`.
pub struct Lease {
    pool: Pool,
    id: u32,
    start: usize,
    end: usize,
}

impl Lease {
    /// Takes over the one reference to the buffer.
    pub(super) fn new(pool: Pool, id: u32) -> Self {
        Self {
            pool,
            id,
            start: HEADROOM,
            end: HEADROOM,
        }
    }

    /// Appends as much of `bytes` as fits and returns how much that was.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.spare());
        self.spare_mut()[..n].copy_from_slice(&bytes[..n]);
        self.end += n;
        n
    }

    /// Writes `bytes` in front of the data, which then starts with them. `false`, and nothing is written, if
    /// the headroom is too short.
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else {
            return false;
        };
        self.start = start;
        self.data_mut()[..bytes.len()].copy_from_slice(bytes);
        true
    }

    /// Sets the number of data bytes, after the spare part was written to or to cut the tail off.
    ///
    /// # Panics
    /// If `n` is more than data and spare together.
    pub fn set_filled(&mut self, n: usize) {
        assert!(
            n <= self.pool.buffer_len() - self.start,
            "more bytes than the buffer holds"
        );
        self.end = self.start + n;
    }

    /// The data, writable.
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.range_mut(self.start, self.end)
    }

    /// The unused bytes behind the data, writable. Their content is left over from earlier use.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        self.range_mut(self.end, self.pool.buffer_len())
    }

    /// Turns all data into a shared range.
    #[must_use]
    pub fn freeze(self) -> Chunk {
        let filled = self.filled();
        self.freeze_range(0..filled)
    }

    /// Turns a part of the data into a shared range; `range` counts from the first data byte.
    ///
    /// # Panics
    /// If the range ends behind the data.
    #[must_use]
    pub fn freeze_range(self, range: Range<usize>) -> Chunk {
        assert!(
            range.start <= range.end && range.end <= self.filled(),
            "range outside the data"
        );
        self.pool.retain(self.id);
        Chunk::pooled(self.pool.clone(), self.id, self.start + range.start, range.len())
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let at = self.pool.ptr_at(self.id, self.start);
        // JUSTIFICATION: the bytes live in a mapping, not in a Rust object.
        // SAFETY: start..end lies in the buffer; mapped memory is initialised; the lease is the buffer's only
        // holder and is borrowed shared, so nobody writes meanwhile.
        unsafe { std::slice::from_raw_parts(at.as_ptr(), self.end - self.start) }
    }

    /// Number of data bytes.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.end - self.start
    }

    /// Data bytes that fit behind an unused headroom.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.pool.data_len()
    }

    /// Unused bytes behind the data.
    #[must_use]
    pub fn spare(&self) -> usize {
        self.pool.buffer_len() - self.end
    }

    /// First unused byte, for the kernel to write to while the lease sits, untouched, in an operation's slot
    /// or in the table of a buffer group.
    pub(crate) fn spare_ptr(&self) -> NonNull<u8> {
        self.pool.ptr_at(self.id, self.end)
    }

    fn range_mut(&mut self, from: usize, to: usize) -> &mut [u8] {
        debug_assert!(from <= to && to <= self.pool.buffer_len());
        let at = self.pool.ptr_at(self.id, from);
        // JUSTIFICATION: the bytes live in a mapping, not in a Rust object.
        // SAFETY: from..to lies in the buffer; mapped memory is initialised; the lease is the buffer's only
        // holder and is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), to - from) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.release(self.id);
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .field("filled", &self.filled())
            .finish_non_exhaustive()
    }
}
