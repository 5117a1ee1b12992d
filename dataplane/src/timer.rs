//! Deadlines of one shard: a hierarchical timing wheel.
//!
//! Setting and cancelling take constant time and, once the table has grown, no allocation. Time moves only in
//! [`Timers::expire`]; nothing here reads a clock.
//!
//! Granularity is one millisecond. A deadline is rounded up, so a timer is never early, and late by less than
//! that (the sleeper's own lateness aside).
//!
//! Level `k` has 64 slots of `64^k` ms each. **Invariant**: an entry on level `k` agrees with the wheel's
//! present tick in all digits (base 64) above `k`, and its digit `k` is larger than the present one. So the
//! first occupied slot of the lowest occupied level comes next; when it is reached, its entries are due
//! (level 0) or move to lower levels.

use viaduct_proto::time::Now;

use crate::ring::Token;

/// A set of deadlines, each with a token.
#[derive(Debug)]
pub struct Timers {
    /// Milliseconds; every timer up to here has been made due.
    tick: u64,
    levels: [Level; LEVELS],
    /// Expired, not handed out yet; oldest first.
    due: Option<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
}

/// Names one timer, for cancelling it. Stale keys are harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    /// One bit per slot that has entries.
    occupied: u64,
    /// First entry of each slot's list.
    heads: [Option<u32>; SLOTS],
}

/// Entries of a slot form a ring: the first one's `prev` is the last.
#[derive(Debug)]
struct Entry {
    tick: u64,
    token: Token,
    generation: u32,
    prev: u32,
    next: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Due,
    Slot { level: u8, slot: u8 },
}

impl Default for Timers {
    fn default() -> Self {
        Self::new()
    }
}

impl Timers {
    /// No timers.
    #[must_use]
    pub fn new() -> Self {
        let level = Level {
            occupied: 0,
            heads: [None; SLOTS],
        };
        Self {
            tick: 0,
            levels: [level; LEVELS],
            due: None,
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Sets a timer: [`Self::expire`] gives `token` once when it is called with a time of `at` or later.
    pub fn set(&mut self, at: Now, token: Token) -> TimerKey {
        let tick = at.0.div_ceil(NANOS_PER_TICK);
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.entries.len()).expect("memory runs out before 2^32 timers");
                self.entries.push(Entry {
                    tick,
                    token,
                    generation: 0,
                    prev: 0,
                    next: 0,
                    place: Place::Free,
                });
                index
            }
        };
        let entry = self.entry(index);
        (entry.tick, entry.token) = (tick, token);
        let generation = entry.generation;
        self.place(index);
        TimerKey { index, generation }
    }

    /// Cancels a timer; `false` if it has been handed out or cancelled already.
    pub fn cancel(&mut self, key: TimerKey) -> bool {
        let known = self
            .entries
            .get(key.index as usize)
            .is_some_and(|entry| entry.generation == key.generation);
        if known {
            self.unlink(key.index);
            self.release(key.index);
        }
        known
    }

    /// Appends the tokens of timers whose time has come, in order of their time, at most [`EXPIRE_MAX`] of
    /// them. What is left makes [`Self::next`] answer with a time that has passed.
    pub fn expire(&mut self, now: Now, out: &mut Vec<Token>) {
        let target = now.0 / NANOS_PER_TICK;
        let mut room = EXPIRE_MAX;
        loop {
            while room > 0
                && let Some(index) = self.due
            {
                self.unlink(index);
                out.push(self.entry(index).token);
                self.release(index);
                room -= 1;
            }
            if room == 0 {
                return;
            }
            match self.upcoming() {
                Some((level, slot, start)) if start <= target => self.reach(level, slot, start),
                _ => break,
            }
        }
        self.tick = self.tick.max(target);
    }

    /// When to call [`Self::expire`] next: not later than the earliest deadline (rounded up), sometimes
    /// earlier, when far timers have to move to a finer level. `None` without timers.
    #[must_use]
    pub fn next(&self) -> Option<Now> {
        let tick = if self.due.is_some() {
            self.tick
        } else {
            self.upcoming()?.2
        };
        Some(Now(tick.saturating_mul(NANOS_PER_TICK)))
    }

    /// Number of timers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether there are no timers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The occupied slot that comes next, and the tick at which it starts.
    fn upcoming(&self) -> Option<(usize, usize, u64)> {
        self.levels.iter().enumerate().find_map(|(level, it)| {
            let slot = it.occupied.trailing_zeros() as usize;
            (it.occupied != 0).then(|| (level, slot, start_of(self.tick, level, slot)))
        })
    }

    /// Moves time to the start of a slot and empties it.
    fn reach(&mut self, level: usize, slot: usize, start: u64) {
        self.tick = start;
        while let Some(index) = self.levels[level].heads[slot] {
            self.unlink(index);
            self.place(index);
        }
    }

    /// Puts an unlinked entry where its tick belongs.
    fn place(&mut self, index: u32) {
        let tick = self.entry(index).tick;
        if tick <= self.tick {
            self.entry(index).place = Place::Due;
            self.due = Some(self.append(self.due, index));
            return;
        }
        // The highest digit in which the two differ.
        let level = ((tick ^ self.tick).ilog2() / DIGIT_BITS) as usize;
        let slot = digit(tick, level);
        self.entry(index).place = Place::Slot {
            level: level as u8,
            slot: slot as u8,
        };
        let head = self.append(self.levels[level].heads[slot], index);
        self.levels[level].heads[slot] = Some(head);
        self.levels[level].occupied |= 1 << slot;
    }

    /// Appends an entry to a list and returns the list's head.
    fn append(&mut self, head: Option<u32>, index: u32) -> u32 {
        let first = head.unwrap_or(index);
        let last = if head.is_some() {
            self.entry(first).prev
        } else {
            index
        };
        self.entry(last).next = index;
        self.entry(first).prev = index;
        let entry = self.entry(index);
        (entry.prev, entry.next) = (last, first);
        first
    }

    /// Takes an entry out of its list.
    fn unlink(&mut self, index: u32) {
        let Entry {
            prev, next, place, ..
        } = *self.entry(index);
        self.entry(prev).next = next;
        self.entry(next).prev = prev;
        let rest = (next != index).then_some(next);
        match place {
            Place::Free => {}
            Place::Due => {
                if self.due == Some(index) {
                    self.due = rest;
                }
            }
            Place::Slot { level, slot } => {
                let level = &mut self.levels[usize::from(level)];
                let head = &mut level.heads[usize::from(slot)];
                if *head == Some(index) {
                    *head = rest;
                }
                if head.is_none() {
                    level.occupied &= !(1 << slot);
                }
            }
        }
    }

    /// Makes an unlinked entry free.
    fn release(&mut self, index: u32) {
        let entry = self.entry(index);
        entry.place = Place::Free;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(index);
    }

    fn entry(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }
}

/// Digit `level` of a tick in base 64.
const fn digit(tick: u64, level: usize) -> usize {
    (tick >> (DIGIT_BITS * level as u32)) as usize % SLOTS
}

/// First tick of a slot, in the present turn of its level.
const fn start_of(tick: u64, level: usize, slot: usize) -> u64 {
    let shift = DIGIT_BITS * level as u32;
    let above = (tick >> shift) / SLOTS as u64;
    (above * SLOTS as u64 + slot as u64) << shift
}

/// Most tokens that one [`Timers::expire`] hands out.
pub const EXPIRE_MAX: usize = 1024;
const NANOS_PER_TICK: u64 = 1_000_000;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Enough digits for every time in nanoseconds that a `u64` holds.
const LEVELS: usize = 8;
const _: () = assert!((u64::MAX / NANOS_PER_TICK + 1).ilog2() < DIGIT_BITS * LEVELS as u32);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const MS: u64 = NANOS_PER_TICK;

    fn token(n: usize) -> Token {
        Token::new(u32::try_from(n).unwrap(), 0, 0)
    }

    fn expired(timers: &mut Timers, now: u64) -> Vec<Token> {
        let mut out = Vec::new();
        timers.expire(Now(now), &mut out);
        out
    }

    #[test]
    fn a_timer_is_never_early_and_fires_once() {
        let mut timers = Timers::new();
        timers.set(Now(5 * MS + 1), token(1));
        assert!(expired(&mut timers, 5 * MS + 999_999).is_empty());
        assert_eq!(timers.next(), Some(Now(6 * MS)));
        assert_eq!(expired(&mut timers, 6 * MS), [token(1)]);
        assert_eq!((timers.next(), timers.is_empty()), (None, true));
    }

    #[test]
    fn a_stale_key_cancels_nothing() {
        let mut timers = Timers::new();
        let old = timers.set(Now(MS), token(1));
        assert!(timers.cancel(old) && !timers.cancel(old));
        timers.set(Now(MS), token(2));
        assert!(!timers.cancel(old), "the slot was reused");
        assert_eq!(expired(&mut timers, MS), [token(2)]);
    }

    #[test]
    fn a_burst_is_handed_out_in_bounded_portions() {
        let mut timers = Timers::new();
        for n in 0..EXPIRE_MAX + 5 {
            timers.set(Now(70 * MS), token(n));
        }
        let first = expired(&mut timers, 80 * MS);
        assert_eq!(first.len(), EXPIRE_MAX);
        assert!(
            timers.next().is_some_and(|at| at <= Now(80 * MS)),
            "the rest is due at once"
        );
        let rest = expired(&mut timers, 80 * MS);
        assert_eq!(
            [first, rest].concat(),
            (0..EXPIRE_MAX + 5).map(token).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_largest_time_can_be_set() {
        let mut timers = Timers::new();
        timers.expire(Now(123 * MS), &mut Vec::new());
        timers.set(Now(u64::MAX), token(1));
        assert!(expired(&mut timers, u64::MAX / 2).is_empty());
        assert!(timers.next().is_some());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0..3 * MS, 0..300 * MS, 0..10_000_000 * MS];
        prop_oneof![
            3 => span.clone().prop_map(Step::Set),
            1 => (0usize..64).prop_map(Step::Cancel),
            2 => span.prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_an_ordered_map(start in 0u64..1 << 50, steps in proptest::collection::vec(step(), 1..120)) {
            let mut timers = Timers::new();
            let mut now = start;
            let mut oracle = BTreeMap::new();
            let mut keys = Vec::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Set(after) => {
                        let at = now + after;
                        keys.push((timers.set(Now(at), token(n)), (at.div_ceil(MS), n)));
                        oracle.insert((at.div_ceil(MS), n), token(n));
                    }
                    Step::Cancel(which) if !keys.is_empty() => {
                        let (key, id) = keys[which % keys.len()];
                        prop_assert_eq!(timers.cancel(key), oracle.remove(&id).is_some());
                    }
                    Step::Cancel(_) => {}
                    Step::Advance(by) => {
                        now += by;
                        let mut got = expired(&mut timers, now);
                        let later = oracle.split_off(&(now / MS + 1, 0));
                        let mut expected: Vec<_> = std::mem::replace(&mut oracle, later).into_values().collect();
                        got.sort_by_key(|token| token.index());
                        expected.sort_by_key(|token| token.index());
                        prop_assert_eq!(got, expected);
                        prop_assert!(timers.next().is_none_or(|at| at.0 > now));
                    }
                }
                let earliest = oracle.keys().next().map(|&(tick, _)| Now(tick * MS));
                prop_assert_eq!(timers.next().is_some(), earliest.is_some());
                prop_assert!(timers.next() <= earliest);
                prop_assert_eq!(timers.len(), oracle.len());
            }
        }
    }
}
