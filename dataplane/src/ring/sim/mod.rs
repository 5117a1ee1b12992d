//! A deterministic network in virtual time, and a ring on it with the completion semantics of the kernel's.
#![forbid(unsafe_code)]

mod client;
mod faults;
mod net;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod world;

pub use client::{SimListener, SimSocket};
pub use faults::SimConfig;
pub use net::{CLIENT_HOST, SimCounters, SimNet};
