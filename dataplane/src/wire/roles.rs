//! What each connection is for: a table beside the one of connections, under the same ids.

use super::WireId;

/// Values by [`WireId`]. A stale id finds nothing.
#[derive(Debug)]
pub struct Roles<T> {
    slots: Vec<Option<(u32, T)>>,
    len: usize,
}

impl<T> Default for Roles<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Roles<T> {
    /// Gives `id` a role; the one it had is returned.
    pub fn insert(&mut self, id: WireId, role: T) -> Option<T> {
        let index = id.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let slot = self.slots.get_mut(index)?;
        let old = slot.replace((id.generation, role));
        self.len += usize::from(old.is_none());
        old.filter(|(generation, _)| *generation == id.generation)
            .map(|(_, role)| role)
    }

    /// Takes the role from `id`.
    pub fn remove(&mut self, id: WireId) -> Option<T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.as_ref()?.0 != id.generation {
            return None;
        }
        self.len -= 1;
        slot.take().map(|(_, role)| role)
    }

    /// The role of `id`.
    pub fn get_mut(&mut self, id: WireId) -> Option<&mut T> {
        let (generation, role) = self.slots.get_mut(id.index as usize)?.as_mut()?;
        (*generation == id.generation).then_some(role)
    }

    /// The role of `id`.
    #[must_use]
    pub fn get(&self, id: WireId) -> Option<&T> {
        let (generation, role) = self.slots.get(id.index as usize)?.as_ref()?;
        (*generation == id.generation).then_some(role)
    }

    /// Connections with a role.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// No connection has a role.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All ids and roles.
    pub fn iter(&self) -> impl Iterator<Item = (WireId, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let (generation, role) = slot.as_ref()?;
            Some((
                WireId {
                    index: u32::try_from(index).ok()?,
                    generation: *generation,
                },
                role,
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_does_not_answer_to_its_old_id() {
        let mut roles = Roles::default();
        let old = WireId {
            index: 3,
            generation: 1,
        };
        let new = WireId {
            index: 3,
            generation: 2,
        };
        assert!(roles.insert(old, "old").is_none());
        assert!(roles.insert(new, "new").is_none());
        assert_eq!(roles.get(old), None);
        assert_eq!(roles.remove(old), None);
        assert_eq!(roles.get(new), Some(&"new"));
        assert_eq!(roles.len(), 1);
        assert_eq!(roles.remove(new), Some("new"));
        assert!(roles.is_empty());
    }
}
