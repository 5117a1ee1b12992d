//! Payload memory: pools of fixed-size buffers, owned leases, shared ranges, and chains of ranges to send.
//!
//! * [`Pool`] owns one lazily touched slab per shard and size class; nothing else allocates payload memory on
//!   a hot path.
//! * [`Lease`] is one buffer with one owner who may write to it.
//! * [`Chunk`] is a shared, immutable range of a buffer (or of heap or static memory).
//! * [`Gather`] is an ordered chain of chunks in the form that one send takes.
//!
//! **Invariants.** A buffer is on the free list, or has one `Lease`, or has at least one `Chunk`: never two of
//! these. It goes back to the free list when its last holder is dropped. A lease whose buffer the kernel may
//! write to is not looked at until the kernel has answered. All types are `!Send`: a buffer never leaves the
//! thread of its shard. The slab outlives every holder.
#![expect(
    unsafe_code,
    reason = "buffers are written by the kernel and live outside the allocator"
)]

mod chunk;
mod gather;
mod lease;
mod pool;

pub use chunk::Chunk;
pub(crate) use gather::Exposed;
pub use gather::{Gather, IOV_MAX_PER_SEND};
pub use lease::Lease;
pub use pool::{HEADROOM, Pool, PoolConfig};

#[cfg(test)]
mod tests;
