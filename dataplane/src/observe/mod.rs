//! What operators see: log lines, counters and their text for Prometheus.

pub mod counters;
pub mod log;
mod log_file;
pub mod metrics;

pub use counters::{Counter, Counters, ShardStats};
