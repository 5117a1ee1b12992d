//! Counters as Prometheus text (exposition format 0.0.4).

use std::fmt::Write as _;

use super::counters::{Counter, Kind, ShardStats};

/// Text of all counters of all shards; the label `shard` is the position in `shards`.
#[must_use]
pub fn render(shards: &[ShardStats]) -> String {
    let mut text = String::with_capacity(Counter::ALL.len() * (160 + shards.len() * 48));
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# HELP viaduct_build_info Version of the program.\n# TYPE viaduct_build_info gauge\n\
         viaduct_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    for counter in Counter::ALL {
        let name = counter.metric();
        let kind = match counter.kind() {
            Kind::Total => "counter",
            Kind::Level => "gauge",
        };
        let _ = writeln!(
            text,
            "# HELP viaduct_{name} {}\n# TYPE viaduct_{name} {kind}",
            counter.help()
        );
        for (shard, stats) in shards.iter().enumerate() {
            let _ = writeln!(
                text,
                "viaduct_{name}{{shard=\"{shard}\"}} {}",
                stats.get(*counter)
            );
        }
    }
    text
}

/// Media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::counters::Counters;

    #[test]
    fn each_shard_has_its_line() {
        let shards = [ShardStats::new(), ShardStats::new()];
        let mut counters = Counters::new();
        counters.set(Counter::ListenersOnline, 7);
        counters.publish(&shards[1]);
        let text = render(&shards);
        let expected = "# HELP viaduct_listeners_online Control channels open.\n\
                        # TYPE viaduct_listeners_online gauge\n\
                        viaduct_listeners_online{shard=\"0\"} 0\n\
                        viaduct_listeners_online{shard=\"1\"} 7\n";
        assert!(text.contains(expected), "{text}");
        assert_eq!(
            text.lines().filter(|line| line.starts_with("# TYPE")).count(),
            Counter::ALL.len() + 1
        );
    }
}
