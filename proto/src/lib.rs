//! Protocol code of Viaduct, free of I/O.
//!
//! Everything that parses or builds a peer's bytes lives here. Bytes, time and randomness are arguments: no function reads
//! a clock, a socket, a file, the environment or a random source. So the same code runs under every ring, in fuzzers and
//! in a simulation with virtual time.
//!
//! # Driving contract
//! * *Codecs* (`parse`, `encode`) are pure. [`Parsed::Need`] says that more bytes are needed and is not an error; an error
//!   means bytes that can never become valid.
//! * *Machines* take one `on_*`/`feed`/`next` call at a time and answer with what they produced; time never goes backwards.
//! * Peer bytes never panic and never make memory grow past a bound in [`limits`].
//! * [`fault`] sorts failures by who is at fault and holds the one table from failure to what goes on the wire.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::panic
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod fault;
pub mod http1;
pub mod hybrid;
pub mod limits;
pub mod preamble;
pub mod sas;
pub mod time;
pub mod ws;

pub use fault::Violation;

/// Outcome of parsing a prefix of a byte stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<T> {
    /// The bytes so far are valid, but more are needed.
    Need,
    /// A value, and the number of bytes it took.
    Done(T, usize),
}
