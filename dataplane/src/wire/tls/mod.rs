//! TLS over caller-owned buffers; the only file that names rustls' connection types.
//!
//! Shaped like rustls 0.24 (input belongs to the caller, two independent directions) on top of 0.23's unbuffered API, so
//! that nothing else changes when the next version decrypts into the caller's buffer.
//!
//! Invariants:
//! * A connection between records holds no buffer: `Tls::residue` is only the part of a record whose end has not come.
//! * The residue never exceeds one record plus one receive buffer during the handshake, and one record afterwards.
//! * Receiving never waits for sending: bytes that the protocol wants sent are handed out at once, in order.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, ServerConfig};

/// Largest ciphertext of one record: 2^14 plus expansion and header (RFC 8446 section 5.2, RFC 5246 section 6.2.3).
const RECORD_MAX: usize = 16 * 1024 + 2048 + RECORD_HEADER;
const RECORD_HEADER: usize = 5;
/// Largest plaintext of one record.
pub(crate) const FRAGMENT_MAX: usize = 16 * 1024;
/// Bytes that encryption adds to one record, at most (TLS 1.2 AEAD with explicit nonce, TLS 1.3 with type byte).
pub(crate) const RECORD_OVERHEAD: usize = RECORD_HEADER + 8 + 16 + 1;
/// Room for protocol bytes that rustls may want sent before data (key updates).
const QUEUED_ROOM: usize = 256;
/// Bound of handshake bytes that wait for the rest of a flight: a server gets a hello, a client a chain of certificates.
const SERVER_HANDSHAKE_MAX: usize = 20 * 1024;
const CLIENT_HANDSHAKE_MAX: usize = 64 * 1024;

/// Why a TLS connection ended.
#[derive(Debug)]
pub enum TlsError {
    /// The peer, or the negotiation, failed; an alert was produced where the protocol has one.
    Protocol(rustls::Error),
    /// The handshake took more bytes than its bound, or a record was longer than allowed.
    TooLong,
    /// Encryption was asked for before the handshake was complete, or after close_notify.
    NotReady,
    /// The system has no memory for a record.
    NoMemory,
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protocol(e) => write!(f, "TLS: {e}"),
            Self::TooLong => f.write_str("TLS: record or handshake too long"),
            Self::NotReady => f.write_str("TLS: not ready to send"),
            Self::NoMemory => f.write_str("TLS: no memory for a record"),
        }
    }
}

impl std::error::Error for TlsError {}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One TLS connection. `Send`, so that it can move to another shard between two records.
pub(crate) struct Tls {
    side: Side,
    residue: Vec<u8>,
    ready: bool,
    peer_closed: bool,
}

impl Tls {
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        let conn = UnbufferedServerConnection::new(config).map_err(TlsError::Protocol)?;
        Ok(Self::new(Side::Server(conn)))
    }

    pub(crate) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        let conn = UnbufferedClientConnection::new(config, name).map_err(TlsError::Protocol)?;
        Ok(Self::new(Side::Client(conn)))
    }

    const fn new(side: Side) -> Self {
        Self {
            side,
            residue: Vec::new(),
            ready: false,
            peer_closed: false,
        }
    }

    /// Bytes that open the handshake (a client's first flight); empty for a server.
    pub(crate) fn start(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.process(&mut [], &mut |_| {}, out).map(|_| ())
    }

    /// Application data may be sent.
    pub(crate) const fn may_send(&self) -> bool {
        self.ready
    }

    /// The peer said close_notify.
    pub(crate) const fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Takes ciphertext. Decrypted data goes to `plain`, record by record; bytes to be sent go to `out`, also when the
    /// result is an error (the alert).
    pub(crate) fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let mut rest = input;
        if !self.ready && !self.residue.is_empty() {
            // Handshake messages may span records, and rustls wants them presented again as one piece.
            self.residue.extend_from_slice(rest);
            rest = &mut [];
            let bound = match self.side {
                Side::Server(_) => SERVER_HANDSHAKE_MAX,
                Side::Client(_) => CLIENT_HANDSHAKE_MAX,
            };
            if self.residue.len() > bound {
                return Err(TlsError::TooLong);
            }
            self.process_residue(plain, out)?;
        }
        while !self.residue.is_empty() && !rest.is_empty() {
            let take = self.missing().min(rest.len());
            let (now, later) = rest.split_at_mut(take);
            self.residue.extend_from_slice(now);
            rest = later;
            if self.residue.len() > RECORD_MAX {
                return Err(TlsError::TooLong);
            }
            if self.missing() == 0 {
                self.process_residue(plain, out)?;
            }
        }
        if !rest.is_empty() {
            let used = self.process(rest, plain, out)?;
            if let Some(left) = rest.get(used..).filter(|l| !l.is_empty()) {
                self.residue.extend_from_slice(left);
            }
        }
        Ok(())
    }

    /// Bytes until the residue holds whole records only.
    fn missing(&self) -> usize {
        let mut at = 0;
        loop {
            let Some(header) = self.residue.get(at..at + RECORD_HEADER) else {
                return at + RECORD_HEADER - self.residue.len();
            };
            let end = at + RECORD_HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
            if end >= self.residue.len() {
                return end - self.residue.len();
            }
            at = end;
        }
    }

    fn process_residue(&mut self, plain: &mut dyn FnMut(&[u8]), out: &mut Vec<u8>) -> Result<(), TlsError> {
        let mut residue = std::mem::take(&mut self.residue);
        let used = self.process(&mut residue, plain, out)?;
        if used < residue.len() {
            residue.drain(..used);
            self.residue = residue;
        }
        Ok(())
    }

    /// Runs rustls over `input`; returns how many of its bytes are used up.
    fn process(
        &mut self,
        input: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        let mut used = 0;
        loop {
            let rest = input.get_mut(used..).unwrap_or_default();
            let step = match &mut self.side {
                Side::Server(conn) => on_status(conn.process_tls_records(rest), plain, out),
                Side::Client(conn) => on_status(conn.process_tls_records(rest), plain, out),
            };
            used += step.discard;
            match step.next {
                Next::Again => {}
                Next::Ready => {
                    self.ready = true;
                    return Ok(used);
                }
                Next::PeerClosed => self.peer_closed = true,
                Next::Blocked => return Ok(used),
                Next::Failed(error) => {
                    self.collect_alert(out);
                    return Err(TlsError::Protocol(error));
                }
            }
        }
    }

    fn collect_alert(&mut self, out: &mut Vec<u8>) {
        for _ in 0..4 {
            let step = match &mut self.side {
                Side::Server(conn) => on_status(conn.process_tls_records(&mut []), &mut |_| {}, out),
                Side::Client(conn) => on_status(conn.process_tls_records(&mut []), &mut |_| {}, out),
            };
            if !matches!(step.next, Next::Again) {
                return;
            }
        }
    }

    /// Encrypts `data` into `out`, which must have [`sealed_len`] bytes of room. Returns the number of bytes written.
    pub(crate) fn encrypt(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, TlsError> {
        self.write(&Job::Data(data), out)
    }

    /// Writes the close_notify alert into `out`. Nothing can be encrypted afterwards.
    pub(crate) fn close_notify(&mut self, out: &mut [u8]) -> Result<usize, TlsError> {
        let written = self.write(&Job::CloseNotify, out);
        self.ready = false;
        written
    }

    fn write(&mut self, job: &Job<'_>, out: &mut [u8]) -> Result<usize, TlsError> {
        if !self.ready {
            return Err(TlsError::NotReady);
        }
        let mut written = 0;
        loop {
            let room = out.get_mut(written..).unwrap_or_default();
            let step = match &mut self.side {
                Side::Server(conn) => write_step(conn.process_tls_records(&mut []), job, room),
                Side::Client(conn) => write_step(conn.process_tls_records(&mut []), job, room),
            };
            match step? {
                Wrote::Queued(n) => written += n,
                Wrote::Job(n) => return Ok(written + n),
            }
        }
    }
}

enum Job<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

enum Wrote {
    /// Protocol bytes that had to go first; the job is still to be done.
    Queued(usize),
    Job(usize),
}

fn write_step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    job: &Job<'_>,
    room: &mut [u8],
) -> Result<Wrote, TlsError> {
    match status.state.map_err(TlsError::Protocol)? {
        ConnectionState::EncodeTlsData(mut chunk) => chunk
            .encode(room)
            .map(Wrote::Queued)
            .map_err(|_| TlsError::TooLong),
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            Ok(Wrote::Queued(0))
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let written = match job {
                Job::Data(data) => traffic.encrypt(data, room),
                Job::CloseNotify => traffic.queue_close_notify(room),
            };
            written.map(Wrote::Job).map_err(|e| match e {
                EncryptError::InsufficientSize(_) => TlsError::TooLong,
                EncryptError::EncryptExhausted => TlsError::NotReady,
            })
        }
        ConnectionState::PeerClosed => Ok(Wrote::Queued(0)),
        _ => Err(TlsError::NotReady),
    }
}

enum Next {
    Again,
    Ready,
    Blocked,
    PeerClosed,
    Failed(rustls::Error),
}

struct Step {
    discard: usize,
    next: Next,
}

/// Carries out what one call to rustls asks for.
fn on_status<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut dyn FnMut(&[u8]),
    out: &mut Vec<u8>,
) -> Step {
    let discard = status.discard;
    let next = match status.state {
        Err(error) => Next::Failed(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while let Some(Ok(record)) = traffic.next_record() {
                plain(record.payload);
            }
            Next::Again
        }
        Ok(ConnectionState::EncodeTlsData(mut chunk)) => {
            encode_into(out, |room| chunk.encode(room));
            Next::Again
        }
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            // Everything encoded so far is already queued in order behind earlier output.
            sent.done();
            Next::Again
        }
        Ok(ConnectionState::WriteTraffic(_)) => Next::Ready,
        Ok(ConnectionState::PeerClosed) => Next::PeerClosed,
        Ok(_) => Next::Blocked,
    };
    Step { discard, next }
}

fn encode_into(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = out.len();
    let mut room = 1024;
    loop {
        out.resize(start + room, 0);
        match encode(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => return out.truncate(start + written),
            Err(EncodeError::InsufficientSize(needed)) => room = needed.required_size,
            Err(EncodeError::AlreadyEncoded) => return out.truncate(start),
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = match self.side {
            Side::Server(_) => "server",
            Side::Client(_) => "client",
        };
        f.debug_struct("Tls")
            .field("side", &side)
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

/// Room that `len` bytes of plaintext need once encrypted.
pub(crate) const fn sealed_len(len: usize) -> usize {
    len + (len / FRAGMENT_MAX + 1) * RECORD_OVERHEAD + QUEUED_ROOM
}

#[cfg(test)]
mod tests;
