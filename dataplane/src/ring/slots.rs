//! The table of operations in flight, the same for every ring.
//!
//! **Invariants.** What the kernel may still read or write (a lease, a gather, an address) belongs to the
//! entry and leaves it only with the final completion. Freeing an entry raises its generation, so a key or a
//! completion from before finds nothing.

use std::io;

use super::op::{Completion, Fd, Interest, Op, OpKey, Outcome, Readiness, RecvInto, Token};
use crate::buf::{Gather, Lease};
use crate::sys::sockaddr::SockAddr;

/// Operations in flight.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

/// One operation in flight.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) token: Token,
    pub(crate) fd: Fd,
    /// A cancel or a close was asked for.
    pub(crate) cancelled: bool,
    /// The kernel gave it back with `EAGAIN` or `EINTR`; the next start waits for readiness first.
    pub(crate) retried: bool,
    pub(crate) held: Held,
}

/// What an operation needs while it is in flight.
#[derive(Debug)]
pub(crate) enum Held {
    Accept,
    /// Boxed, because the kernel reads the address from where it is.
    Connect(Box<SockAddr>),
    Poll(Interest),
    RecvProvided,
    RecvLease(Lease),
    Send(Box<Gather>),
}

impl Slots {
    /// Takes an operation in.
    pub(crate) fn insert(&mut self, op: Op, token: Token) -> OpKey {
        let fd = op.fd();
        let held = match op {
            Op::Accept { .. } => Held::Accept,
            Op::Connect { addr, .. } => Held::Connect(Box::new(SockAddr::new(&addr))),
            Op::Poll { flags, .. } => Held::Poll(flags),
            Op::Recv {
                into: RecvInto::Provided,
                ..
            } => Held::RecvProvided,
            Op::Recv {
                into: RecvInto::Lease(lease),
                ..
            } => Held::RecvLease(lease),
            Op::Send { gather, .. } => Held::Send(gather),
        };
        let entry = Some(Entry {
            token,
            fd,
            cancelled: false,
            retried: false,
            held,
        });
        self.len += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.entry = entry;
            return OpKey {
                index,
                generation: slot.generation,
            };
        }
        let index = u32::try_from(self.slots.len()).expect("descriptors run out long before 2^32 operations");
        self.slots.push(Slot { generation: 0, entry });
        OpKey { index, generation: 0 }
    }

    /// The operation, unless the key is stale.
    pub(crate) fn get_mut(&mut self, key: OpKey) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation {
            slot.entry.as_mut()
        } else {
            None
        }
    }

    /// Takes the operation out with everything it holds, unless the key is stale.
    pub(crate) fn remove(&mut self, key: OpKey) -> Option<Entry> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1) & OpKey::GENERATION_MAX;
        self.free.push(key.index);
        self.len -= 1;
        Some(entry)
    }

    /// Keys of all operations.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn keys(&self) -> impl Iterator<Item = OpKey> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.entry.is_some())
            .map(|(index, slot)| {
                // The table never grows past u32, see `insert`.
                OpKey {
                    index: index as u32,
                    generation: slot.generation,
                }
            })
    }

    /// Number of operations.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Entry {
    /// The direction of the socket that this operation occupies.
    pub(crate) fn lane(&self) -> Lane {
        match self.held {
            Held::Accept | Held::RecvProvided | Held::RecvLease(_) => Lane::Read,
            Held::Connect(_) | Held::Send(_) => Lane::Write,
            Held::Poll(_) => Lane::Poll,
        }
    }

    /// The final completion of an operation that succeeded with `n`: a byte count, or the flags that a poll
    /// found. `provided` is the buffer of a provided receive; its data is counted in here.
    pub(crate) fn completed(self, n: usize, provided: Option<Lease>) -> Completion {
        let outcome = match self.held {
            // Connections are reported one by one, before the last; an accept that ends without one was
            // cancelled.
            Held::Accept => Outcome::Accepted(Err(io::Error::from_raw_os_error(libc::ECANCELED))),
            Held::Connect(_) => Outcome::Connected(Ok(())),
            Held::Poll(_) => Outcome::Polled(Ok(Readiness::from_poll_flags(n))),
            Held::RecvProvided => Outcome::Received {
                result: Ok(n),
                lease: provided.map(|it| grown(it, n)),
            },
            Held::RecvLease(lease) => Outcome::Received {
                result: Ok(n),
                lease: Some(grown(lease, n)),
            },
            Held::Send(gather) => Outcome::Sent {
                result: Ok(n),
                gather,
            },
        };
        Completion {
            token: self.token,
            more: false,
            outcome,
        }
    }

    /// The final completion of an operation that failed; it carries everything that was held.
    pub(crate) fn failed(self, errno: i32) -> Completion {
        let error = io::Error::from_raw_os_error(errno);
        let outcome = match self.held {
            Held::Accept => Outcome::Accepted(Err(error)),
            Held::Connect(_) => Outcome::Connected(Err(error)),
            Held::Poll(_) => Outcome::Polled(Err(error)),
            Held::RecvProvided => Outcome::Received {
                result: Err(error),
                lease: None,
            },
            Held::RecvLease(lease) => Outcome::Received {
                result: Err(error),
                lease: Some(lease),
            },
            Held::Send(gather) => Outcome::Sent {
                result: Err(error),
                gather,
            },
        };
        Completion {
            token: self.token,
            more: false,
            outcome,
        }
    }

    /// Occupies the operation's lane of its socket (`None`: the ring has no such socket).
    ///
    /// # Errors
    /// The errno that refuses it. A receive into a full buffer is one: its result would look like the end of
    /// the stream.
    pub(crate) fn admit(&self, key: OpKey, lanes: Option<&mut Lanes>) -> Result<(), i32> {
        if matches!(&self.held, Held::RecvLease(lease) if lease.spare() == 0) {
            return Err(libc::EINVAL);
        }
        let lanes = lanes.ok_or(libc::EBADF)?;
        if lanes.claim(self.lane(), key) {
            Ok(())
        } else {
            Err(libc::EBUSY)
        }
    }
}

/// Counts in `n` bytes that were written behind the data.
fn grown(mut lease: Lease, n: usize) -> Lease {
    lease.set_filled(lease.filled() + n);
    lease
}

/// What an operation occupies of its socket: one operation per lane, or a byte stream would lose its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Read,
    Write,
    Poll,
}

/// The operations of one socket, one per lane.
#[derive(Debug, Default)]
pub(crate) struct Lanes([Option<OpKey>; 3]);

impl Lanes {
    /// Occupies a lane; `false` if it is occupied already.
    pub(crate) fn claim(&mut self, lane: Lane, key: OpKey) -> bool {
        let place = &mut self.0[lane as usize];
        if place.is_some() {
            return false;
        }
        *place = Some(key);
        true
    }

    /// Empties the lane if `key` occupies it.
    pub(crate) fn release(&mut self, lane: Lane, key: OpKey) {
        let place = &mut self.0[lane as usize];
        if *place == Some(key) {
            *place = None;
        }
    }

    pub(crate) fn get(&self, lane: Lane) -> Option<OpKey> {
        self.0[lane as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The operations; a copy, so that they can be ended while it is walked.
    pub(crate) fn keys(&self) -> impl Iterator<Item = OpKey> + use<> {
        self.0.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(fd: i32) -> Op {
        Op::Poll {
            fd: Fd(fd),
            flags: Interest::READ,
        }
    }

    #[test]
    fn a_reused_slot_does_not_answer_to_its_old_key() {
        let mut slots = Slots::default();
        let old = slots.insert(poll(3), Token::new(1, 0, 0));
        assert!(slots.remove(old).is_some());
        let new = slots.insert(poll(4), Token::new(2, 0, 0));
        assert_eq!(old.index, new.index);
        assert!(slots.get_mut(old).is_none() && slots.remove(old).is_none());
        assert_eq!(slots.get_mut(new).map(|entry| entry.fd), Some(Fd(4)));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn keys_lists_what_is_in_flight() {
        let mut slots = Slots::default();
        let keys: Vec<_> = (0..3)
            .map(|fd| slots.insert(poll(fd), Token::new(0, 0, 0)))
            .collect();
        slots.remove(keys[1]);
        assert_eq!(slots.keys().collect::<Vec<_>>(), [keys[0], keys[2]]);
    }
}
