//! What a rule allows.

use core::ops::BitOr;

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rights(u8);

impl Rights {
    /// No right.
    pub const NONE: Self = Self(0);
    /// May register as a listener.
    pub const LISTEN: Self = Self(1);
    /// May connect as a sender.
    pub const SEND: Self = Self(2);
    /// May do everything.
    pub const MANAGE: Self = Self(4);

    /// Whether every right of `needed` is granted; [`Rights::MANAGE`] implies the others.
    #[must_use]
    pub const fn contains(self, needed: Self) -> bool {
        self.0 & Self::MANAGE.0 != 0 || self.0 & needed.0 == needed.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manage_implies_both_and_neither_implies_the_other() {
        let both = Rights::LISTEN | Rights::SEND;
        assert!(Rights::MANAGE.contains(both));
        assert!(both.contains(Rights::SEND) && both.contains(both));
        assert!(!both.contains(Rights::MANAGE));
        assert!(!Rights::LISTEN.contains(Rights::SEND));
        assert!(!Rights::LISTEN.contains(both));
        assert!(!Rights::NONE.contains(Rights::LISTEN) && Rights::NONE.contains(Rights::NONE));
    }
}
