//! Running nodes on a simulated network, and seeds.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use viaduct::ring::sim::SimNet;

/// Something that takes turns: a shard with its ring, or a scripted peer.
pub(crate) trait Node {
    /// Handles what is due now. A node that waits for a time of its own says so to its ring's `wait`.
    fn turn(&mut self);
}

/// Gives all nodes their turns, event by event, until `done` or until `limit` has passed. Answers whether it is done.
pub(crate) fn run_until(
    net: &SimNet,
    nodes: &mut [&mut dyn Node],
    limit: Duration,
    mut done: impl FnMut(&SimNet) -> bool,
) -> bool {
    let limit = net.now().after(limit);
    loop {
        for node in &mut *nodes {
            node.turn();
        }
        if done(net) {
            return true;
        }
        if net.now() >= limit {
            return false;
        }
        net.advance_to_next(limit);
    }
}

/// Runs a test for each of its seeds. Of a thousand seeds in all, `share` are this test's.
///
/// `VIADUCT_SIM_SEEDS=n` asks for `n` in all instead of a thousand; `VIADUCT_SIM_SEED=n` runs that one only, and logs what
/// the nodes do. A test that fails says how to run it again.
pub(crate) fn for_each_seed(share: u64, test: impl Fn(u64)) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seeds = match number("VIADUCT_SIM_SEED") {
        Some(seed) => {
            // One run can be read; a thousand cannot.
            let log = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .without_time();
            let _again = log.with_test_writer().try_init();
            seed..seed + 1
        }
        None => {
            let all = number("VIADUCT_SIM_SEEDS").unwrap_or(1000);
            0..(share * all / 1000).max(1)
        }
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            eprintln!(
                "seed {seed} failed; again: VIADUCT_SIM_SEED={seed} cargo test -p viaduct --test sim -- --exact {name}"
            );
            resume_unwind(panic);
        }
    }
}
