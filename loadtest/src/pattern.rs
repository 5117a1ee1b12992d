//! Bytes that can be checked wherever they arrive, at the price of one comparison.

/// One block repeated for ever. Its length is a prime number, so that a piece that was lost or sent twice never fits.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// The block twice: any window of up to one block length can be borrowed without wrapping.
    twice: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut block = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend(state.to_le_bytes());
        }
        block.truncate(BLOCK);
        Self {
            twice: block.repeat(2),
        }
    }

    /// `len` bytes of the stream from `position` on; `len` is at most [`WINDOW_MAX`].
    pub(crate) fn window(&self, position: u64, len: usize) -> &[u8] {
        let start = (position % BLOCK as u64) as usize;
        &self.twice[start..start + len]
    }
}

/// Longest window, bytes.
pub(crate) const WINDOW_MAX: usize = 256 * 1024;
/// The first prime number over [`WINDOW_MAX`].
const BLOCK: usize = 262_147;
