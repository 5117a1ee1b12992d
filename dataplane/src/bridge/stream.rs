//! One stream: its two ends and how far each has come.

use std::net::SocketAddr;

use viaduct_proto::http1::HeadBuffer;
use viaduct_proto::hybrid::RelayUrl;
use viaduct_proto::preamble::{ReplyReader, RequestReader};
use viaduct_proto::time::Now;
use viaduct_proto::ws::{CloseState, On, Reader};

use crate::buf::Chunk;
use crate::timer::TimerKey;
use crate::wire::WireId;

/// Names a stream of a shard; a reused slot has another serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamKey {
    pub(super) index: usize,
    /// 24 bits, so that it fits a timer's token.
    pub(super) serial: u32,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) serial: u32,
    pub(super) origin: Origin,
    pub(super) link: LinkEnd,
    pub(super) tcp: TcpEnd,
    pub(super) preamble: Preamble,
    /// Runs out when opening takes too long, or when the link has been silent; the instant tells a stale timer.
    pub(super) deadline: Option<(TimerKey, Now)>,
    /// When the link was heard last, and whether it was asked for a sign of life since.
    pub(super) heard: Now,
    pub(super) pinged: bool,
    pub(super) since: Now,
    /// Bytes from the TCP end, and to it.
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// Which forward a stream belongs to.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// `-L`: forward and bind.
    Local {
        forward: usize,
        bind: usize,
        peer: SocketAddr,
    },
    /// `-T`: index into the configuration's relays.
    Remote { relay: usize },
}

/// The WebSocket.
#[derive(Debug)]
pub(super) struct LinkEnd {
    pub(super) wire: Option<WireId>,
    pub(super) phase: LinkPhase,
    /// Where it leads.
    pub(super) url: RelayUrl,
    pub(super) relay: usize,
    /// Addresses not tried yet, and how many were.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) tried: usize,
    pub(super) reader: Reader,
    pub(super) close: CloseState,
    /// Frames that wait for the upgrade.
    pub(super) early: Vec<Chunk>,
}

#[derive(Debug)]
pub(super) enum LinkPhase {
    /// Waits for addresses or for a token.
    Preparing,
    Connecting,
    Upgrading {
        key: String,
        head: HeadBuffer,
    },
    Open,
}

/// The client's or target's connection.
#[derive(Debug)]
pub(super) struct TcpEnd {
    pub(super) wire: Option<WireId>,
    pub(super) open: bool,
    /// Its FIN has come.
    pub(super) ended: bool,
    /// The target that was chosen, for messages.
    pub(super) target: Option<usize>,
    /// Addresses not tried yet.
    pub(super) addresses: Vec<SocketAddr>,
    /// Payload that waits for a connection.
    pub(super) early: Vec<Chunk>,
    /// The other end has closed while `early` still waited.
    pub(super) end_after_early: bool,
}

/// The azbridge preamble, as far as it has come.
#[derive(Debug)]
pub(super) enum Preamble {
    /// Local end: the answer is awaited.
    Reply(ReplyReader),
    /// Remote end: the logical port is awaited.
    Request(RequestReader),
    Done,
}

impl Stream {
    pub(super) fn new(
        serial: u32,
        origin: Origin,
        url: RelayUrl,
        relay: usize,
        preamble: Preamble,
        now: Now,
    ) -> Self {
        Self {
            serial,
            origin,
            link: LinkEnd {
                wire: None,
                phase: LinkPhase::Preparing,
                url,
                relay,
                addresses: Vec::new(),
                tried: 0,
                reader: Reader::new(viaduct_proto::ws::Side::Client),
                close: CloseState::Open,
                early: Vec::new(),
            },
            tcp: TcpEnd {
                wire: None,
                open: false,
                ended: false,
                target: None,
                addresses: Vec::new(),
                early: Vec::new(),
                end_after_early: false,
            },
            preamble,
            deadline: None,
            heard: now,
            pinged: false,
            since: now,
            sent: 0,
            received: 0,
        }
    }

    /// Takes note of a Close; `false` if that direction had ended before.
    pub(super) const fn note_close(&mut self, on: On) -> bool {
        match self.link.close.next(on) {
            Some(state) => {
                self.link.close = state;
                true
            }
            None => false,
        }
    }

    pub(super) const fn is_link_open(&self) -> bool {
        matches!(self.link.phase, LinkPhase::Open)
    }
}
