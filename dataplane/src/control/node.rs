//! The threads of a node: starting shards, and ending them.
//!
//! A ring may be used only by the thread that made it, so every shard is built on its own thread, in three steps: open the
//! ring and hand out the mailbox; get the mailboxes of all shards; listen. The first failure ends the start of all.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::EngineChoice;
use crate::config::limits::{MAILBOX_MAX, ShardLimits};
use crate::mailbox::{self, Receiver, Sender};
use crate::observe::ShardStats;
use crate::ring::{Fd, Ring, RingConfig};
use crate::shard::{Job, Order, Peers, Shard};
use crate::sys::affinity;
use crate::wire::{Wires, WiresConfig};

/// What is common to the shards of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Name for threads and messages: `relay` or `bridge`.
    pub name: &'static str,
    /// Number of shards.
    pub threads: usize,
    /// Which ring.
    pub engine: EngineChoice,
    /// Sizes of a shard.
    pub limits: ShardLimits,
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
}

/// Makes the job of a shard, on its thread: number of the shard, all mailboxes, counters, and its listening sockets in
/// the order of [`NodeConfig::listen`].
pub type MakeJob = dyn Fn(&mut Wires, usize, Peers, ShardStats, &[Fd]) -> Job + Send + Sync;

/// A running node.
#[derive(Debug)]
pub struct Node {
    name: &'static str,
    threads: Vec<JoinHandle<()>>,
    mailboxes: Peers,
    stats: Arc<[ShardStats]>,
    addresses: Vec<SocketAddr>,
    engine: String,
}

/// A shard ended although nobody told it to.
#[derive(Debug)]
pub struct ShardEnded {
    /// Whose.
    pub node: &'static str,
    /// Its number.
    pub shard: usize,
    /// Why.
    pub why: String,
}

struct Opened {
    mailbox: Sender<Order>,
    engine: String,
}

struct Begin {
    peers: Peers,
    listen: Vec<SocketAddr>,
}

/// The control thread's ends of one shard thread's start.
struct Starting {
    opened: mpsc::Receiver<io::Result<Opened>>,
    begin: mpsc::Sender<Begin>,
    listening: mpsc::Receiver<io::Result<Vec<SocketAddr>>>,
    thread: JoinHandle<()>,
}

impl Node {
    /// Starts all shards; they accept connections when this returns.
    ///
    /// # Errors
    /// A ring cannot be opened, or an address cannot be listened on; the text names it.
    pub fn start(
        config: &NodeConfig,
        ended: &tokio::sync::mpsc::UnboundedSender<ShardEnded>,
        make: &Arc<MakeJob>,
    ) -> io::Result<Self> {
        refuse_taken(config)?;
        let stats: Arc<[ShardStats]> = (0..config.threads).map(|_| ShardStats::new()).collect();
        let mut starting = Vec::new();
        for (shard, stats) in stats.iter().enumerate() {
            starting.push(spawn(
                config,
                shard,
                stats.clone(),
                ended.clone(),
                Arc::clone(make),
            )?);
        }
        let mut mailboxes = Vec::new();
        let mut engine = String::new();
        for shard in &starting {
            let opened = shard.opened.recv().map_err(|_| gone())??;
            mailboxes.push(opened.mailbox);
            engine = opened.engine;
        }
        let peers: Peers = mailboxes.into();
        let addresses = match listen_all(&starting, &peers, &config.listen) {
            Ok(addresses) => addresses,
            Err(error) => {
                end(&peers, starting.into_iter().map(|shard| shard.thread).collect());
                return Err(error);
            }
        };
        let threads = starting.into_iter().map(|shard| shard.thread).collect();
        Ok(Self {
            name: config.name,
            threads,
            mailboxes: peers,
            stats,
            addresses,
            engine,
        })
    }

    /// Addresses that are listened on, in the order of the configuration, with real port numbers.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// One line on the ring that was chosen, and why.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// Counters of each shard.
    #[must_use]
    pub fn stats(&self) -> &Arc<[ShardStats]> {
        &self.stats
    }

    /// Tells one shard, or all of them if `shard` is `None`. Waits a little for a shard whose mailbox is full; a shard that
    /// does not read for a second loses the order, which is logged.
    pub fn tell(&self, shard: Option<usize>, order: impl Fn() -> Order) {
        for (number, mailbox) in self.mailboxes.iter().enumerate() {
            if shard.is_none_or(|wanted| wanted == number) && !insist(mailbox, order()) {
                tracing::error!(
                    node = self.name,
                    shard = number,
                    "order lost: the shard does not read its mailbox"
                );
            }
        }
    }

    /// Ends all shards and waits for their threads.
    pub fn stop(self) {
        end(&self.mailboxes, self.threads);
    }
}

/// Sends an order, again and again for a second if the mailbox is full.
fn insist(mailbox: &Sender<Order>, order: Order) -> bool {
    let mut order = order;
    for _ in 0..200 {
        match mailbox.send(order) {
            Ok(()) => return true,
            Err(full) => order = full.0,
        }
        thread::sleep(Duration::from_millis(5));
    }
    false
}

fn end(mailboxes: &[Sender<Order>], threads: Vec<JoinHandle<()>>) {
    let told: Vec<bool> = mailboxes
        .iter()
        .map(|mailbox| insist(mailbox, Order::Stop))
        .collect();
    for (thread, told) in threads.into_iter().zip(told) {
        // A thread that cannot be told ends with the process. A panic was reported when it happened.
        if told {
            let _panicked = thread.join();
        }
    }
}

/// Lets all shards listen. The first gives port 0 a number, the others take the same.
fn listen_all(starting: &[Starting], peers: &Peers, listen: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = listen.to_vec();
    for shard in starting {
        let begin = Begin {
            peers: Arc::clone(peers),
            listen: addresses,
        };
        shard.begin.send(begin).map_err(|_| gone())?;
        addresses = shard.listening.recv().map_err(|_| gone())??;
    }
    Ok(addresses)
}

/// With several shards a port is shared, and sharing would let a second node in unnoticed.
fn refuse_taken(config: &NodeConfig) -> io::Result<()> {
    for address in &config.listen {
        TcpListener::bind(address).map_err(|error| cannot_listen(*address, &error))?;
    }
    Ok(())
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

fn gone() -> io::Error {
    io::Error::other("a data thread ended while it started")
}

fn spawn(
    config: &NodeConfig,
    shard: usize,
    stats: ShardStats,
    ended: tokio::sync::mpsc::UnboundedSender<ShardEnded>,
    make: Arc<MakeJob>,
) -> io::Result<Starting> {
    let (opened_tx, opened) = mpsc::channel();
    let (begin, begin_rx) = mpsc::channel::<Begin>();
    let (listening_tx, listening) = mpsc::channel();
    let config = config.clone();
    let name = config.name;
    let thread = thread::Builder::new()
        .name(format!("{name}-{shard}"))
        .spawn(move || {
            let guard = EndGuard {
                node: name,
                shard,
                ended,
                done: false,
            };
            let parts = match open(&config, shard) {
                Ok((parts, opened)) => {
                    let _told = opened_tx.send(Ok(opened));
                    parts
                }
                Err(error) => {
                    let _told = opened_tx.send(Err(error));
                    return guard.finish(None);
                }
            };
            let Ok(begin) = begin_rx.recv() else {
                return guard.finish(None);
            };
            let (mut wires, mailbox) = parts;
            let sockets = match listen(&config, &mut wires, &begin.listen) {
                Ok((sockets, addresses)) => {
                    let _told = listening_tx.send(Ok(addresses));
                    sockets
                }
                Err(error) => {
                    let _told = listening_tx.send(Err(error));
                    return guard.finish(None);
                }
            };
            let job = make(&mut wires, shard, begin.peers, stats, &sockets);
            let result = Shard::new(wires, job, mailbox).run();
            guard.finish(result.err().map(|error| error.to_string()));
        })?;
    Ok(Starting {
        opened,
        begin,
        listening,
        thread,
    })
}

fn open(config: &NodeConfig, shard: usize) -> io::Result<((Wires, Receiver<Order>), Opened)> {
    if config.threads > 1 {
        let cpus = affinity::allowed_cpus()?;
        if let Some(cpu) = cpus.get(shard % cpus.len().max(1)) {
            affinity::pin_current_thread(*cpu)?;
        }
    }
    let sizes = WiresConfig {
        small_buffers: config.limits.small_buffers,
        large_buffers: config.limits.large_buffers,
        connections: config.limits.connections,
        queue_bytes: config.limits.queue_bytes,
    };
    let small = sizes.small_pool()?;
    let (ring, report) = Ring::open(config.engine, &RingConfig::new(small.clone()))?;
    let (sender, receiver) = mailbox::mailbox(MAILBOX_MAX, ring.waker());
    let wires = Wires::new(ring, small, sizes, None)?;
    Ok((
        (wires, receiver),
        Opened {
            mailbox: sender,
            engine: report.line().to_owned(),
        },
    ))
}

fn listen(
    config: &NodeConfig,
    wires: &mut Wires,
    addresses: &[SocketAddr],
) -> io::Result<(Vec<Fd>, Vec<SocketAddr>)> {
    let mut sockets = Vec::new();
    let mut real = Vec::new();
    for address in addresses {
        let (fd, address) = wires
            .ring()
            .listen(*address, config.threads > 1)
            .map_err(|error| cannot_listen(*address, &error))?;
        sockets.push(fd);
        real.push(address);
    }
    Ok((sockets, real))
}

/// Tells the control thread when a data thread ends for a reason of its own, a panic included.
struct EndGuard {
    node: &'static str,
    shard: usize,
    ended: tokio::sync::mpsc::UnboundedSender<ShardEnded>,
    done: bool,
}

impl EndGuard {
    fn finish(mut self, error: Option<String>) {
        self.done = true;
        if let Some(why) = error {
            let _told = self.ended.send(ShardEnded {
                node: self.node,
                shard: self.shard,
                why,
            });
        }
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if !self.done {
            let why = "it panicked; this is a bug, please report the message above".to_owned();
            let _told = self.ended.send(ShardEnded {
                node: self.node,
                shard: self.shard,
                why,
            });
        }
    }
}
