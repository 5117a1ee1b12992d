//! Rigs with a simulated ring.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::rig::{Rig, config};
use crate::ring::Ring;
use crate::ring::sim::{SimConfig, SimNet};

impl Rig {
    /// On a calm network.
    pub(super) fn sim() -> Self {
        Self::on_net(SimConfig::calm(1))
    }

    /// On a network where everything takes its own time, but transfers are whole, as the cases expect.
    pub(super) fn jittery_sim() -> Self {
        Self::on_net(SimConfig {
            latency_ns: 1_000..1_000_000,
            op_delay_ns: 0..300_000,
            ..SimConfig::calm(2)
        })
    }

    fn on_net(net: SimConfig) -> Self {
        let net = SimNet::new(net);
        let small = config().small;
        let ring = Ring::sim(&net, IpAddr::V4(Ipv4Addr::LOCALHOST), small.clone());
        let advance = move |limit| {
            let step = net.now().after(Duration::from_millis(1)).min(limit);
            if !net.advance_to_next(step) {
                // A case may wait for another thread, whose time is real.
                std::thread::sleep(Duration::from_micros(10));
            }
        };
        Self::new(ring, small, None, Box::new(advance))
    }
}
