//! Data plane of Viaduct: relay node and bridge on thread-per-core rings.
#![deny(unsafe_code)]

pub mod bridge;
pub mod buf;
pub mod cli;
pub mod config;
pub mod control;
pub mod mailbox;
pub mod observe;
pub mod relay;
pub mod ring;
pub mod shard;
pub mod sys;
pub mod timer;
pub mod wire;
