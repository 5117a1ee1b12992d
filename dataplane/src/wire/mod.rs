//! Wires: the connections of one shard, below any protocol.
//!
//! [`Wires`] owns everything mechanical of a shard: the ring, the buffer pools, the timers and the table of connections.
//! A protocol role (relay or bridge) names a connection by its [`WireId`], gives it [`Chunk`](crate::buf::Chunk)s to send and is told of
//! [`WireEvent`]s. TLS is inside: what goes in and out here is plaintext.
//!
//! # Contract
//! * At most one receive (or poll) and one send are in flight per connection. What is queued meanwhile leaves together,
//!   in one operation, as soon as the send in flight has completed.
//! * [`Wires::send`] never fails and never blocks; [`Wires::queued`] says how much waits, and the role stops reading the
//!   other end ([`Wires::pause`]) above [`Wires::high_water`]. [`WireEvent::Drained`] says when to go on.
//! * [`Wires::finish`], [`Wires::abort`] take the connection from the role: no event follows. The slot and the fd are
//!   free only after the last completion, so a recycled number never meets an old completion.
//! * A connection that waits holds no buffer: first a receive for which the ring picks a buffer when data is there, and
//!   after [`IDLE_AFTER`] of silence a poll.
//!
//! # Receiving
//! A connection that keeps filling its buffer is *hot*: it receives into a leased 256 KiB buffer, and only once the other
//! end has sent what was received before. Letting data pile up in the kernel while the send runs makes fewer and larger
//! operations, which costs less than more receives in parallel (docs/decisions/0001).

mod closing;
mod opening;
mod receive;
mod roles;
mod table;
pub mod tls;
mod transmit;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use viaduct_proto::time::Now;

use crate::buf::{Gather, Lease};
use crate::ring::{Fd, OpKey};
use crate::timer::TimerKey;
pub use opening::Moved;
pub use roles::Roles;
pub use table::{Wires, WiresConfig};
use tls::Tls;
pub use tls::TlsError;

/// Silence after which a connection waits by poll and not by receive.
pub const IDLE_AFTER: Duration = Duration::from_secs(10);
/// How long a finished connection may take to send its queue and to say goodbye, unless its reader is slow.
pub const LINGER: Duration = Duration::from_secs(10);
/// How long the reader of a finished connection may take nothing of what is queued for it. It is long because a reader may
/// itself wait for a slow one behind it, and while a stream runs there is no such limit at all.
pub const STALLED: Duration = Duration::from_secs(3600);
/// How long a connection that has said goodbye waits for the peer's end.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// Names one connection of a shard; a reused slot has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WireId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What happened on a connection.
#[derive(Debug)]
pub enum WireEvent {
    /// The outgoing connection stands (TCP; TLS goes on by itself).
    Connected,
    /// The outgoing connection failed; the role still owns the wire and must [`Wires::abort`] it.
    ConnectFailed(io::Error),
    /// Received bytes.
    Data(Lease),
    /// The peer ended its direction.
    Eof,
    /// The connection broke. The role still owns the wire and must [`Wires::abort`] it.
    Failed(WireError),
    /// Everything queued has been handed to the kernel.
    Drained,
}

/// Why a connection broke.
#[derive(Debug)]
pub enum WireError {
    /// The operating system says so: a reset, mostly.
    Io(io::Error),
    /// TLS failed.
    Tls(TlsError),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Tls(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for WireError {}

/// Label of a ring operation, in the `kind` of its token. Timers of roles use kinds from [`kind::TIMERS`] on.
pub(crate) mod kind {
    pub(crate) const ACCEPT: u8 = 1;
    pub(crate) const CONNECT: u8 = 2;
    pub(crate) const RECEIVE: u8 = 3;
    pub(crate) const POLL: u8 = 4;
    pub(crate) const SEND: u8 = 5;
    /// The time to close has run out.
    pub(crate) const LINGER: u8 = 16;
    /// The first of the kinds that roles give to their own timers.
    pub(crate) const TIMERS: u8 = 32;
}

#[derive(Debug)]
struct Wire {
    fd: Fd,
    peer: SocketAddr,
    tls: Option<Box<Tls>>,
    life: Life,
    /// The connect in flight; nothing is sent or received before it is over.
    connecting: Option<OpKey>,
    /// Its queue is a stream's tail: it is worth waiting for a slow reader.
    patient: bool,
    /// Runs out when the connection has not ended in time.
    linger: Option<TimerKey>,
    /// Until it is closed in order, the kernel resets it if the process dies.
    guarded: bool,
    rx: Rx,
    tx: Tx,
}

/// Who may still use the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// A role owns it.
    Open,
    /// Sends its queue, then ends its direction.
    Finishing,
    /// Has ended its direction and waits for the peer's end; what arrives is dropped.
    Goodbye,
    /// Waits for its last completions; then it is closed, with a reset if so marked.
    Ending { reset: bool },
}

#[derive(Debug)]
struct Rx {
    armed: Armed,
    /// The role wants data.
    wanted: bool,
    /// Receives in a row that filled their buffer.
    full: u8,
    ended: bool,
    /// Nothing arrived for [`IDLE_AFTER`]: wait by poll.
    quiet: bool,
    last_data: Now,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Armed {
    Nothing,
    Receive(OpKey),
    Poll(OpKey),
    /// The pool was empty; the wire is in the list of the starved.
    Starved,
    /// What was received waits for a later turn.
    Deferred,
}

#[derive(Debug)]
struct Tx {
    in_flight: Option<OpKey>,
    in_flight_len: usize,
    /// When the peer took something last, or the connection was finished.
    last_taken: Now,
    /// Plaintext not yet handed to the ring.
    pending: Option<Box<Gather>>,
    /// Ciphertext that must go before `pending`: handshake and alerts.
    protocol: Vec<u8>,
    end: End,
    /// Sending has failed; what the peer sent before is still read, then the connection is reported broken.
    broken: Option<io::Error>,
    /// In the list of wires to flush at the end of the turn.
    dirty: bool,
}

/// How far the end of our direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Not,
    /// To be done when the queue has been sent.
    Wanted,
    /// TLS: close_notify is on its way, FIN follows.
    Notified,
    Done,
}
