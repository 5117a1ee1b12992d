//! `viaduct-load`: load for anything that carries TCP, and what that load costs.
//!
//! Stands alone: it knows nothing of the relay and reaches it through sockets only. One thread on monoio, an engine
//! independent of the one under test. Results are `name=value` words, one line per run, so that scripts can compare.

mod bulk;
mod idle;
mod pattern;
mod process;
mod round_trip;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Load generator for TCP tunnels.
#[derive(Debug, Parser)]
#[command(name = "viaduct-load", version)]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Sends back what it gets.
    Echo(Listen),
    /// Takes a stream, compares every byte and answers with the count at its end.
    Sink(Listen),
    /// Sends as many bytes as it is asked for.
    Source(Listen),
    /// Closed loop of request and answer on many connections, against an echo service.
    Rr(RoundTrip),
    /// Streams of many bytes, against a sink or a source.
    Bulk(Bulk),
    /// Holds connections that say nothing and reports the memory that they cost.
    Idle(Idle),
}

#[derive(Debug, Args)]
struct Listen {
    /// Address to listen on; the address in use is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[derive(Debug, Args)]
struct RoundTrip {
    /// Address of an echo service, or of a tunnel to one.
    #[arg(long)]
    to: SocketAddr,
    /// Connections at once, each with one message on its way.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    size: u32,
    /// Length of the measured part, seconds.
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// Time before the measured part, seconds.
    #[arg(long, default_value = "1", value_parser = seconds)]
    warmup: Duration,
    #[command(flatten)]
    watched: Watched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// From here to a sink.
    Up,
    /// From a source to here.
    Down,
}

#[derive(Debug, Args)]
struct Bulk {
    /// Address of a sink (up) or source (down), or of a tunnel to one.
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, value_enum)]
    direction: Direction,
    /// Streams at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    streams: u32,
    /// Gigabytes (10^9 bytes) over all streams.
    #[arg(long, default_value_t = 1.0)]
    gigabytes: f64,
    /// Longest time for all of it, seconds.
    #[arg(long, default_value = "300", value_parser = seconds)]
    limit: Duration,
    #[command(flatten)]
    watched: Watched,
}

#[derive(Debug, Args)]
struct Idle {
    /// Address to connect to.
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Time to hold them, seconds.
    #[arg(long, default_value = "5", value_parser = seconds)]
    seconds: Duration,
    #[command(flatten)]
    watched: Watched,
}

#[derive(Debug, Args)]
struct Watched {
    /// Process whose CPU time and memory are reported; may be given several times.
    #[arg(long = "pid")]
    pids: Vec<u32>,
}

fn main() -> ExitCode {
    let command = Command::parse();
    let runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
        .with_entries(4096)
        .enable_timer()
        .build();
    let result = runtime.and_then(|mut runtime| {
        let result = runtime.block_on(run(&command.task));
        // Operations may still be in the kernel: they end with the process, not with the runtime.
        std::mem::forget(runtime);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("viaduct-load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(task: &Task) -> io::Result<()> {
    match task {
        Task::Echo(listen) => serve::run(listen.listen, serve::echo).await,
        Task::Sink(listen) => serve::run(listen.listen, serve::sink).await,
        Task::Source(listen) => serve::run(listen.listen, serve::source).await,
        Task::Rr(options) => round_trip::run(options).await,
        Task::Bulk(options) => bulk::run(options).await,
        Task::Idle(options) => idle::run(options).await,
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number of seconds"))?;
    Duration::try_from_secs_f64(value).map_err(|error| error.to_string())
}
