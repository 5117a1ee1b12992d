//! Everything that threads tell each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use viaduct_proto::http1::RequestHead;
use viaduct_proto::hybrid::Token;
use viaduct_proto::time::Now;

use crate::mailbox;
use crate::wire::Moved;

/// Told to a shard. Not printable: tickets and tokens are in it.
pub enum Order {
    /// Relay: take over a connection whose hybrid connection lives here.
    Adopt(Box<Handover>),
    /// Bridge: the answer to [`Ask::Resolve`].
    Resolved {
        /// As in the question.
        ticket: u64,
        /// Addresses in the order to try, or why there are none.
        result: Result<Vec<SocketAddr>, String>,
    },
    /// Bridge: a fresh token for relay endpoint number `relay`.
    Token {
        /// Index into the configuration's relays.
        relay: usize,
        /// The token (`None`: connect without one), or why there is none.
        token: Result<Option<Token>, String>,
    },
    /// Bridge: open a rendezvous that another shard's control channel was offered.
    Rendezvous {
        /// Index into the configuration's relays.
        relay: usize,
        /// The address of the accept message.
        address: String,
    },
    /// End now.
    Stop,
}

/// A connection that moves to the shard of its hybrid connection, after its head and before its first payload byte.
pub struct Handover {
    /// The connection.
    pub moved: Moved,
    /// Its request.
    pub head: RequestHead,
    /// Bytes that came behind the head.
    pub unread: Vec<u8>,
    /// When the connection was accepted (deadline of the handshake).
    pub since: Now,
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handover")
            .field("moved", &self.moved)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Adopt(_) => "Adopt(..)",
            Self::Resolved { .. } => "Resolved(..)",
            Self::Token { .. } => "Token(..)",
            Self::Rendezvous { .. } => "Rendezvous(..)",
            Self::Stop => "Stop",
        })
    }
}

/// Asked of the control thread.
#[derive(Debug)]
pub enum Ask {
    /// Look up a host; answered by [`Order::Resolved`].
    Resolve {
        /// Who asks.
        shard: usize,
        /// Comes back in the answer.
        ticket: u64,
        /// Host name or address literal.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A remote forward could not start or went offline: for the policy on such failures.
    ForwardFailed {
        /// Its number.
        remote: usize,
        /// What failed, ready to print.
        text: String,
    },
    /// A remote forward has started: its listener is registered.
    ForwardStarted {
        /// Its number.
        remote: usize,
        /// What started, ready to print.
        text: String,
    },
}

/// The way to the control thread: bounded, never blocking.
#[derive(Debug, Clone)]
pub struct Asks {
    shard: usize,
    sender: tokio::sync::mpsc::Sender<Ask>,
    tickets: Arc<AtomicU64>,
}

impl Asks {
    /// For shard number `shard`.
    #[must_use]
    pub fn new(shard: usize, sender: tokio::sync::mpsc::Sender<Ask>) -> Self {
        Self {
            shard,
            sender,
            tickets: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Asks for addresses. `None`: the control thread is gone or too busy.
    #[must_use]
    pub fn resolve(&self, host: &str, port: u16) -> Option<u64> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let ask = Ask::Resolve {
            shard: self.shard,
            ticket,
            host: host.to_owned(),
            port,
        };
        self.sender.try_send(ask).ok().map(|()| ticket)
    }

    /// Tells; a full queue loses it, which costs a line on the screen.
    pub fn tell(&self, ask: Ask) {
        let _lost = self.sender.try_send(ask);
    }
}

/// The mailboxes of all shards of a node, one's own included.
pub type Peers = Arc<[mailbox::Sender<Order>]>;
