//! Waiting with a limit, free ports, and counts from /proc.

use std::net::{SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Time in which something that should happen at once must have happened, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// Time for start-up, reconnects with back-off, and settling.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// Polls `done` until it is true; panics with `what` when `limit` has passed.
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        thread::sleep(STEP);
    }
}

/// A loopback address whose port was free a moment ago. The ports lie below the range that the kernel gives to
/// outgoing connections, so that none of the thousands made by these tests can take one before it is used.
pub(crate) fn free_address() -> SocketAddr {
    let offset = process::id().wrapping_mul(97);
    for _ in 0..PORT_COUNT {
        let step = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let port = PORT_FIRST + (offset.wrapping_add(step) % PORT_COUNT) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("address of a bound socket");
        }
    }
    panic!("no free loopback port from {PORT_FIRST} on");
}

/// Descriptors that process `pid` holds open.
pub(crate) fn open_fds(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Anonymous resident memory of process `pid`, bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

const STEP: Duration = Duration::from_millis(20);
const PORT_FIRST: u16 = 20_000;
const PORT_COUNT: u32 = 12_000;
static NEXT_PORT: AtomicU32 = AtomicU32::new(0);
