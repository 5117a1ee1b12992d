//! Shared, immutable ranges of bytes.

use std::ops::Range;
use std::rc::Rc;

use super::pool::Pool;

/// A range of bytes that others may share. A clone is a reference count.
///
/// A chunk of a pool buffer keeps the whole buffer from being used again; [`Chunk::copied`] ends that.
pub struct Chunk {
    owner: Owner,
    start: usize,
    len: usize,
}

enum Owner {
    Pool { pool: Pool, id: u32 },
    Vec(Rc<Vec<u8>>),
    Slice(Rc<[u8]>),
    Static(&'static [u8]),
}

impl Chunk {
    /// Takes over a vector without copying it.
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self {
            owner: Owner::Vec(Rc::new(bytes)),
            start: 0,
            len,
        }
    }

    /// Refers to static bytes.
    #[must_use]
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Self {
            owner: Owner::Static(bytes),
            start: 0,
            len: bytes.len(),
        }
    }

    /// Copies `bytes` to the heap, in exactly their size.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self {
            owner: Owner::Slice(Rc::from(bytes)),
            start: 0,
            len: bytes.len(),
        }
    }

    /// Takes over one reference to the buffer.
    pub(super) fn pooled(pool: Pool, id: u32, start: usize, len: usize) -> Self {
        debug_assert!(start + len <= pool.buffer_len());
        Self {
            owner: Owner::Pool { pool, id },
            start,
            len,
        }
    }

    /// Appends `bytes` to a vector that nobody else sees and that has room for them; `false` if this chunk is none.
    pub(super) fn try_append(&mut self, bytes: &[u8]) -> bool {
        let end = self.start + self.len;
        match &mut self.owner {
            Owner::Vec(shared) => match Rc::get_mut(shared) {
                Some(vec) if end == vec.len() && vec.capacity() - vec.len() >= bytes.len() => {
                    vec.extend_from_slice(bytes);
                    self.len += bytes.len();
                    true
                }
                _ => false,
            },
            Owner::Pool { .. } | Owner::Slice(_) | Owner::Static(_) => false,
        }
    }

    /// Drops the first `n` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len, "advance past the end of a chunk");
        self.start += n;
        self.len -= n;
    }

    /// A part, sharing the memory.
    ///
    /// # Panics
    /// If the range ends behind the chunk.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "range outside the chunk"
        );
        let mut part = self.clone();
        part.start += range.start;
        part.len = range.len();
        part
    }

    /// A copy of just this range on the heap, so that a pool buffer is not held for it.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self::from_slice(self.as_slice())
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.owner {
            Owner::Pool { pool, id } => {
                let at = pool.ptr_at(*id, self.start);
                // JUSTIFICATION: the bytes live in a mapping, not in a Rust object.
                // SAFETY: start + len is at most the buffer's length; mapped memory is initialised; a buffer
                // with a chunk has no lease and is not lent, so nobody writes to it.
                unsafe { std::slice::from_raw_parts(at.as_ptr(), self.len) }
            }
            Owner::Vec(bytes) => &bytes[self.start..self.start + self.len],
            Owner::Slice(bytes) => &bytes[self.start..self.start + self.len],
            Owner::Static(bytes) => &bytes[self.start..self.start + self.len],
        }
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this range keeps a pool buffer busy.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        matches!(self.owner, Owner::Pool { .. })
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        let owner = match &self.owner {
            Owner::Pool { pool, id } => {
                pool.retain(*id);
                Owner::Pool {
                    pool: pool.clone(),
                    id: *id,
                }
            }
            Owner::Vec(bytes) => Owner::Vec(Rc::clone(bytes)),
            Owner::Slice(bytes) => Owner::Slice(Rc::clone(bytes)),
            Owner::Static(bytes) => Owner::Static(bytes),
        };
        Self {
            owner,
            start: self.start,
            len: self.len,
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Owner::Pool { pool, id } = &self.owner {
            pool.release(*id);
        }
    }
}

impl std::fmt::Debug for Chunk {
    /// Says what kind of memory it is and how long; never the bytes, which belong to users.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.owner {
            Owner::Pool { .. } => "pool",
            Owner::Vec(_) | Owner::Slice(_) => "heap",
            Owner::Static(_) => "static",
        };
        f.debug_struct("Chunk")
            .field("memory", &kind)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
