//! Ending connections, in two phases: first every operation in flight comes back, then the fd is closed.

use super::{Armed, End, GOODBYE, LINGER, Life, STALLED, WireId, Wires, kind};
use crate::ring::Token;

/// What the end of the stream counts among bytes that are not acknowledged.
const FIN: usize = 1;

impl Wires {
    /// From now on the peer sees a reset if this process dies: for protocols in which an end of stream says that all has been
    /// said.
    pub fn guard(&mut self, id: WireId) {
        if let Some(wire) = self.get(id) {
            wire.guarded = true;
            let fd = wire.fd;
            self.ring.reset_on_close(fd, true);
        }
    }

    /// Ends our direction after what is queued; the other direction stays.
    pub fn half_close(&mut self, id: WireId) {
        if let Some(wire) = self.get(id)
            && wire.tx.end == End::Not
        {
            wire.tx.end = End::Wanted;
            self.mark_dirty(id);
        }
    }

    /// The role is done: what is queued is sent, our direction ends, the peer's end is awaited for a short while (closing
    /// with unread bytes would reset the connection and destroy what we sent last), then the connection is closed.
    pub fn finish(&mut self, id: WireId) {
        let now = self.now;
        let Some(wire) = self.get(id) else { return };
        if wire.life != Life::Open {
            return;
        }
        if wire.connecting.is_some() {
            return self.abort(id);
        }
        wire.life = Life::Finishing;
        wire.tx.last_taken = now;
        wire.rx.quiet = false;
        let done = wire.tx.end == End::Done;
        let ended = wire.rx.ended;
        if wire.tx.end == End::Not {
            wire.tx.end = End::Wanted;
        }
        // What waits for the end of a handshake that no role waits for any more will never be sent.
        let unsent = if wire.tls.as_ref().is_some_and(|tls| !tls.may_send()) {
            wire.tx.pending.take()
        } else {
            None
        };
        if let Armed::Poll(key) = wire.rx.armed {
            self.ring.cancel(key);
        }
        if let Some(unsent) = unsent {
            self.queued_all -= unsent.len();
            self.spare_gather(unsent);
        }
        match (done, ended) {
            (true, true) => self.end(id, false),
            (true, false) => self.say_goodbye(id),
            (false, _) => self.set_linger(id, LINGER),
        }
        self.mark_dirty(id);
    }

    /// The same for a stream that ended regularly: a reader who is slow gets the tail all the same, if he takes something at
    /// least every [`STALLED`].
    pub fn finish_stream(&mut self, id: WireId) {
        if let Some(wire) = self.get(id) {
            wire.patient = true;
        }
        self.finish(id);
    }

    /// The role is done and the peer is to see a reset; what is queued is dropped.
    pub fn abort(&mut self, id: WireId) {
        self.end(id, true);
    }

    pub(super) fn say_goodbye(&mut self, id: WireId) {
        if let Some(wire) = self.get(id) {
            wire.life = Life::Goodbye;
            self.set_linger(id, GOODBYE);
            self.mark_dirty(id);
        }
    }

    fn set_linger(&mut self, id: WireId, wait: std::time::Duration) {
        let token = Token::new(id.index, id.generation, kind::LINGER);
        let key = self.set_timer(self.now.after(wait), token);
        let Some(wire) = self.get(id) else { return };
        if let Some(old) = wire.linger.replace(key) {
            self.cancel_timer(old);
        }
    }

    pub(super) fn on_linger_over(&mut self, id: WireId) {
        let now = self.now;
        let Some(wire) = self.get(id) else { return };
        wire.linger = None;
        let (fd, life) = (wire.fd, wire.life);
        let patient = wire.patient && now.since(wire.tx.last_taken) < STALLED;
        let sending = wire.tx.in_flight.is_some();
        match life {
            Life::Finishing if patient && sending => self.set_linger(id, LINGER),
            Life::Finishing => self.end(id, true),
            // Once the descriptor is closed the kernel gives a reader who takes nothing only a few minutes.
            Life::Goodbye if patient && self.ring.unacknowledged(fd) > FIN => self.set_linger(id, GOODBYE),
            Life::Goodbye => self.end(id, false),
            Life::Open | Life::Ending { .. } => {}
        }
    }

    /// Cancels what is in flight; the last completion closes the fd.
    pub(super) fn end(&mut self, id: WireId, reset: bool) {
        let Some(wire) = self.get(id) else { return };
        if matches!(wire.life, Life::Ending { .. }) {
            return;
        }
        wire.life = Life::Ending { reset };
        let pending = wire.tx.pending.take();
        let operations = [wire.connecting, wire.rx.armed.key(), wire.tx.in_flight];
        for key in operations.into_iter().flatten() {
            self.ring.cancel(key);
        }
        if let Some(pending) = pending {
            self.queued_all -= pending.len();
            self.spare_gather(pending);
        }
        self.reap(id);
    }

    /// Frees the slot and closes the fd if the last completion is in.
    pub(super) fn reap(&mut self, id: WireId) {
        let Some(wire) = self.peek(id) else { return };
        let Life::Ending { reset } = wire.life else { return };
        if wire.connecting.is_some() || wire.rx.armed.key().is_some() || wire.tx.in_flight.is_some() {
            return;
        }
        let Some(wire) = self.remove(id) else { return };
        if let Some(key) = wire.linger {
            self.cancel_timer(key);
        }
        if reset {
            return self.ring.reset(wire.fd);
        }
        if wire.guarded {
            self.ring.reset_on_close(wire.fd, false);
        }
        self.ring.close(wire.fd);
    }
}

impl Armed {
    const fn key(self) -> Option<crate::ring::OpKey> {
        match self {
            Self::Receive(key) | Self::Poll(key) => Some(key),
            Self::Nothing | Self::Starved | Self::Deferred => None,
        }
    }
}
