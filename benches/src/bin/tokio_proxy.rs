//! Baseline: the plain TCP proxy that anybody would write with tokio, `copy_bidirectional` on one thread.
//!
//! `tokio_proxy LISTEN TARGET` prints `listening on ADDRESS` and runs until it is killed.

use std::env;
use std::error::Error;
use std::net::SocketAddr;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

/// Buffer per direction, bytes.
const BUFFER: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(listen), Some(target), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: tokio_proxy LISTEN TARGET".into());
    };
    let target: SocketAddr = target.parse()?;
    let listener = TcpListener::bind(listen.parse::<SocketAddr>()?).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (client, peer) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = carry(client, target).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await?;
    Ok(())
}
