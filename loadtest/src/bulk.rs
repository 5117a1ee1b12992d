//! Streams of many bytes, each compared with what was sent.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use monoio::io::{AsyncReadRentExt, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

use crate::pattern::Pattern;
use crate::process::Snapshot;
use crate::serve::{DAMAGED, read_pattern, write_pattern};
use crate::{Bulk, Direction};

pub(crate) async fn run(options: &Bulk) -> io::Result<()> {
    let each = (options.gigabytes * GIGABYTE / f64::from(options.streams)) as u64;
    let pattern = Rc::new(Pattern::new());
    let before = Snapshot::take(&options.watched.pids);
    let start = Instant::now();
    let tasks: Vec<_> = (0..options.streams)
        .map(|_| monoio::spawn(transfer(options.direction, options.to, each, Rc::clone(&pattern))))
        .collect();
    let all = async {
        for task in tasks {
            task.await?;
        }
        Ok(())
    };
    monoio::time::timeout(options.limit, all)
        .await
        .unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the streams did not end in time",
            ))
        })?;
    let seconds = start.elapsed().as_secs_f64();
    let after = Snapshot::take(&options.watched.pids);
    let gigabytes = (each * u64::from(options.streams)) as f64 / GIGABYTE;
    println!(
        "bulk direction={:?} streams={} gigabytes={gigabytes:.3} seconds={seconds:.3} gigabytes_per_second={:.3}{}",
        options.direction,
        options.streams,
        gigabytes / seconds,
        after.report(&before, gigabytes, "seconds_per_gigabyte", 1.0),
    );
    Ok(())
}

async fn transfer(direction: Direction, to: SocketAddr, len: u64, pattern: Rc<Pattern>) -> io::Result<()> {
    let mut stream = TcpStream::connect_addr(to).await?;
    stream.set_nodelay(true)?;
    let arrived = match direction {
        Direction::Up => upload(&mut stream, len, &pattern).await?,
        Direction::Down => download(&mut stream, len, &pattern).await?,
    };
    match arrived {
        Some(count) if count == len => Ok(()),
        Some(count) => Err(io::Error::other(format!("{count} of {len} bytes arrived"))),
        None => Err(io::Error::other(
            "the bytes that arrived are not those that were sent",
        )),
    }
}

async fn upload(stream: &mut TcpStream, len: u64, pattern: &Pattern) -> io::Result<Option<u64>> {
    write_pattern(stream, pattern, len).await?;
    stream.shutdown().await?;
    let (read, answer) = stream.read_exact(vec![0; 8]).await;
    read?;
    let count = u64::from_le_bytes(answer.first_chunk().copied().unwrap_or_default());
    Ok((count != DAMAGED).then_some(count))
}

async fn download(stream: &mut TcpStream, len: u64, pattern: &Pattern) -> io::Result<Option<u64>> {
    let (written, _) = stream.write_all(len.to_le_bytes().to_vec()).await;
    written?;
    read_pattern(stream, pattern).await
}

const GIGABYTE: f64 = 1e9;
