//! A chain of chunks in the form that one send takes.

use std::collections::VecDeque;

use super::chunk::Chunk;

/// Most chunks that one send shows to the kernel.
pub const IOV_MAX_PER_SEND: usize = 64;

/// Longest chunk that is copied to others.
const MERGED_MAX: usize = 256;
/// Chunks that a gather takes as they are before it begins to merge.
const MERGE_BEHIND: usize = 8;
/// Size of the blocks that small chunks are copied into.
const MERGE_BLOCK: usize = 4096;

/// Ordered chunks to send, with the iovec array and the message header that describe them to the kernel.
///
/// It is boxed so that its header keeps its address while an operation holds it; the vectors inside keep
/// their capacity when it is reused.
pub struct Gather {
    chunks: VecDeque<Chunk>,
    len: usize,
    iov: Vec<libc::iovec>,
    header: libc::msghdr,
    /// Bytes shown by the last [`Gather::expose`].
    exposed: usize,
}

/// What one send is to transmit; pointers are valid until the gather is changed or dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exposed {
    /// One contiguous range, for SEND.
    One { ptr: *const u8, len: usize },
    /// Several ranges, for SENDMSG; `rest` says that the gather holds more than is shown.
    Many { header: *const libc::msghdr, rest: bool },
}

impl Gather {
    /// An empty chain.
    #[must_use]
    pub fn new() -> Box<Self> {
        // JUSTIFICATION: libc gives no constructor, and the struct has private padding on some targets.
        // SAFETY: msghdr is plain integers and pointers, for which all-zero is a value.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Self {
            chunks: VecDeque::new(),
            len: 0,
            iov: Vec::new(),
            header,
            exposed: 0,
        })
    }

    /// Appends a chunk; an empty one is dropped.
    pub fn push(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Appends a chunk; small ones behind others are copied together. Their descriptions would cost more than their bytes,
    /// in memory and in the system call.
    pub fn push_merging(&mut self, chunk: Chunk) {
        if chunk.len() > MERGED_MAX || self.chunks.len() < MERGE_BEHIND {
            return self.push(chunk);
        }
        if self
            .chunks
            .back_mut()
            .is_some_and(|last| last.try_append(chunk.as_slice()))
        {
            self.len += chunk.len();
        } else {
            let mut block = Vec::with_capacity(MERGE_BLOCK);
            block.extend_from_slice(chunk.as_slice());
            self.push(Chunk::from_vec(block));
        }
    }

    /// Drops the first `n` bytes, which were sent.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len, "more bytes sent than there were");
        self.len -= n;
        let mut left = n;
        while left > 0 {
            let Some(first) = self.chunks.front_mut() else {
                break;
            };
            if left < first.len() {
                first.advance(left);
                break;
            }
            left -= first.len();
            self.chunks.pop_front();
        }
    }

    /// Drops all chunks; the memory for their descriptions stays.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.len = 0;
    }

    /// Bytes to send.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks, first to last.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = &Chunk> {
        self.chunks.iter()
    }

    /// Bytes that the last send was to transmit.
    pub(crate) fn exposed(&self) -> usize {
        self.exposed
    }

    /// Describes the first [`IOV_MAX_PER_SEND`] chunks to the kernel.
    pub(crate) fn expose(&mut self) -> Exposed {
        if self.chunks.len() <= 1 {
            let bytes = self.chunks.front().map_or(&[][..], Chunk::as_slice);
            self.exposed = bytes.len();
            return Exposed::One {
                ptr: bytes.as_ptr(),
                len: bytes.len(),
            };
        }
        self.iov.clear();
        self.iov
            .extend(self.chunks.iter().take(IOV_MAX_PER_SEND).map(|chunk| {
                let bytes = chunk.as_slice();
                libc::iovec {
                    iov_base: bytes.as_ptr().cast_mut().cast(),
                    iov_len: bytes.len(),
                }
            }));
        self.header.msg_iov = self.iov.as_mut_ptr();
        self.header.msg_iovlen = self.iov.len();
        let len = self.iov.iter().map(|part| part.iov_len).sum();
        self.exposed = len;
        Exposed::Many {
            header: &raw const self.header,
            rest: len < self.len,
        }
    }
}

impl std::fmt::Debug for Gather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gather")
            .field("chunks", &self.chunks.len())
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
