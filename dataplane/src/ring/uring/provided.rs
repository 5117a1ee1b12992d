//! The group of buffers that provided receives take from: a ring of buffer descriptions shared with the
//! kernel.
//!
//! **Invariants.** A buffer id stands for one lease, kept here, from the moment its description is published
//! until the completion that names it; meanwhile only the kernel touches the buffer. At most `limit` buffers
//! are lent at a time, which is at most half of the pool, so a full group cannot starve other users of the
//! pool.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::buf::{Lease, Pool};
use crate::sys::map::Mapping;

/// The one buffer group of a ring.
#[derive(Debug)]
pub(super) struct Provided {
    map: Mapping,
    /// Entries less one; their number is a power of two.
    mask: u16,
    /// Descriptions published so far, modulo 2^16.
    tail: u16,
    /// Buffer behind each buffer id, while it is lent.
    lent: Box<[Option<Lease>]>,
    free_ids: Vec<u16>,
    pool: Pool,
}

impl Provided {
    /// Registers a group for up to `wanted` buffers of `pool`.
    ///
    /// # Errors
    /// What `mmap` or the registration says; `EINVAL` before kernel 5.19.
    pub(super) fn register(ring: &IoUring, pool: Pool, wanted: u32) -> io::Result<Self> {
        let limit = wanted.min(PROVIDED_MAX).min(pool.count() / 2).max(1);
        let limit = u16::try_from(limit).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let entries = limit.next_power_of_two();
        let map = Mapping::anonymous(usize::from(entries) * size_of::<BufRingEntry>())?;
        let address = map.base().as_ptr().addr() as u64;
        // JUSTIFICATION: the crate has no safe wrapper for buffer rings.
        // SAFETY: the mapping is page-aligned, as long as `entries` entries, and lives until `unregister` or
        // the end of the ring, whichever comes first (`UringRing::teardown`).
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(address, entries, GROUP, 0)?
        };
        Ok(Self {
            map,
            mask: entries - 1,
            tail: 0,
            lent: (0..limit).map(|_| None).collect(),
            free_ids: (0..limit).rev().collect(),
            pool,
        })
    }

    /// Lends pool buffers until the group is full or the pool is empty.
    pub(super) fn top_up(&mut self) {
        let before = self.tail;
        while let Some(&bid) = self.free_ids.last() {
            let Some(lease) = self.pool.take() else { break };
            self.free_ids.pop();
            self.publish(bid, &lease);
            self.lent[usize::from(bid)] = Some(lease);
        }
        if self.tail != before {
            self.tail_cell().store(self.tail, Ordering::Release);
        }
    }

    /// Takes back the buffer that a completion names, with no data counted in. `None` if it names one that is
    /// not lent.
    pub(super) fn take(&mut self, bid: u16) -> Option<Lease> {
        let lease = self.lent.get_mut(usize::from(bid))?.take()?;
        self.free_ids.push(bid);
        Some(lease)
    }

    /// Buffers that the kernel can take.
    pub(super) fn available(&self) -> u32 {
        let lent = self.lent.len() - self.free_ids.len();
        u32::try_from(lent).unwrap_or(u32::MAX)
    }

    /// Most buffers that are lent at a time.
    pub(super) fn limit(&self) -> usize {
        self.lent.len()
    }

    /// Ends the group and gives the lent buffers back. No receive may be in flight.
    pub(super) fn unregister(&mut self, ring: &IoUring) {
        if ring.submitter().unregister_buf_ring(GROUP).is_err() {
            self.abandon();
        }
        self.lent = Box::default();
        // Without ids nothing is lent again.
        self.free_ids = Vec::new();
    }

    /// Ends the group of a kernel that may still write to the lent buffers: nobody gets them again, and each
    /// lease keeps its slab mapped.
    pub(super) fn abandon(&mut self) {
        std::mem::take(&mut self.lent)
            .into_iter()
            .for_each(std::mem::forget);
        self.free_ids = Vec::new();
    }

    /// Writes the description of a buffer behind the published ones.
    fn publish(&mut self, bid: u16, lease: &Lease) {
        let index = usize::from(self.tail & self.mask);
        let address = lease.spare_ptr().as_ptr().addr() as u64;
        // JUSTIFICATION: the entries live in memory shared with the kernel.
        // SAFETY: `index` is below the number of entries, so the entry is in the mapping. The kernel does not
        // read it before the tail moves past it, and the setters leave the tail alone, which lies in the
        // reserved field of entry 0.
        let entry = unsafe { &mut *self.map.base().as_ptr().cast::<BufRingEntry>().add(index) };
        entry.set_addr(address);
        entry.set_len(u32::try_from(lease.spare()).unwrap_or(u32::MAX));
        entry.set_bid(bid);
        self.tail = self.tail.wrapping_add(1);
    }

    /// The tail that the kernel reads.
    fn tail_cell(&self) -> &AtomicU16 {
        let base = self.map.base().as_ptr().cast::<BufRingEntry>();
        // JUSTIFICATION: the tail overlaps entry 0 by the kernel's definition.
        // SAFETY: `base` is the first entry of a registered group, mapped and zeroed.
        let tail = unsafe { BufRingEntry::tail(base) };
        // JUSTIFICATION: as above.
        // SAFETY: aligned to two bytes, mapped while `self` lives, and accessed as an atomic only (the kernel
        // aside).
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }
    }
}

/// Number of the group.
pub(super) const GROUP: u16 = 0;
/// Most buffers lent to the kernel at a time.
const PROVIDED_MAX: u32 = 256;
