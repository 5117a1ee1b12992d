//! A relay node's threads.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::node::{MakeJob, Node, NodeConfig, ShardEnded};
use crate::config::relay::RelayConfig;
use crate::relay::{Relay, RelaySetup};
use crate::shard::{Entropy, Job};

/// Starts the shards of a relay node.
///
/// # Errors
/// See [`Node::start`].
pub fn start(config: &RelayConfig, ended: &UnboundedSender<ShardEnded>) -> io::Result<Node> {
    let node = NodeConfig {
        name: "relay",
        threads: config.threads,
        engine: config.engine,
        limits: config.limits.shard(),
        listen: config.listen.clone(),
    };
    let config = config.clone();
    let make: Arc<MakeJob> = Arc::new(move |wires, shard, peers, stats, sockets| {
        let setup = RelaySetup {
            shard,
            peers,
            namespace: Arc::clone(&config.namespace),
            limits: config.limits.clone(),
            tls: config.tls.clone(),
            advertise: config.advertise.clone(),
            stats,
        };
        for socket in sockets {
            wires.accept(*socket);
        }
        Job::Relay(Box::new(Relay::new(setup, Entropy::from_os())))
    });
    Node::start(&node, ended, &make)
}
