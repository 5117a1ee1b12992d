//! Payload that can be checked wherever it arrives: bytes that depend on a seed and on their position.

use std::io::{self, Read, Write};

/// `len` bytes that belong to `seed`.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    Stream::new(seed).fill(&mut out);
    out
}

/// An endless stream of bytes that belongs to a seed.
#[derive(Debug)]
pub(crate) struct Stream {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            word: [0; 8],
            used: 8,
        }
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        let mut rest = out;
        while !rest.is_empty() {
            if self.used == self.word.len() {
                self.advance();
            }
            let n = rest.len().min(self.word.len() - self.used);
            let (head, tail) = rest.split_at_mut(n);
            head.copy_from_slice(&self.word[self.used..self.used + n]);
            self.used += n;
            rest = tail;
        }
    }

    /// True when `got` is what comes next in the stream.
    pub(crate) fn matches(&mut self, got: &[u8]) -> bool {
        let mut want = vec![0; got.len()];
        self.fill(&mut want);
        want == got
    }

    fn advance(&mut self) {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.word = self.state.to_le_bytes();
        self.used = 0;
    }
}

/// Writes `len` bytes of the stream of `seed`.
pub(crate) fn write(out: &mut impl Write, seed: u64, len: u64) -> io::Result<()> {
    let mut stream = Stream::new(seed);
    let mut block = vec![0; BLOCK];
    let mut left = len;
    while left > 0 {
        let n = left.min(BLOCK as u64) as usize;
        stream.fill(&mut block[..n]);
        out.write_all(&block[..n])?;
        left -= n as u64;
    }
    Ok(())
}

/// Reads to the end and says whether it was exactly `len` bytes of the stream of `seed`.
pub(crate) fn verify(input: &mut impl Read, seed: u64, len: u64) -> io::Result<bool> {
    let mut stream = Stream::new(seed);
    let mut block = vec![0; BLOCK];
    let mut seen = 0;
    loop {
        let n = input.read(&mut block)?;
        if n == 0 {
            return Ok(seen == len);
        }
        seen += n as u64;
        if seen > len || !stream.matches(&block[..n]) {
            return Ok(false);
        }
    }
}

const BLOCK: usize = 64 * 1024;
