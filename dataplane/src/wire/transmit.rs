//! Sending: one operation in flight, everything else gathers behind it.

use std::io;

use super::tls::{FRAGMENT_MAX, Tls, TlsError, sealed_len};
use super::{End, Life, Wire, WireError, WireEvent, WireId, Wires, kind};
use crate::buf::{Chunk, Gather, Lease};
use crate::config::limits::HIGH_WATER_MIN;
use crate::ring::{Op, Token};

/// A chunk of at least this many bytes is encrypted where it is; smaller ones share a record.
const OWN_RECORD: usize = 4 * 1024;

impl Wires {
    /// Queues bytes. A connection that is gone takes them and drops them: its end is reported separately.
    pub fn send(&mut self, id: WireId, chunk: Chunk) {
        let open = |wire: &Wire| wire.life == Life::Open && wire.tx.broken.is_none();
        if chunk.is_empty() || !self.peek(id).is_some_and(open) {
            return;
        }
        let chunk = self.unpin(chunk);
        self.queued_all += chunk.len();
        let fresh = self
            .peek(id)
            .is_some_and(|wire| wire.tx.pending.is_none())
            .then(|| self.take_gather());
        if let Some(wire) = self.get(id) {
            if wire.tx.pending.is_none() {
                wire.tx.pending = fresh;
            }
            if let Some(pending) = &mut wire.tx.pending {
                pending.push_merging(chunk);
            }
        }
        self.mark_dirty(id);
    }

    /// Sends an answer that a peer can provoke as often as it likes, unless the peer does not even read the earlier ones.
    /// A pong may be left out like this: only the latest ping needs an answer (RFC 6455 section 5.5.3).
    pub fn send_if_read(&mut self, id: WireId, chunk: Chunk) {
        if self.queued(id) <= HIGH_WATER_MIN {
            self.send(id, chunk);
        }
    }

    /// Hands what has gathered to the ring, and arms receives.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            if let Some(wire) = self.get(id) {
                wire.tx.dirty = false;
                self.flush_one(id);
                self.arm(id);
            }
        }
        // A connection that goes over to its goodbye has marked itself again, to drain what the peer still sends.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    fn flush_one(&mut self, id: WireId) {
        let Some(wire) = self.get(id) else { return };
        if wire.tx.in_flight.is_some()
            || wire.connecting.is_some()
            || matches!(wire.life, Life::Ending { .. })
        {
            return;
        }
        if let Some(mut tls) = wire.tls.take() {
            let sealed = self.seal(id, &mut tls);
            if let Some(wire) = self.get(id) {
                wire.tls = Some(tls);
            }
            match sealed {
                Ok(Some(gather)) => self.submit_send(id, gather),
                Ok(None) => self.end_direction(id),
                Err(error) => self.fail(id, WireError::Tls(error)),
            }
        } else if let Some(gather) = wire.tx.pending.take() {
            self.queued_all -= gather.len();
            self.submit_send(id, gather);
        } else {
            self.end_direction(id);
        }
    }

    fn submit_send(&mut self, id: WireId, gather: Box<Gather>) {
        let Some(fd) = self.peek(id).map(|wire| wire.fd) else {
            return;
        };
        let len = gather.len();
        self.queued_all += len;
        let token = Token::new(id.index, id.generation, kind::SEND);
        let key = self.ring.submit(Op::Send { fd, gather }, token);
        if let Some(wire) = self.get(id) {
            wire.tx.in_flight = Some(key);
            wire.tx.in_flight_len = len;
        }
    }

    pub(super) fn on_sent(
        &mut self,
        id: WireId,
        result: io::Result<usize>,
        mut gather: Box<Gather>,
    ) -> Option<()> {
        let now = self.now;
        let wire = self.get(id)?;
        wire.tx.in_flight = None;
        wire.tx.last_taken = now;
        let in_flight = std::mem::take(&mut wire.tx.in_flight_len);
        let ending = matches!(wire.life, Life::Ending { .. });
        self.queued_all -= in_flight;
        if ending {
            self.spare_gather(gather);
            self.reap(id);
            return Some(());
        }
        match result {
            Ok(n) => gather.advance(n),
            Err(error) if is_transient(&error) => {}
            Err(error) => {
                self.spare_gather(gather);
                self.on_send_failed(id, error);
                return Some(());
            }
        }
        if !gather.is_empty() {
            self.submit_send(id, gather);
            return Some(());
        }
        self.spare_gather(gather);
        let wire = self.get(id)?;
        if wire.tx.queued() > 0 || wire.tx.end == End::Wanted || wire.tx.end == End::Notified {
            self.mark_dirty(id);
        }
        if self.queued(id) == 0 {
            self.events.push_back((id, WireEvent::Drained));
        }
        Some(())
    }

    /// The peer takes nothing more. What it said before may still be in the receive queue and comes first: its last bytes
    /// and its Close, mostly.
    fn on_send_failed(&mut self, id: WireId, error: io::Error) {
        let Some(wire) = self.get(id) else { return };
        let readable = wire.rx.wanted && !wire.rx.ended && wire.life == Life::Open;
        let pending = wire.tx.pending.take();
        if readable {
            wire.tx.broken = Some(error);
        } else {
            self.fail(id, WireError::Io(error));
        }
        if let Some(pending) = pending {
            self.queued_all -= pending.len();
            self.spare_gather(pending);
        }
        self.mark_dirty(id);
        self.events.push_back((id, WireEvent::Drained));
    }

    /// Turns what waits into ciphertext: first the protocol's own bytes, then as many records as the data needs, then
    /// close_notify if the direction is to end. `None`: nothing to send.
    fn seal(&mut self, id: WireId, tls: &mut Tls) -> Result<Option<Box<Gather>>, TlsError> {
        let Some(wire) = self.get(id) else { return Ok(None) };
        let protocol = std::mem::take(&mut wire.tx.protocol);
        let pending = if tls.may_send() {
            wire.tx.pending.take()
        } else {
            None
        };
        let notify = wire.tx.end == End::Wanted && wire.tx.pending.is_none();
        if notify {
            wire.tx.end = End::Notified;
        }
        if protocol.is_empty() && pending.is_none() && !(notify && tls.may_send()) {
            return Ok(None);
        }
        let mut sealer = Sealer {
            wires: self,
            tls,
            out: None,
            gather: None,
        };
        if !protocol.is_empty() {
            sealer.gather().push(Chunk::from_vec(protocol));
        }
        if let Some(mut pending) = pending {
            sealer.wires.queued_all -= pending.len();
            sealer.data(&pending)?;
            pending.clear();
            sealer.wires.spare_gather(pending);
        }
        if notify && sealer.tls.may_send() {
            let mut out = sealer.room(sealed_len(0))?;
            let n = sealer.tls.close_notify(out.spare_mut())?;
            out.set_filled(out.filled() + n);
            sealer.out = Some(out);
        }
        Ok(sealer.into_gather())
    }

    /// Ends our direction once nothing waits: FIN, and for a finished connection the wait for the peer's end.
    fn end_direction(&mut self, id: WireId) {
        let Some(wire) = self.get(id) else { return };
        let due = match wire.tx.end {
            End::Notified => true,
            End::Wanted => wire.tls.is_none(),
            End::Not | End::Done => false,
        };
        if !due || wire.tx.queued() > 0 {
            return;
        }
        wire.tx.end = End::Done;
        let (fd, life, ended) = (wire.fd, wire.life, wire.rx.ended);
        // A connection that is already broken reports that through its receive.
        let broken = self.ring.shutdown_write(fd).is_err();
        if life == Life::Finishing {
            if ended || broken {
                self.end(id, false);
            } else {
                self.say_goodbye(id);
            }
        }
    }
}

/// The same operation may succeed at once.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Encrypts a queue of chunks into as few buffers as it can.
struct Sealer<'a> {
    wires: &'a mut Wires,
    tls: &'a mut Tls,
    out: Option<Lease>,
    gather: Option<Box<Gather>>,
}

impl Sealer<'_> {
    fn data(&mut self, pending: &Gather) -> Result<(), TlsError> {
        let mut stage = std::mem::take(&mut self.wires.stage);
        stage.clear();
        for chunk in pending.chunks() {
            let mut bytes = chunk.as_slice();
            if bytes.len() < OWN_RECORD || (!stage.is_empty() && stage.len() < OWN_RECORD) {
                let take = bytes.len().min(FRAGMENT_MAX - stage.len());
                let (now, later) = bytes.split_at(take);
                stage.extend_from_slice(now);
                bytes = later;
            }
            if stage.len() == FRAGMENT_MAX || !bytes.is_empty() {
                self.record(&stage)?;
                stage.clear();
            }
            if bytes.len() < OWN_RECORD {
                stage.extend_from_slice(bytes);
            } else {
                for fragment in bytes.chunks(FRAGMENT_MAX) {
                    self.record(fragment)?;
                }
            }
        }
        self.record(&stage)?;
        self.wires.stage = stage;
        Ok(())
    }

    fn record(&mut self, data: &[u8]) -> Result<(), TlsError> {
        if data.is_empty() {
            return Ok(());
        }
        let mut out = self.room(sealed_len(data.len()))?;
        let n = self.tls.encrypt(data, out.spare_mut())?;
        out.set_filled(out.filled() + n);
        self.out = Some(out);
        Ok(())
    }

    /// The current output buffer if it has room for `len` more bytes, else a new one.
    fn room(&mut self, len: usize) -> Result<Lease, TlsError> {
        match self.out.take() {
            Some(out) if out.spare() >= len => Ok(out),
            full => {
                // A second record means bulk: the next buffer may be large.
                let want = if full.is_some() { usize::MAX } else { len };
                if let Some(full) = full {
                    self.gather().push(full.freeze());
                }
                self.wires.lease_for(want).ok_or(TlsError::NoMemory)
            }
        }
    }

    fn gather(&mut self) -> &mut Gather {
        let wires = &mut *self.wires;
        self.gather.get_or_insert_with(|| wires.take_gather())
    }

    fn into_gather(mut self) -> Option<Box<Gather>> {
        if let Some(out) = self.out.take().filter(|out| out.filled() > 0) {
            self.gather().push(out.freeze());
        }
        self.gather
    }
}
