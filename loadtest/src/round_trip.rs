//! Closed loop of small messages: one on its way per connection.
//!
//! A closed loop waits with the service it measures, so its percentiles flatter a service that stalls; use it to
//! compare the cost of a message, not to promise a latency.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use monoio::io::{AsyncReadRentExt, AsyncWriteRentExt};
use monoio::net::TcpStream;

use crate::RoundTrip;
use crate::process::Snapshot;

pub(crate) async fn run(options: &RoundTrip) -> io::Result<()> {
    let times = Rc::new(RefCell::new(
        Histogram::<u64>::new_with_bounds(1, HIGHEST_NS, 3).map_err(io::Error::other)?,
    ));
    let mut streams = Vec::new();
    for _ in 0..options.connections {
        let stream = TcpStream::connect_addr(options.to).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let start = Instant::now() + options.warmup;
    let end = start + options.seconds;
    let size = options.size as usize;
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|stream| monoio::spawn(exchange(stream, size, start, end, Rc::clone(&times))))
        .collect();
    monoio::time::sleep(options.warmup).await;
    let before = Snapshot::take(&options.watched.pids);
    monoio::time::sleep(options.seconds).await;
    let after = Snapshot::take(&options.watched.pids);
    for task in tasks {
        task.await?;
    }
    report(options, &times.borrow(), &after, &before);
    Ok(())
}

async fn exchange(
    mut stream: TcpStream,
    size: usize,
    start: Instant,
    end: Instant,
    times: Rc<RefCell<Histogram<u64>>>,
) -> io::Result<()> {
    let mut message = vec![0x5a; size];
    loop {
        let sent = Instant::now();
        if sent >= end {
            return Ok(());
        }
        let (written, returned) = stream.write_all(message).await;
        written?;
        let (read, returned) = stream.read_exact(returned).await;
        read?;
        message = returned;
        let now = Instant::now();
        if sent >= start && now < end {
            times.borrow_mut().saturating_record(nanoseconds(now - sent));
        }
    }
}

fn report(options: &RoundTrip, times: &Histogram<u64>, after: &Snapshot, before: &Snapshot) {
    let count = times.len();
    let us = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "rr connections={} size={} messages={count} per_second={:.0} p50_us={:.1} p90_us={:.1} p99_us={:.1} \
         p999_us={:.1} max_us={:.1}{}",
        options.connections,
        options.size,
        count as f64 / options.seconds.as_secs_f64(),
        us(0.5),
        us(0.9),
        us(0.99),
        us(0.999),
        us(1.0),
        after.report(before, count.max(1) as f64, "us_per_message", 1e6),
    );
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One minute: anything slower is recorded as this.
const HIGHEST_NS: u64 = 60_000_000_000;
