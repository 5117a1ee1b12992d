//! Whole programs on a simulated network, through the public interface only.

mod harness;
mod proxy;
