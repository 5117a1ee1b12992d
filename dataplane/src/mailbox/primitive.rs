//! The building blocks of a mailbox, replaced by those of the model checker under `cfg(loom)`.

#[cfg(not(loom))]
pub(super) use self::native::*;

#[cfg(loom)]
pub(super) use self::model::*;

#[cfg(not(loom))]
mod native {
    pub(in crate::mailbox) use std::sync::Arc;
    pub(in crate::mailbox) use std::sync::atomic::{AtomicBool, Ordering, fence};

    pub(in crate::mailbox) use crossbeam_queue::ArrayQueue as Queue;
}

#[cfg(loom)]
mod model {
    use std::collections::VecDeque;

    pub(in crate::mailbox) use loom::sync::Arc;
    use loom::sync::Mutex;
    use loom::sync::atomic::AtomicUsize;
    pub(in crate::mailbox) use loom::sync::atomic::{AtomicBool, Ordering, fence};

    /// A queue that promises no order between its emptiness and other variables: only the mailbox's own
    /// fences do.
    #[derive(Debug)]
    pub(in crate::mailbox) struct Queue<T> {
        items: Mutex<VecDeque<T>>,
        len: AtomicUsize,
        capacity: usize,
    }

    impl<T> Queue<T> {
        pub(in crate::mailbox) fn new(capacity: usize) -> Self {
            Self {
                items: Mutex::new(VecDeque::new()),
                len: AtomicUsize::new(0),
                capacity,
            }
        }

        pub(in crate::mailbox) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().expect("no thread panics with the lock held");
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            self.len.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        pub(in crate::mailbox) fn pop(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            let item = self
                .items
                .lock()
                .expect("no thread panics with the lock held")
                .pop_front()?;
            self.len.fetch_sub(1, Ordering::Relaxed);
            Some(item)
        }

        pub(in crate::mailbox) fn is_empty(&self) -> bool {
            self.len.load(Ordering::Relaxed) == 0
        }
    }
}
