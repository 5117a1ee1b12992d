//! The slab of buffers and its table of holders.

use std::cell::Cell;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;

use super::lease::Lease;
use crate::sys::map::Mapping;

/// Free bytes in front of the data of each buffer: room for the largest WebSocket header (14 bytes), written
/// backwards.
pub const HEADROOM: usize = 16;

/// Size of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Data bytes of each buffer, headroom not counted.
    pub data_len: usize,
    /// Number of buffers.
    pub count: u32,
}

/// A pool of equal buffers; clones are handles to the same pool.
#[derive(Clone)]
pub struct Pool {
    inner: Rc<Inner>,
}

struct Inner {
    map: Mapping,
    stride: usize,
    data_len: usize,
    slots: Box<[Slot]>,
    head: Cell<u32>,
    free: Cell<u32>,
}

/// Bookkeeping of one buffer.
struct Slot {
    /// Number of holders: 0 = free.
    refs: Cell<u32>,
    /// Next free buffer, while this one is free.
    next: Cell<u32>,
}

impl Pool {
    /// Maps the slab. Pages are touched when a buffer is first used, so an idle pool costs address space
    /// only.
    ///
    /// # Errors
    /// `EINVAL` if a size is zero or the sum overflows; otherwise what `mmap` says.
    pub fn new(config: PoolConfig) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let fits = config.data_len > 0 && u32::try_from(config.data_len).is_ok() && config.count < NONE;
        if !fits {
            return Err(invalid());
        }
        let stride = (HEADROOM + config.data_len).next_multiple_of(ALIGNMENT);
        let len = stride.checked_mul(config.count as usize).ok_or_else(invalid)?;
        let map = Mapping::anonymous(len)?;
        let slots = (1..=config.count)
            .map(|next| Slot {
                refs: Cell::new(0),
                next: Cell::new(if next == config.count { NONE } else { next }),
            })
            .collect();
        let inner = Inner {
            map,
            stride,
            data_len: config.data_len,
            slots,
            head: Cell::new(0),
            free: Cell::new(config.count),
        };
        Ok(Self {
            inner: Rc::new(inner),
        })
    }

    /// A free buffer, empty, or `None` if all are held. The last one given back is the first one taken, for
    /// the cache.
    #[must_use]
    pub fn take(&self) -> Option<Lease> {
        let id = self.inner.head.get();
        let slot = self.inner.slots.get(id as usize)?;
        debug_assert_eq!(slot.refs.get(), 0, "a buffer on the free list has no holder");
        self.inner.head.set(slot.next.get());
        self.inner.free.set(self.inner.free.get() - 1);
        slot.refs.set(1);
        Some(Lease::new(self.clone(), id))
    }

    /// Buffers on the free list.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.inner.free.get()
    }

    /// All buffers.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.inner.slots.len()).unwrap_or(u32::MAX)
    }

    /// Data bytes of each buffer.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.inner.data_len
    }

    /// Adds a holder.
    ///
    /// # Panics
    /// At 2^32 holders: a count that wraps would free a buffer that is in use.
    pub(super) fn retain(&self, id: u32) {
        let refs = &self.slot(id).refs;
        debug_assert!(refs.get() > 0, "only a held buffer can be shared");
        refs.set(
            refs.get()
                .checked_add(1)
                .expect("fewer than 2^32 ranges of a buffer"),
        );
    }

    /// Removes a holder; the last one frees the buffer.
    pub(super) fn release(&self, id: u32) {
        let slot = self.slot(id);
        let left = slot.refs.get() - 1;
        slot.refs.set(left);
        if left == 0 {
            slot.next.set(self.inner.head.get());
            self.inner.head.set(id);
            self.inner.free.set(self.inner.free.get() + 1);
        }
    }

    /// The byte at `offset` of a buffer; its headroom starts at 0.
    pub(super) fn ptr_at(&self, id: u32, offset: usize) -> NonNull<u8> {
        assert!((id as usize) < self.inner.slots.len() && offset <= self.buffer_len());
        // JUSTIFICATION: buffers are cut from one mapping.
        // SAFETY: `id` is below the count and `offset` at most the length of a buffer, so the result is in
        // the mapping of count * stride bytes, or one past its end.
        unsafe {
            self.inner
                .map
                .base()
                .add(id as usize * self.inner.stride + offset)
        }
    }

    /// Headroom and data, bytes.
    pub(super) fn buffer_len(&self) -> usize {
        HEADROOM + self.inner.data_len
    }

    fn slot(&self, id: u32) -> &Slot {
        &self.inner.slots[id as usize]
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("data_len", &self.data_len())
            .field("count", &self.count())
            .field("free", &self.free())
            .finish_non_exhaustive()
    }
}

/// Buffers start on page boundaries, so that one never shares a page with another.
const ALIGNMENT: usize = 4096;
/// End of the free list.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_count_of_holders_does_not_wrap() {
        let pool = Pool::new(PoolConfig {
            data_len: 64,
            count: 1,
        })
        .unwrap();
        let chunk = pool.take().unwrap().freeze();
        pool.slot(0).refs.set(u32::MAX);
        assert!(catch_unwind(AssertUnwindSafe(|| chunk.clone())).is_err());
        assert_eq!(pool.free(), 0);
        pool.slot(0).refs.set(1);
        drop(chunk);
        assert_eq!(pool.free(), 1);
    }
}
