//! How connections come: accepted, connected, or from another shard; and how they leave for one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use viaduct_proto::time::Now;

use super::tls::Tls;
use super::{Armed, End, Life, Rx, Tx, Wire, WireError, WireEvent, WireId, Wires, kind};
use crate::ring::{Fd, Op, Token};

/// Pause after accepting failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection on its way to another shard: nothing is in flight, nothing is queued.
#[derive(Debug)]
pub struct Moved {
    fd: Fd,
    peer: SocketAddr,
    tls: Option<Box<Tls>>,
}

impl Wires {
    /// Starts accepting on a listening socket. Its completions go to the role, under the number returned: 0, 1, ….
    pub fn accept(&mut self, fd: Fd) -> u32 {
        let listener = u32::try_from(self.listeners.len()).unwrap_or(u32::MAX);
        self.listeners.push(fd);
        self.accept_again(listener);
        listener
    }

    /// Accepting has ended on a listener: it goes on at once, or after a failure (no descriptors, mostly) a little later.
    pub fn on_accept_ended(&mut self, listener: u32, failed: bool) {
        if failed {
            let token = Token::new(listener, 0, kind::ACCEPT);
            self.set_timer(self.now.after(ACCEPT_PAUSE), token);
        } else {
            self.accept_again(listener);
        }
    }

    pub(super) fn accept_again(&mut self, listener: u32) {
        if let Some(fd) = self.listeners.get(listener as usize) {
            self.ring
                .submit(Op::Accept { fd: *fd }, Token::new(listener, 0, kind::ACCEPT));
        }
    }

    /// Takes an accepted connection, with TLS if a configuration is given.
    ///
    /// # Errors
    /// The table is full, or TLS refuses its configuration; the connection has been closed.
    pub fn adopt(
        &mut self,
        fd: Fd,
        peer: SocketAddr,
        tls: Option<&Arc<ServerConfig>>,
    ) -> Result<WireId, WireError> {
        let tls = match tls.map(|config| Tls::server(Arc::clone(config))).transpose() {
            Ok(tls) => tls.map(Box::new),
            Err(error) => {
                self.ring.close(fd);
                return Err(WireError::Tls(error));
            }
        };
        self.insert_open(Moved { fd, peer, tls })
    }

    /// Takes a connection that another shard gave away.
    ///
    /// # Errors
    /// The table is full; the connection has been closed.
    pub fn adopt_moved(&mut self, moved: Moved) -> Result<WireId, WireError> {
        self.ring.adopt(moved.fd);
        self.insert_open(moved)
    }

    /// Starts connecting to `addr`, from `bind` if given; then [`WireEvent::Connected`] or [`WireEvent::ConnectFailed`].
    ///
    /// # Errors
    /// No socket could be made, or the table is full.
    pub fn connect(
        &mut self,
        addr: SocketAddr,
        bind: Option<SocketAddr>,
        tls: Option<(&Arc<ClientConfig>, ServerName<'static>)>,
    ) -> Result<WireId, WireError> {
        let mut protocol = Vec::new();
        let tls = match tls {
            None => None,
            Some((config, name)) => {
                let mut tls = Tls::client(Arc::clone(config), name).map_err(WireError::Tls)?;
                tls.start(&mut protocol).map_err(WireError::Tls)?;
                Some(Box::new(tls))
            }
        };
        if self.len() >= self.connections_max {
            return Err(WireError::Io(io::ErrorKind::QuotaExceeded.into()));
        }
        let fd = self.ring.socket(&addr, bind).map_err(WireError::Io)?;
        self.dialled += 1;
        let id = self.insert(Wire::new(fd, addr, tls, self.now));
        let token = Token::new(id.index, id.generation, kind::CONNECT);
        let key = self.ring.submit(Op::Connect { fd, addr }, token);
        if let Some(wire) = self.get(id) {
            wire.connecting = Some(key);
            wire.tx.protocol = protocol;
        }
        Ok(id)
    }

    pub(super) fn on_connected(&mut self, id: WireId, result: io::Result<()>) -> Option<()> {
        let wire = self.get(id)?;
        wire.connecting = None;
        match result {
            _ if wire.life != Life::Open => self.reap(id),
            Ok(()) => {
                self.mark_dirty(id);
                self.events.push_back((id, WireEvent::Connected));
            }
            Err(error) => self.events.push_back((id, WireEvent::ConnectFailed(error))),
        }
        Some(())
    }

    /// Gives the connection to another shard, if nothing of it is in flight or queued; else it stays, and the role tries
    /// again on [`WireEvent::Drained`].
    pub fn move_out(&mut self, id: WireId) -> Option<Moved> {
        let wire = self.get(id)?;
        let busy = wire.tx.in_flight.is_some()
            || wire.tx.queued() > 0
            || matches!(wire.rx.armed, Armed::Receive(_) | Armed::Poll(_))
            || wire.connecting.is_some()
            || wire.rx.ended
            || wire.life != Life::Open;
        // What was received and not yet delivered must not stay behind either.
        if busy || self.events.iter().any(|(other, _)| *other == id) {
            return None;
        }
        let wire = self.remove(id)?;
        self.ring.detach(wire.fd);
        Some(Moved {
            fd: wire.fd,
            peer: wire.peer,
            tls: wire.tls,
        })
    }

    /// Closes a connection that could not be given away.
    pub fn discard(&mut self, moved: Moved) {
        self.ring.adopt(moved.fd);
        self.ring.close(moved.fd);
    }

    fn insert_open(&mut self, moved: Moved) -> Result<WireId, WireError> {
        if self.len() >= self.connections_max {
            self.ring.close(moved.fd);
            return Err(WireError::Io(io::ErrorKind::QuotaExceeded.into()));
        }
        let id = self.insert(Wire::new(moved.fd, moved.peer, moved.tls, self.now));
        self.mark_dirty(id);
        Ok(id)
    }
}

impl Wire {
    fn new(fd: Fd, peer: SocketAddr, tls: Option<Box<Tls>>, now: Now) -> Self {
        Self {
            fd,
            peer,
            tls,
            life: Life::Open,
            connecting: None,
            patient: false,
            linger: None,
            guarded: false,
            rx: Rx {
                armed: Armed::Nothing,
                wanted: true,
                full: 0,
                ended: false,
                quiet: false,
                last_data: now,
            },
            tx: Tx {
                in_flight: None,
                in_flight_len: 0,
                last_taken: now,
                pending: None,
                protocol: Vec::new(),
                end: End::Not,
                broken: None,
                dirty: false,
            },
        }
    }
}
