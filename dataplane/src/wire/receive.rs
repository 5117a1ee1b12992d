//! Receiving: which operation waits for the next bytes, and what is done with them.

use std::io;

use super::transmit::is_transient;
use super::{Armed, End, IDLE_AFTER, Life, WireError, WireEvent, WireId, Wires, kind};
use crate::buf::{Lease, Pool, PoolConfig};
use crate::ring::{Interest, Op, Readiness, RecvInto, Token};
use crate::sys::errno;

/// Full buffers in a row that make a connection hot.
const HOT_AFTER: u8 = 2;
/// TLS handshake steps in one turn: each may cost a signature, and the other connections wait.
const HANDSHAKES_PER_TURN: u32 = 32;
/// A receive of at least this many bytes fills a small buffer, as far as heat is concerned.
const FULL: usize = 16 * 1024;

impl Wires {
    /// The role takes no more data for now; what is being received already may still come.
    pub fn pause(&mut self, id: WireId) {
        if let Some(wire) = self.get(id) {
            wire.rx.wanted = false;
        }
    }

    /// The role takes no data from this connection.
    #[must_use]
    pub fn is_paused(&self, id: WireId) -> bool {
        self.peek(id).is_some_and(|wire| !wire.rx.wanted)
    }

    /// The role takes data again.
    pub fn resume(&mut self, id: WireId) {
        let Some(wire) = self.get(id) else { return };
        if wire.rx.wanted {
            return;
        }
        wire.rx.wanted = true;
        if let Armed::Poll(key) = wire.rx.armed {
            self.ring.cancel(key);
        }
        self.mark_dirty(id);
    }

    /// Submits the operation that waits for data, if data is wanted and none is in flight.
    pub(super) fn arm(&mut self, id: WireId) {
        let Some(wire) = self.peek(id) else { return };
        let draining = matches!(wire.life, Life::Finishing | Life::Goodbye);
        let wanted = (wire.rx.wanted && wire.life == Life::Open) || draining;
        if !wanted || wire.rx.ended || wire.rx.armed != Armed::Nothing || wire.connecting.is_some() {
            return;
        }
        let (fd, quiet, hot) = (wire.fd, wire.rx.quiet, wire.rx.full >= HOT_AFTER);
        let armed = if quiet {
            let token = Token::new(id.index, id.generation, kind::POLL);
            Armed::Poll(self.ring.submit(
                Op::Poll {
                    fd,
                    flags: Interest::READ,
                },
                token,
            ))
        } else {
            let large = hot && !draining && self.may_receive_large();
            let lease = if large { self.large.take() } else { None };
            let into = lease.map_or(RecvInto::Provided, RecvInto::Lease);
            let token = Token::new(id.index, id.generation, kind::RECEIVE);
            Armed::Receive(self.ring.submit(Op::Recv { fd, into }, token))
        };
        if let Some(wire) = self.get(id) {
            wire.rx.armed = armed;
        }
    }

    pub(super) fn on_polled(&mut self, id: WireId, result: io::Result<Readiness>) -> Option<()> {
        let wire = self.get(id)?;
        wire.rx.armed = Armed::Nothing;
        if matches!(wire.life, Life::Ending { .. }) {
            self.reap(id);
            return Some(());
        }
        if result.is_ok() {
            wire.rx.quiet = false;
        }
        let broken = result.is_ok_and(|ready| ready.error);
        if broken && wire.rx.ended && wire.life == Life::Open {
            self.fail(id, WireError::Io(io::ErrorKind::ConnectionReset.into()));
        } else {
            self.mark_dirty(id);
        }
        Some(())
    }

    pub(super) fn on_received(
        &mut self,
        id: WireId,
        result: io::Result<usize>,
        lease: Option<Lease>,
    ) -> Option<()> {
        let now = self.now;
        let wire = self.get(id)?;
        wire.rx.armed = Armed::Nothing;
        match wire.life {
            Life::Ending { .. } => self.reap(id),
            Life::Finishing | Life::Goodbye => self.on_drained_bytes(id, result),
            Life::Open => match (result, lease) {
                (Ok(0), _) => match wire.tx.broken.take() {
                    Some(error) => self.fail(id, WireError::Io(error)),
                    None => {
                        wire.rx.ended = true;
                        self.events.push_back((id, WireEvent::Eof));
                    }
                },
                (Ok(n), Some(lease)) => {
                    wire.rx.last_data = now;
                    wire.rx.full = if n >= FULL {
                        wire.rx.full.saturating_add(1)
                    } else {
                        0
                    };
                    self.mark_dirty(id);
                    self.on_bytes(id, lease);
                }
                // A ring that delivers bytes without a buffer breaks its contract; the stream cannot go on.
                (Ok(_), None) => self.fail(id, WireError::Io(io::ErrorKind::InvalidData.into())),
                (Err(error), _) => self.on_receive_error(id, error),
            },
        }
        Some(())
    }

    fn on_receive_error(&mut self, id: WireId, error: io::Error) {
        if errno::is_out_of_buffers(&error) {
            if let Some(wire) = self.get(id) {
                wire.rx.armed = Armed::Starved;
                self.starved.push_back(id);
            }
        } else if is_transient(&error) || errno::is_cancelled(&error) {
            self.mark_dirty(id);
        } else {
            self.fail(id, WireError::Io(error));
        }
    }

    fn on_bytes(&mut self, id: WireId, mut lease: Lease) {
        let turn_is_full = self.handshakes >= HANDSHAKES_PER_TURN;
        let Some(wire) = self.get(id) else { return };
        if wire.tls.as_ref().is_some_and(|tls| !tls.may_send()) {
            if turn_is_full {
                wire.rx.armed = Armed::Deferred;
                return self.deferred.push_back((id, lease));
            }
            self.handshakes += 1;
        }
        let Some(wire) = self.get(id) else { return };
        let Some(mut tls) = wire.tls.take() else {
            self.events.push_back((id, WireEvent::Data(lease)));
            return;
        };
        let mut protocol = Vec::new();
        let mut plain: Vec<Lease> = Vec::new();
        let bulk = lease.filled() > self.small.data_len();
        let mut no_memory = false;
        let result = tls.receive(
            lease.data_mut(),
            &mut |mut bytes| {
                while !bytes.is_empty() {
                    if plain.last().is_none_or(|last| last.spare() == 0) {
                        let Some(lease) = self.lease_for(if bulk { usize::MAX } else { bytes.len() }) else {
                            no_memory = true;
                            return;
                        };
                        plain.push(lease);
                    }
                    let taken = plain.last_mut().map_or(0, |last| last.extend_from_slice(bytes));
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
            },
            &mut protocol,
        );
        drop(lease);
        let ended = tls.peer_closed();
        self.events
            .extend(plain.into_iter().map(|data| (id, WireEvent::Data(data))));
        if let Some(wire) = self.get(id) {
            wire.tls = Some(tls);
            wire.tx.protocol.extend_from_slice(&protocol);
            if ended && !wire.rx.ended {
                wire.rx.ended = true;
                self.events.push_back((id, WireEvent::Eof));
            }
            self.mark_dirty(id);
        }
        match result {
            Ok(()) if no_memory => self.fail(id, WireError::Io(io::ErrorKind::OutOfMemory.into())),
            Ok(()) => {}
            Err(error) => self.fail(id, WireError::Tls(error)),
        }
    }

    /// Takes up handshakes that the last turn had no time for; nothing more is received from them meanwhile.
    pub(super) fn take_deferred(&mut self) {
        self.handshakes = 0;
        for _ in 0..self.deferred.len().min(HANDSHAKES_PER_TURN as usize) {
            let Some((id, lease)) = self.deferred.pop_front() else {
                return;
            };
            if let Some(wire) = self.get(id)
                && wire.rx.armed == Armed::Deferred
            {
                wire.rx.armed = Armed::Nothing;
                self.mark_dirty(id);
                self.on_bytes(id, lease);
            }
        }
    }

    /// A buffer for about `len` bytes of plaintext or ciphertext. Where the pools are short a buffer of its own serves, so
    /// that readers who take nothing cannot pin what receiving needs; queues are bounded by their bytes. `None`: the
    /// system has no memory.
    pub(super) fn lease_for(&self, len: usize) -> Option<Lease> {
        let large = if len > self.small.data_len() {
            self.large.take()
        } else {
            None
        };
        let short = self.small.free() < self.small.count() / 4;
        large
            .or_else(|| if short { None } else { self.small.take() })
            .or_else(|| {
                let own = Pool::new(PoolConfig {
                    data_len: self.small.data_len(),
                    count: 1,
                })
                .ok()?;
                own.take()
            })
    }

    /// Bytes for a connection that no role owns: they are dropped, only the end counts.
    fn on_drained_bytes(&mut self, id: WireId, result: io::Result<usize>) {
        let Some(wire) = self.get(id) else { return };
        match result {
            Ok(0) => {
                wire.rx.ended = true;
                if wire.tx.end == End::Done {
                    self.end(id, false);
                }
            }
            Ok(_) => self.mark_dirty(id),
            Err(error) if errno::is_out_of_buffers(&error) => {
                wire.rx.armed = Armed::Starved;
                self.starved.push_back(id);
            }
            Err(error) if is_transient(&error) => self.mark_dirty(id),
            Err(error) if errno::is_cancelled(&error) => self.mark_dirty(id),
            Err(_) => self.end(id, true),
        }
    }

    pub(super) fn fail(&mut self, id: WireId, error: WireError) {
        if let Some(wire) = self.get(id) {
            wire.rx.ended = true;
            if wire.life == Life::Open {
                self.events.push_back((id, WireEvent::Failed(error)));
            } else {
                self.end(id, true);
            }
        }
    }

    /// Lets starved connections try again once some buffers are free.
    pub(super) fn feed_starved(&mut self) {
        let (free, all) = self.buffers();
        if self.starved.is_empty() || free <= all / 16 {
            return;
        }
        for _ in 0..(free - all / 16).min(64) {
            let Some(id) = self.starved.pop_front() else {
                return;
            };
            if let Some(wire) = self.get(id)
                && wire.rx.armed == Armed::Starved
            {
                wire.rx.armed = Armed::Nothing;
                self.mark_dirty(id);
            }
        }
    }

    /// Connections that have been silent go over to waiting by poll; of those whose peer has ended its direction at least a
    /// reset is noticed. Those that are paused are let be: what the kernel holds of them comes before any error.
    pub(super) fn sweep_idle(&mut self) {
        if self.now < self.next_sweep {
            return;
        }
        self.next_sweep = self.now.after(IDLE_AFTER);
        let now = self.now;
        let silent: Vec<WireId> = self
            .ids()
            .filter(|(_, w)| w.life == Life::Open && now.since(w.rx.last_data) >= IDLE_AFTER)
            .filter(|(_, w)| match w.rx.armed {
                Armed::Receive(_) => true,
                Armed::Nothing => w.rx.ended && w.connecting.is_none(),
                Armed::Poll(_) | Armed::Starved | Armed::Deferred => false,
            })
            .map(|(id, _)| id)
            .collect();
        for id in silent {
            let Some(wire) = self.get(id) else { continue };
            let fd = wire.fd;
            if let Armed::Receive(key) = wire.rx.armed {
                wire.rx.quiet = true;
                self.ring.cancel(key);
            } else {
                let token = Token::new(id.index, id.generation, kind::POLL);
                let flags = Interest::ERROR;
                let key = self.ring.submit(Op::Poll { fd, flags }, token);
                if let Some(wire) = self.get(id) {
                    wire.rx.armed = Armed::Poll(key);
                }
            }
        }
    }
}
