//! Services inside the test process that bridges connect to.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::tunnel;
use super::wait;

/// A listener with one thread per connection.
#[derive(Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Target {
    /// Serves every connection with `serve`. An error of `serve` ends its connection only: tests see it at the
    /// client.
    pub(crate) fn start(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(wait::free_address()).expect("loopback listener");
        let address = listener.local_addr().expect("address of a listener");
        let stopping = Arc::new(AtomicBool::new(false));
        let serve = Arc::new(serve);
        let stop = Arc::clone(&stopping);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serve = Arc::clone(&serve);
                thread::spawn(move || {
                    let limited = stream.set_read_timeout(Some(wait::PATIENCE));
                    let limited = limited.and(stream.set_write_timeout(Some(wait::PATIENCE)));
                    limited
                        .and_then(|()| stream.set_nodelay(true))
                        .and_then(|()| serve(stream))
                });
            }
        });
        Self {
            address,
            stopping,
            acceptor: Some(acceptor),
        }
    }

    /// Sends back what it gets, and its end.
    pub(crate) fn echo() -> Self {
        Self::start(echo)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the acceptor; if nothing listens any more there is nobody to wake.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// An echo service for thousands of connections: one thread, no buffer while idle worth mentioning.
#[derive(Debug)]
pub(crate) struct ManyEcho {
    pub(crate) address: SocketAddr,
}

impl ManyEcho {
    /// The service runs until the test process ends.
    pub(crate) fn start() -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .expect("tokio runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind(wait::free_address())
                    .await
                    .expect("loopback listener");
                sender
                    .send(listener.local_addr().expect("address"))
                    .expect("starter waits");
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let (mut input, mut output) = stream.split();
                        tokio::io::copy(&mut input, &mut output).await
                    });
                }
            });
        });
        Self {
            address: receiver.recv().expect("address of the echo service"),
        }
    }
}

/// Sends back everything until the end, then ends too.
pub(crate) fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut block = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut block)? {
            0 => return stream.shutdown(std::net::Shutdown::Write),
            n => stream.write_all(&block[..n])?,
        }
    }
}

/// One small exchange with an echo service at the far end of `entry`; panics when it fails.
pub(crate) fn exchange(entry: SocketAddr, text: &[u8]) {
    let mut stream = tunnel::connect(entry);
    stream.write_all(text).expect("write to an echo service");
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).expect("answer of an echo service");
    assert_eq!(back, text);
}
