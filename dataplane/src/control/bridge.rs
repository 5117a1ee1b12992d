//! A bridge's threads, and what the control thread does for them: addresses and tokens.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::{Receiver, Sender, UnboundedSender, channel};
use viaduct_proto::hybrid::Token;
use viaduct_proto::time::UnixTime;

use super::node::{MakeJob, Node, NodeConfig, ShardEnded};
use super::resolve::Resolver;
use super::tokens::TokenCache;
use crate::bridge::{Bridge, BridgeSetup};
use crate::config::bridge::{BindHost, BridgeConfig};
use crate::config::limits::MAILBOX_MAX;
use crate::shard::{Ask, Asks, Entropy, Job, Order};

/// Longest time between two looks at the clock: it may be set, and a machine may sleep.
const TOKEN_PAUSE: Duration = Duration::from_secs(30);

/// A bridge's node and the questions it asks.
#[derive(Debug)]
pub struct BridgeNode {
    /// Its threads.
    pub node: Arc<Node>,
    config: Arc<BridgeConfig>,
    asks: Receiver<Ask>,
}

/// Starts the shards of a bridge. Local forwards whose address cannot be listened on are reported in `failed`, unless
/// the configuration says that they end the start.
///
/// # Errors
/// See [`Node::start`].
pub async fn start(
    config: BridgeConfig,
    ended: &UnboundedSender<ShardEnded>,
    failed: &mut Vec<String>,
) -> io::Result<BridgeNode> {
    let resolver = Resolver::new();
    let mut listen = Vec::new();
    let mut owners = Vec::new();
    for (forward, local) in config.locals.iter().enumerate() {
        for (bind, place) in local.binds.iter().enumerate() {
            match bind_addresses(&resolver, &place.host, place.port).await {
                Ok(addresses) => {
                    owners.extend(addresses.iter().map(|_| (forward, bind)));
                    listen.extend(addresses);
                }
                Err(error) => {
                    let text = format!("-L {}:{}: {error}", place.host, place.port);
                    if config.exit_on_forward_failure || place.port == 0 {
                        return Err(io::Error::other(text));
                    }
                    failed.push(text);
                }
            }
        }
    }
    let node = NodeConfig {
        name: "bridge",
        threads: config.threads,
        engine: config.engine,
        limits: config.limits,
        listen,
    };
    let config = Arc::new(config);
    let (asks_tx, asks) = channel(MAILBOX_MAX);
    let make = make_job(Arc::clone(&config), asks_tx, owners);
    let node = Arc::new(Node::start(&node, ended, &make)?);
    Ok(BridgeNode { node, config, asks })
}

fn make_job(config: Arc<BridgeConfig>, asks: Sender<Ask>, owners: Vec<(usize, usize)>) -> Arc<MakeJob> {
    Arc::new(move |wires, shard, peers, stats, sockets| {
        let setup = BridgeSetup {
            shard,
            peers,
            config: Arc::clone(&config),
            asks: Asks::new(shard, asks.clone()),
            stats,
        };
        let mut bridge = Bridge::new(setup, Entropy::from_os());
        for (socket, (forward, bind)) in sockets.iter().zip(&owners) {
            bridge.listen(wires, *socket, *forward, *bind);
        }
        bridge.start(wires);
        Job::Bridge(Box::new(bridge))
    })
}

/// Every address that a local forward listens on and that can be listened on.
async fn bind_addresses(resolver: &Resolver, host: &BindHost, port: u16) -> io::Result<Vec<SocketAddr>> {
    let candidates = match host {
        BindHost::Any => vec![
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ],
        BindHost::Address(address) => vec![*address],
        BindHost::Name(name) => {
            let found = resolver.resolve(name, port).await.map_err(io::Error::other)?;
            found.iter().map(SocketAddr::ip).collect()
        }
    };
    let mut usable: BTreeMap<IpAddr, SocketAddr> = BTreeMap::new();
    let mut last = None;
    for ip in candidates {
        let address = SocketAddr::new(ip, port);
        match std::net::TcpListener::bind(address) {
            Ok(_) => {
                usable.insert(ip, address);
            }
            Err(error) => {
                last = Some(io::Error::new(
                    error.kind(),
                    format!("cannot listen on {address}: {error}"),
                ))
            }
        }
    }
    match (usable.is_empty(), last) {
        (true, Some(error)) => Err(error),
        (true, None) => Err(io::Error::other("no address to listen on")),
        (false, _) => Ok(usable.into_values().collect()),
    }
}

impl BridgeNode {
    /// Does the control thread's part until `told` says that it is enough: answers questions and keeps tokens fresh.
    /// `told` gets every forward that starts or fails.
    pub async fn serve(mut self, mut told: impl FnMut(Ask)) {
        let resolver = Arc::new(Resolver::new());
        let mut tokens = TokenCache::new(self.config.relays.clone());
        let mut handed_out = vec![None; self.config.relays.len()];
        loop {
            let pause = self.refresh(&mut tokens, &mut handed_out);
            let due = tokio::time::sleep(pause);
            tokio::pin!(due);
            loop {
                tokio::select! {
                    () = &mut due => break,
                    ask = self.asks.recv() => match ask {
                        Some(Ask::Resolve { shard, ticket, host, port }) => {
                            self.resolve(Arc::clone(&resolver), shard, ticket, host, port);
                        }
                        Some(ask) => told(ask),
                        None => return,
                    },
                }
            }
        }
    }

    /// Hands out tokens that are new since `told`; tells when to look again.
    fn refresh(
        &self,
        tokens: &mut TokenCache,
        told: &mut [Option<Result<Option<Token>, String>>],
    ) -> Duration {
        let now = unix_now();
        for (relay, told) in told.iter_mut().enumerate() {
            let token = match tokens.current(relay, now) {
                Ok(issued) => Ok(issued.token.clone()),
                Err(error) => Err(error.to_string()),
            };
            if told.as_ref() == Some(&token) {
                continue;
            }
            if let Err(why) = &token {
                tracing::error!(relay, "{why}");
            }
            self.node.tell(None, || Order::Token {
                relay,
                token: token.clone(),
            });
            *told = Some(token);
        }
        let due = tokens
            .next_renewal()
            .map(|at| Duration::from_secs(at.0.saturating_sub(now.0).max(1)));
        due.map_or(TOKEN_PAUSE, |due| due.min(TOKEN_PAUSE))
    }

    fn resolve(&self, resolver: Arc<Resolver>, shard: usize, ticket: u64, host: String, port: u16) {
        let node = Arc::clone(&self.node);
        tokio::spawn(async move {
            let result = resolver
                .resolve(&host, port)
                .await
                .map_err(|error| error.to_string());
            node.tell(Some(shard), || Order::Resolved {
                ticket,
                result: result.clone(),
            });
        });
    }
}

fn unix_now() -> UnixTime {
    UnixTime(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    )
}
