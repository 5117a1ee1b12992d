//! What others see of a running node: counters and log.

mod stats;

pub use stats::{Counters, ShardStats};
