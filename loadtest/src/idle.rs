//! Connections that are open and say nothing.

use std::io;

use monoio::net::TcpStream;

use crate::Idle;
use crate::process::{Snapshot, resident};

pub(crate) async fn run(options: &Idle) -> io::Result<()> {
    let pids = &options.watched.pids;
    let before: Vec<u64> = pids.iter().map(|pid| resident(*pid)).collect();
    let mut held = Vec::new();
    for _ in 0..options.connections {
        held.push(TcpStream::connect_addr(options.to).await?);
    }
    let start = Snapshot::take(pids);
    monoio::time::sleep(options.seconds).await;
    let end = Snapshot::take(pids);
    let memory: String = pids
        .iter()
        .zip(before)
        .map(|(pid, before)| {
            let grown = resident(*pid).saturating_sub(before);
            format!(
                " bytes_{pid}_per_connection={}",
                grown / u64::from(options.connections)
            )
        })
        .collect();
    println!(
        "idle connections={}{memory}{}",
        held.len(),
        end.report(&start, options.seconds.as_secs_f64(), "seconds_per_second", 1.0)
    );
    Ok(())
}
