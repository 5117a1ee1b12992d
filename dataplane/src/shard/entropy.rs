//! Random numbers of a shard: secrets from the operating system, or everything from one seed in a simulation.

/// Source of random bytes.
#[derive(Debug)]
pub struct Entropy {
    fast: fastrand::Rng,
    seeded: bool,
    /// Bytes from the operating system, fetched many at a time.
    store: [u8; 256],
    left: usize,
}

impl Entropy {
    /// Secrets come from the operating system.
    #[must_use]
    pub fn from_os() -> Self {
        Self {
            fast: fastrand::Rng::new(),
            seeded: false,
            store: [0; 256],
            left: 0,
        }
    }

    /// Everything comes from `seed`: for simulations only.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            fast: fastrand::Rng::with_seed(seed),
            seeded: true,
            store: [0; 256],
            left: 0,
        }
    }

    /// 16 bytes that nobody can guess.
    ///
    /// # Panics
    /// The operating system has no randomness to give: nothing that is built on secrets may go on.
    pub fn secret(&mut self) -> [u8; 16] {
        let mut out = [0; 16];
        if self.seeded {
            self.fast.fill(&mut out);
            return out;
        }
        if self.left < out.len() {
            getrandom::fill(&mut self.store).expect("the operating system gives random bytes");
            self.left = self.store.len();
        }
        self.left -= out.len();
        let taken = &mut self.store[self.left..self.left + out.len()];
        out.copy_from_slice(taken);
        taken.fill(0);
        out
    }

    /// A masking key (RFC 6455 section 5.3). Keys keep intermediaries from being steered by payload; they are no secret.
    pub fn mask(&mut self) -> [u8; 4] {
        self.fast.u32(..).to_ne_bytes()
    }

    /// A number in `0..bound`, for jitter and spreading.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.fast.u64(..bound) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_repeat_and_leave_no_trace() {
        let mut entropy = Entropy::from_os();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            assert!(seen.insert(entropy.secret()));
        }
        assert!(entropy.store[entropy.left..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_seed_gives_the_same_run() {
        let (mut a, mut b) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!(
            (a.secret(), a.mask(), a.below(1000)),
            (b.secret(), b.mask(), b.below(1000))
        );
    }
}
