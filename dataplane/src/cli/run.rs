//! What the commands do: start threads, say where things are, wait for the end.
//!
//! The only place that prints and that decides how the process ends. What a script needs goes to standard output, what
//! goes wrong to standard error, events to the log.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::future::pending;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::args::{self, Invocation, QuickstartArgs, RelayArgs};
use super::exit::{CliError, Exit};
use super::options::BridgeArgs;
use super::{bridge, credentials, quickstart, relay};
use crate::config::LogSettings;
use crate::control::admin::{self, AdminState};
use crate::control::bridge::BridgeNode;
use crate::control::node::{Node, ShardEnded};
use crate::control::{bridge as bridge_node, demo, relay as relay_node};
use crate::observe::ShardStats;
use crate::observe::log::{LogGuard, init_logging};
use crate::shard::Ask;
use crate::sys::limits;

/// Runs a whole command line, program name first; returns how the process is to end.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    match run(argv) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            eprintln!("{error}");
            error.exit.into()
        }
    }
}

fn run(argv: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let invocation = args::parse(argv)?;
    if let Invocation::Show(text) = invocation {
        println!("{}", text.trim_end());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let result = runtime.block_on(async {
        match invocation {
            Invocation::Relay(args) => run_relay(&args).await,
            Invocation::Bridge(args) => run_bridge(&args).await,
            Invocation::Quickstart(args) => run_quickstart(&args).await,
            Invocation::Show(_) => Ok(()),
        }
    });
    // A look-up in progress cannot be ended, and is not worth waiting for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError {
        exit: Exit::Failed,
        message: error.to_string(),
    }
}

/// What every command waits for.
struct Watch {
    interrupt: Signal,
    terminate: Signal,
    ended: UnboundedReceiver<ShardEnded>,
}

impl Watch {
    fn new() -> Result<(Self, UnboundedSender<ShardEnded>), CliError> {
        let (sender, ended) = unbounded_channel();
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        Ok((
            Self {
                interrupt,
                terminate,
                ended,
            },
            sender,
        ))
    }

    /// Returns when the process is to end: asked to, or because a data thread did.
    async fn over(&mut self) -> Result<(), CliError> {
        tokio::select! {
            _ = self.interrupt.recv() => Ok(()),
            _ = self.terminate.recv() => Ok(()),
            Some(shard) = self.ended.recv() => {
                Err(failed(format_args!("data thread {}-{} ended: {}", shard.node, shard.shard, shard.why)))
            }
        }
    }
}

fn begin(log: &LogSettings, warnings: &[String]) -> Result<LogGuard, CliError> {
    let guard = init_logging(log).map_err(CliError::start)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match limits::raise_open_files() {
        Ok(files) => tracing::debug!(files, "open files allowed"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
    Ok(guard)
}

async fn run_relay(args: &RelayArgs) -> Result<(), CliError> {
    let setup = relay::resolve(args)?;
    let _log = begin(&setup.config.log, &setup.warnings)?;
    let (mut watch, ended) = Watch::new()?;
    let config = &setup.config;
    let node = relay_node::start(config, &ended).map_err(CliError::start)?;
    tracing::info!("{}", node.engine());
    tracing::info!("{}", config.limits.memory_sum(config.threads));
    let served = match config.admin {
        Some(address) => Some(start_admin(address, node.stats()).await?),
        None => None,
    };
    let port = node.addresses().first().map_or(0, SocketAddr::port);
    if let Some(guide) = setup.dev_guide(port)? {
        println!("{guide}");
    }
    // Last of all: who waits for this line may connect, and finds every file in place.
    let scheme = if config.tls.is_some() { "wss" } else { "ws" };
    for address in node.addresses() {
        println!("listening on {scheme}://{}", shown(*address));
    }
    if let Some(address) = served {
        println!("admin on http://{address} (/livez, /readyz, /metrics)");
    }
    let result = watch.over().await;
    node.stop();
    result
}

/// Loopback is shown by the name that the development certificate carries.
fn shown(address: SocketAddr) -> String {
    if address.ip().is_loopback() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

async fn start_admin(address: SocketAddr, stats: &Arc<[ShardStats]>) -> Result<SocketAddr, CliError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| CliError::start(format_args!("--admin: cannot listen on {address}: {error}")))?;
    let real = listener.local_addr().map_err(failed)?;
    let state = AdminState {
        shards: Arc::clone(stats),
        ready: Arc::new(|| Ok(())),
    };
    tokio::spawn(async move {
        if let Err(error) = admin::serve(listener, state, pending()).await {
            tracing::error!(%error, "admin endpoints ended");
        }
    });
    Ok(real)
}

async fn run_bridge(args: &BridgeArgs) -> Result<(), CliError> {
    let environment = std::env::var(credentials::ENVIRONMENT).ok();
    let setup = bridge::resolve(args, environment.as_deref())?;
    let _log = begin(&setup.config.log, &setup.warnings)?;
    let (mut watch, ended) = Watch::new()?;
    let config = setup.config;
    let (admin, exit_on_failure) = (config.admin, config.exit_on_forward_failure);
    let (locals, remotes) = (
        config.locals.iter().map(|l| l.binds.len()).sum::<usize>(),
        config.remotes.len(),
    );
    let memory = config.limits.memory_sum(config.threads);
    let mut failures = Vec::new();
    let bridge = bridge_node::start(config, &ended, &mut failures)
        .await
        .map_err(CliError::start)?;
    let node = Arc::clone(&bridge.node);
    tracing::info!("{}", node.engine());
    tracing::info!("{memory}");
    for failure in &failures {
        tracing::error!("forward not started: {failure}");
    }
    if locals > 0 && failures.len() == locals && remotes == 0 {
        return Err(CliError::start("no forward could be started"));
    }
    if let Some(address) = admin {
        let real = start_admin(address, node.stats()).await?;
        println!("admin on http://{real} (/livez, /readyz, /metrics)");
    }
    for address in node.addresses() {
        println!("forwarding from {address}");
    }
    println!("Press Ctrl+C to stop.");
    let (refused, mut refusals) = unbounded_channel();
    let serving = tokio::spawn(serve(bridge, refused));
    let result = tokio::select! {
        result = watch.over() => result,
        Some(text) = refusals.recv(), if exit_on_failure => Err(CliError::start(text)),
    };
    stop_bridge(node, serving).await;
    result
}

/// Runs the control thread's part of a bridge; sends on what failed before it ever started.
async fn serve(bridge: BridgeNode, refused: UnboundedSender<String>) {
    let mut started = BTreeSet::new();
    bridge
        .serve(move |ask| match ask {
            Ask::ForwardStarted { remote, text } => {
                if started.insert(remote) {
                    println!("{text}");
                }
            }
            Ask::ForwardFailed { remote, text } if !started.contains(&remote) => {
                let _told = refused.send(text);
            }
            Ask::ForwardFailed { .. } | Ask::Resolve { .. } => {}
        })
        .await;
}

async fn stop_bridge(node: Arc<Node>, serving: tokio::task::JoinHandle<()>) {
    serving.abort();
    let _aborted = serving.await;
    // Look-ups in progress may still hold the node; its threads are told either way.
    match Arc::try_unwrap(node) {
        Ok(node) => node.stop(),
        Err(node) => node.tell(None, || crate::shard::Order::Stop),
    }
}

async fn run_quickstart(args: &QuickstartArgs) -> Result<(), CliError> {
    let setup = quickstart::resolve(args)?;
    let _log = begin(&setup.relay.log, &[])?;
    let (mut watch, ended) = Watch::new()?;
    let relay = relay_node::start(&setup.relay, &ended).map_err(CliError::start)?;
    let address = relay
        .addresses()
        .first()
        .copied()
        .ok_or_else(|| failed("the relay has no address"))?;
    setup
        .dev
        .write_connection_string(address.port())
        .map_err(CliError::start)?;
    let admin = match setup.relay.admin {
        Some(admin) => start_admin(admin, relay.stats()).await?,
        None => return Err(failed("quickstart has an admin address")),
    };
    let origin = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let origin_address = origin.local_addr().map_err(failed)?;
    tokio::spawn(demo::serve(origin, pending()));
    let config = setup.bridge(address, origin_address)?;
    let bridge = bridge_node::start(config, &ended, &mut Vec::new())
        .await
        .map_err(CliError::start)?;
    let node = Arc::clone(&bridge.node);
    let page = node.addresses().first().copied().unwrap_or(setup.page);
    let (online, mut started) = unbounded_channel();
    let serving = tokio::spawn(bridge.serve(move |ask| {
        let _told = online.send(ask);
    }));
    let result = tokio::select! {
        result = watch.over() => result,
        outcome = wait_online(&mut started) => match outcome {
            Ok(()) => {
                println!("{}", setup.guide(address, page, admin));
                watch.over().await
            }
            Err(text) => Err(failed(format_args!("the tunnel did not come up: {text}"))),
        },
    };
    if result.is_ok() {
        println!("\nstopped");
    }
    stop_bridge(node, serving).await;
    relay.stop();
    result
}

async fn wait_online(started: &mut UnboundedReceiver<Ask>) -> Result<(), String> {
    match started.recv().await {
        Some(Ask::ForwardFailed { text, .. }) => Err(text),
        Some(Ask::ForwardStarted { .. } | Ask::Resolve { .. }) => Ok(()),
        None => Err("the bridge ended".to_owned()),
    }
}
