//! Whole programs on a simulated network, through the public interface only.

mod harness;
mod proxy;
mod scene;

mod classic;
mod failures;
mod pressure;
mod rendezvous;
mod tokens;
mod tunnel;
