//! A byte string of bounded length that lives inside its owner.

/// Up to `N` bytes, `N` at most 255.
#[derive(Clone, Copy)]
pub(super) struct Inline<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

impl<const N: usize> Inline<N> {
    const FITS: () = assert!(N <= u8::MAX as usize, "the length is one byte");

    pub(super) const fn new() -> Self {
        const { Self::FITS };
        Self {
            len: 0,
            bytes: [0; N],
        }
    }

    /// Appends as much of `from` as fits and returns how much that was.
    pub(super) fn extend_cut(&mut self, from: &[u8]) -> usize {
        let free = self.bytes.get_mut(usize::from(self.len)..).unwrap_or_default();
        let taken = free.len().min(from.len());
        for (to, byte) in free.iter_mut().zip(from) {
            *to = *byte;
        }
        // At most N, which fits.
        self.len = self.len.saturating_add(u8::try_from(taken).unwrap_or(u8::MAX));
        taken
    }

    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..usize::from(self.len)).unwrap_or_default()
    }
}

impl<const N: usize> PartialEq for Inline<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<const N: usize> Eq for Inline<N> {}

impl<const N: usize> core::fmt::Debug for Inline<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.as_slice().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Inline;

    #[test]
    fn takes_what_fits() {
        let mut inline = Inline::<3>::new();
        assert_eq!(inline.extend_cut(&[1, 2]), 2);
        assert_eq!(inline.extend_cut(&[3, 4]), 1);
        assert_eq!(inline.extend_cut(&[5]), 0);
        assert_eq!(inline.as_slice(), [1, 2, 3]);
        inline.clear();
        assert!(inline.as_slice().is_empty());
    }

    #[test]
    fn compares_what_is_held_only() {
        let mut one = Inline::<4>::new();
        one.extend_cut(&[1, 2]);
        one.clear();
        assert_eq!(one, Inline::new());
    }
}
