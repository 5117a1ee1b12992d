//! Tests of the simulated network and of the ring on it.

mod net;
