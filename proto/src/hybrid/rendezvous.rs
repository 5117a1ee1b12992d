//! One pending rendezvous: a sender that waits for a listener to open the address it was told.
//!
//! ```text
//!            Accept            Reject            Tick at the deadline    SenderGone
//! Waiting    Joined            Rejected          TimedOut                Abandoned
//! the rest   -                 -                 -                       -
//! ```
//! `-`: the transition does not exist; an arriving listener gets [`super::Refusal::BadRendezvous`]. So an
//! address works once.

use alloc::{format, string::String};
use core::fmt::Write;

use crate::time::Now;

/// State of one rendezvous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendezvous {
    /// The listener was told, the sender waits.
    Waiting {
        /// First instant at which it is too late.
        deadline: Now,
    },
    /// Both sides are here.
    Joined,
    /// The listener said no.
    Rejected,
    /// The listener did not come in time.
    TimedOut,
    /// The sender left before the listener came.
    Abandoned,
}

/// What can happen to a rendezvous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RendezvousEvent {
    /// The listener opened the address.
    Accept,
    /// The listener opened the address with a status.
    Reject,
    /// Time passed.
    Tick,
    /// The sender's connection ended.
    SenderGone,
}

impl Rendezvous {
    /// A rendezvous that may be joined before `deadline`.
    #[must_use]
    pub const fn new(deadline: Now) -> Self {
        Self::Waiting { deadline }
    }

    /// The state after `event`, or `None` if it is not possible (any more). A `Tick` before the deadline
    /// changes nothing; whatever comes at the deadline or later finds the rendezvous timed out.
    #[must_use]
    pub const fn next(self, event: RendezvousEvent, now: Now) -> Option<Self> {
        let Self::Waiting { deadline } = self else {
            return None;
        };
        let late = now.0 >= deadline.0;
        match event {
            RendezvousEvent::Tick if late => Some(Self::TimedOut),
            RendezvousEvent::Tick => Some(self),
            RendezvousEvent::SenderGone => Some(Self::Abandoned),
            RendezvousEvent::Accept | RendezvousEvent::Reject if late => None,
            RendezvousEvent::Accept => Some(Self::Joined),
            RendezvousEvent::Reject => Some(Self::Rejected),
        }
    }

    /// A listener may still come.
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting { .. })
    }
}

/// A version 4 GUID of 16 random bytes, in lower case with hyphens (RFC 9562 section 5.4).
#[must_use]
pub fn guid(random: [u8; 16]) -> String {
    let mut bytes = random;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(GUID_LEN);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        push_hex(&mut text, *byte);
    }
    text
}

/// Id of a rendezvous: `{guid}_{nonce}_G0`. Clients insist on the GUID in front and cut ids at the first `_`,
/// so the GUID is the tracking id and may be logged, while the nonce makes the address unguessable and may
/// not.
#[must_use]
pub fn rendezvous_id(guid_random: [u8; 16], nonce: [u8; 16]) -> String {
    let mut id = format!("{}_", guid(guid_random));
    for byte in nonce {
        push_hex(&mut id, byte);
    }
    id.push_str("_G0");
    id
}

/// `id` has the form of [`rendezvous_id`], so it could be one.
#[must_use]
pub fn is_rendezvous_id(id: &str) -> bool {
    let hex = |nonce: &str| nonce.len() == 32 && nonce.bytes().all(|b| b.is_ascii_hexdigit());
    let mut parts = id.splitn(3, '_');
    let guid = parts.next().is_some_and(is_guid);
    let nonce = parts.next().is_some_and(hex);
    let hop = parts.next().is_some_and(|hop| hop.starts_with('G'));
    guid && nonce && hop
}

/// The GUID in front of a tracking or rendezvous id: the part that may be logged. `None`: the id starts with
/// none.
#[must_use]
pub fn tracking_guid(id: &str) -> Option<&str> {
    let guid = id.split('_').next()?;
    is_guid(guid).then_some(guid)
}

fn is_guid(text: &str) -> bool {
    let fits = |(at, b): (usize, u8)| match at {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_hexdigit(),
    };
    text.len() == GUID_LEN && text.bytes().enumerate().all(fits)
}

fn push_hex(text: &mut String, byte: u8) {
    // Writing to a `String` cannot fail.
    let _ = write!(text, "{byte:02x}");
}

/// Length of a GUID in text form, bytes.
const GUID_LEN: usize = 36;

#[cfg(test)]
mod tests {
    use std::{string::ToString, vec::Vec};

    use super::*;

    #[test]
    fn every_state_and_event() {
        let states = [
            Rendezvous::new(Now(10)),
            Rendezvous::Joined,
            Rendezvous::Rejected,
            Rendezvous::TimedOut,
            Rendezvous::Abandoned,
        ];
        let events = [
            RendezvousEvent::Accept,
            RendezvousEvent::Reject,
            RendezvousEvent::Tick,
            RendezvousEvent::SenderGone,
        ];
        let mut picture = Vec::new();
        for state in states {
            for now in [9, 10] {
                picture.push(events.map(|event| name(state.next(event, Now(now)))).join(" "));
            }
        }
        let expected = [
            "Joined Rejected Waiting Abandoned",
            "- - TimedOut Abandoned",
            "- - - -",
            "- - - -",
            "- - - -",
            "- - - -",
            "- - - -",
            "- - - -",
            "- - - -",
            "- - - -",
        ];
        assert_eq!(picture, expected);
    }

    #[test]
    fn ids_start_with_a_version_4_guid() {
        assert_eq!(guid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(guid([0; 16]), "00000000-0000-4000-8000-000000000000");
        let id = rendezvous_id([1; 16], [0xab; 16]);
        assert_eq!(
            id,
            "01010101-0101-4101-8101-010101010101_abababababababababababababababab_G0"
        );
        assert_eq!(tracking_guid(&id), Some("01010101-0101-4101-8101-010101010101"));
        assert!(is_rendezvous_id(&id));
        assert!(is_rendezvous_id(&(id.clone() + "_G1")));
        assert!(!is_rendezvous_id(&id[..40]));
        assert!(!is_rendezvous_id(""));
        assert_eq!(tracking_guid("13-1700000000000"), None);
        assert_eq!(tracking_guid("01010101-0101-4101-8101-01010101010ø"), None);
    }

    fn name(state: Option<Rendezvous>) -> String {
        match state {
            None => "-".to_string(),
            Some(Rendezvous::Waiting { .. }) => "Waiting".to_string(),
            Some(Rendezvous::Joined) => "Joined".to_string(),
            Some(Rendezvous::Rejected) => "Rejected".to_string(),
            Some(Rendezvous::TimedOut) => "TimedOut".to_string(),
            Some(Rendezvous::Abandoned) => "Abandoned".to_string(),
        }
    }
}
