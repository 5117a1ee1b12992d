//! The sockets of one ring, by number.

use super::op::Fd;

/// A table indexed by descriptor number, which the kernel keeps small and dense.
#[derive(Debug)]
pub(crate) struct FdTable<T> {
    entries: Vec<Option<T>>,
    len: usize,
}

impl<T> FdTable<T> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            len: 0,
        }
    }

    /// Takes a socket in. An entry left from an earlier socket with this number is replaced.
    pub(crate) fn insert(&mut self, fd: Fd, entry: T) {
        let Ok(index) = usize::try_from(fd.0) else {
            debug_assert!(false, "descriptor numbers are not negative");
            return;
        };
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
        }
        if let Some(place) = self.entries.get_mut(index)
            && place.replace(entry).is_none()
        {
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, fd: Fd) -> Option<T> {
        let entry = self.entries.get_mut(usize::try_from(fd.0).ok()?)?.take()?;
        self.len -= 1;
        Some(entry)
    }

    pub(crate) fn get_mut(&mut self, fd: Fd) -> Option<&mut T> {
        self.entries.get_mut(usize::try_from(fd.0).ok()?)?.as_mut()
    }

    /// All sockets; a copy, so that they can be removed while it is walked.
    pub(crate) fn all(&self) -> Vec<Fd> {
        let numbers = self.entries.iter().zip(0i32..);
        numbers
            .filter(|(entry, _)| entry.is_some())
            .map(|(_, number)| Fd(number))
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}
