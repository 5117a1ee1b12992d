//! The far ends: echo, sink and source.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use monoio::io::{AsyncReadRent, AsyncReadRentExt, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

use crate::pattern::{Pattern, WINDOW_MAX};

/// Accepts for ever and serves each connection; prints `listening on ADDRESS` first.
pub(crate) async fn run<F>(address: SocketAddr, serve: fn(TcpStream, Rc<Pattern>) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let pattern = Rc::new(Pattern::new());
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let task = serve(stream, Rc::clone(&pattern));
        monoio::spawn(async move {
            if let Err(error) = task.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

pub(crate) async fn echo(mut stream: TcpStream, _: Rc<Pattern>) -> io::Result<()> {
    let mut block = Vec::with_capacity(ECHO_BLOCK);
    loop {
        let (read, filled) = stream.read(block).await;
        if read? == 0 {
            return stream.shutdown().await;
        }
        let (written, returned) = stream.write_all(filled).await;
        written?;
        block = returned;
        block.clear();
    }
}

/// Answers the end of a stream with the number of its bytes, or with [`DAMAGED`].
pub(crate) async fn sink(mut stream: TcpStream, pattern: Rc<Pattern>) -> io::Result<()> {
    let count = read_pattern(&mut stream, &pattern).await?.unwrap_or(DAMAGED);
    let (written, _) = stream.write_all(count.to_le_bytes().to_vec()).await;
    written.map(drop)
}

/// The first eight bytes say how many to send.
pub(crate) async fn source(mut stream: TcpStream, pattern: Rc<Pattern>) -> io::Result<()> {
    let (read, request) = stream.read_exact(vec![0; 8]).await;
    read?;
    let request = request.first_chunk().copied().unwrap_or_default();
    write_pattern(&mut stream, &pattern, u64::from_le_bytes(request)).await?;
    stream.shutdown().await
}

/// Reads to the end; the number of bytes, or `None` when they are not the pattern.
pub(crate) async fn read_pattern(stream: &mut TcpStream, pattern: &Pattern) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(WINDOW_MAX);
    let mut position = 0;
    let mut intact = true;
    loop {
        let (read, filled) = stream.read(block).await;
        let n = read?;
        if n == 0 {
            return Ok(intact.then_some(position));
        }
        intact &= filled[..n] == *pattern.window(position, n);
        position += n as u64;
        block = filled;
        block.clear();
    }
}

pub(crate) async fn write_pattern(stream: &mut TcpStream, pattern: &Pattern, len: u64) -> io::Result<()> {
    let mut block = Vec::with_capacity(WINDOW_MAX);
    let mut position = 0;
    while position < len {
        let n = (len - position).min(WINDOW_MAX as u64) as usize;
        block.clear();
        block.extend_from_slice(pattern.window(position, n));
        let (written, returned) = stream.write_all(block).await;
        written?;
        block = returned;
        position += n as u64;
    }
    Ok(())
}

/// What a sink answers when bytes were lost, changed or repeated.
pub(crate) const DAMAGED: u64 = u64::MAX;
const ECHO_BLOCK: usize = 16 * 1024;
