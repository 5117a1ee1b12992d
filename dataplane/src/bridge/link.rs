//! Opening the WebSocket of a stream: addresses, connect, TLS, upgrade.

use rustls::pki_types::ServerName;
use viaduct_proto::Parsed;
use viaduct_proto::http1::{HeadBuffer, ResponseHead};
use viaduct_proto::hybrid::{RelayUrl, connect_target, guid};
use viaduct_proto::limits;
use viaduct_proto::ws::upgrade::{self, ClientRefusal};

use super::Bridge;
use super::control::ATTEMPT_LIMIT;
use super::lifecycle::Failure;
use super::resolve::Waiter;
use super::stream::{LinkPhase, Origin, StreamKey};
use crate::buf::Chunk;
use crate::observe::Counter;
use crate::wire::{WireError, WireEvent, WireId, Wires};

/// Names us to the relay and, in connectHeaders, to the far bridge: a stream that carries the preamble.
const USER_AGENT: (&str, &str) = ("Relay-User-Agent", concat!("viaduct/", env!("CARGO_PKG_VERSION")));

impl Bridge {
    /// Starts, or goes on, opening the link: waits for addresses and token, then connects.
    pub(super) fn open_link(&mut self, wires: &mut Wires, key: StreamKey) {
        let Some(stream) = self.stream(key) else { return };
        let (relay, url) = (stream.link.relay, stream.link.url.clone());
        let local = matches!(stream.origin, Origin::Local { .. });
        if local && let Some(Err(why)) = self.relays.get(relay).and_then(|state| state.token.as_ref()) {
            let failure = Failure::lost(format!("no token: {why}"));
            return self.fail(wires, key, &failure);
        }
        let token_missing = local && self.token_for(relay).is_none() && self.needs_token(relay);
        match self.addresses_for(wires, relay, &url, key) {
            Some(Ok(addresses)) if !token_missing => {
                if let Some(stream) = self.stream(key) {
                    stream.link.addresses = addresses;
                }
                self.connect_link(wires, key);
            }
            Some(Err(why)) => self.fail(wires, key, &Failure::lost(why)),
            // The answer, or the token, comes by order and calls this again.
            Some(Ok(_)) => self.wait(relay, Waiter::Stream(key)),
            None => {}
        }
    }

    fn connect_link(&mut self, wires: &mut Wires, key: StreamKey) {
        let Some(stream) = self.stream(key) else { return };
        stream.link.phase = LinkPhase::Connecting;
        let url = stream.link.url.clone();
        loop {
            let Some(stream) = self.stream(key) else { return };
            if stream.link.addresses.is_empty() {
                let failure = Failure::lost(format!("cannot connect to the relay at {}", url.authority()));
                return self.fail(wires, key, &failure);
            }
            let address = stream.link.addresses.remove(0);
            match self.connect_relay(wires, &url, address) {
                Ok(wire) => {
                    self.set_link(key, wire);
                    return self.limit_attempt(wires, key);
                }
                Err(error) => tracing::debug!(%address, %error, "no socket to the relay"),
            }
        }
    }

    /// One address that does not answer must not use up the time of the others.
    fn limit_attempt(&mut self, wires: &mut Wires, key: StreamKey) {
        let Some(stream) = self.stream(key) else { return };
        if !stream.link.addresses.is_empty() {
            self.set_deadline(wires, key, ATTEMPT_LIMIT);
        } else if stream.link.tried > 0 {
            let limit = self.setup.config.connect_timeout;
            self.set_deadline(wires, key, limit);
        }
        if let Some(stream) = self.stream(key) {
            stream.link.tried += 1;
        }
    }

    /// Gives up the address that is being tried.
    pub(super) fn try_next_address(&mut self, wires: &mut Wires, key: StreamKey) {
        let old = self.stream(key).and_then(|stream| stream.link.wire.take());
        if let Some(wire) = old {
            self.roles.remove(wire);
            wires.abort(wire);
        }
        self.connect_link(wires, key);
    }

    /// Connects to a relay node, with TLS where the URL says so.
    pub(super) fn connect_relay(
        &self,
        wires: &mut Wires,
        url: &RelayUrl,
        address: std::net::SocketAddr,
    ) -> Result<WireId, WireError> {
        if !url.secure {
            return wires.connect(address, None, None);
        }
        let name = ServerName::try_from(url.host.clone())
            .map_err(|_| WireError::Io(std::io::Error::other("the relay's host is no valid server name")))?;
        wires.connect(address, None, Some((&self.setup.config.tls.config, name)))
    }

    pub(super) fn on_link_event(&mut self, wires: &mut Wires, key: StreamKey, event: WireEvent) {
        match event {
            WireEvent::Connected => self.send_upgrade(wires, key),
            WireEvent::ConnectFailed(error) => self.on_link_connect_failed(wires, key, &error),
            WireEvent::Data(lease) => {
                let Some(stream) = self.stream(key) else { return };
                if matches!(stream.link.phase, LinkPhase::Upgrading { .. }) {
                    self.on_upgrade_bytes(wires, key, lease.data());
                } else {
                    self.on_link_data(wires, key, lease);
                }
            }
            WireEvent::Eof => self.fail(
                wires,
                key,
                &Failure::lost("the relay ended the connection without a close"),
            ),
            WireEvent::Failed(error) => self.fail(
                wires,
                key,
                &Failure::lost(format!("connection to the relay: {error}")),
            ),
            WireEvent::Drained => {
                // What the handshake has sent says nothing about the client.
                let open = self.stream(key).filter(|stream| stream.is_link_open());
                if let Some(tcp) = open.and_then(|stream| stream.tcp.wire) {
                    wires.resume(tcp);
                }
            }
        }
    }

    fn on_link_connect_failed(&mut self, wires: &mut Wires, key: StreamKey, error: &std::io::Error) {
        let Some(stream) = self.stream(key) else { return };
        if !stream.link.addresses.is_empty() {
            return self.try_next_address(wires, key);
        }
        let (relay, authority) = (stream.link.relay, stream.link.url.authority());
        self.forget_addresses(relay);
        let why = format!("cannot connect to the relay at {authority}: {error}");
        self.fail(wires, key, &Failure::lost(why));
    }

    fn send_upgrade(&mut self, wires: &mut Wires, key: StreamKey) {
        let ws_key = upgrade::client_key(self.entropy.secret());
        let id = guid(self.entropy.secret());
        let Some(stream) = self.stream(key) else { return };
        let (relay, url, wire) = (stream.link.relay, stream.link.url.clone(), stream.link.wire);
        stream.link.phase = LinkPhase::Upgrading {
            key: ws_key.clone(),
            head: HeadBuffer::new(limits::HEAD_MAX),
        };
        let local = matches!(stream.origin, Origin::Local { .. });
        let mut request = Vec::with_capacity(512);
        if local {
            // The path comes from the configuration, the token from the control thread.
            let target = self
                .setup
                .config
                .relays
                .get(relay)
                .map(|r| connect_target(&r.path, &id))
                .unwrap_or_default();
            let token = self.token_for(relay);
            let mut headers = vec![USER_AGENT];
            if let Some(token) = &token {
                headers.push(("ServiceBusAuthorization", token.as_str()));
            }
            upgrade::write_client_request(&mut request, &url.authority(), &target, &ws_key, &headers);
        } else {
            // A rendezvous address authorizes by itself.
            upgrade::write_client_request(&mut request, &url.authority(), &url.target, &ws_key, &[]);
        }
        if let Some(wire) = wire {
            wires.send(wire, Chunk::from_vec(request));
        }
    }

    fn on_upgrade_bytes(&mut self, wires: &mut Wires, key: StreamKey, bytes: &[u8]) {
        let Some(stream) = self.stream(key) else { return };
        let LinkPhase::Upgrading { key: ws_key, head } = &mut stream.link.phase else {
            return;
        };
        let answer = match read_answer(head, bytes, ws_key) {
            Ok(None) => return,
            Ok(Some(rest)) => Ok(rest),
            Err(why) => Err(why),
        };
        match answer {
            Ok(rest) => {
                stream.link.phase = LinkPhase::Open;
                self.on_link_open(wires, key);
                match wires.leases(&rest) {
                    Some(leases) => leases
                        .into_iter()
                        .for_each(|lease| self.on_link_data(wires, key, lease)),
                    None => self.fail(wires, key, &Failure::lost("no memory")),
                }
            }
            Err(why) => self.fail(wires, key, &Failure::lost(format!("the relay refused: {why}"))),
        }
    }

    fn on_link_open(&mut self, wires: &mut Wires, key: StreamKey) {
        self.counters.count(Counter::RendezvousJoined);
        self.set_deadline(wires, key, super::local::PREAMBLE_LIMIT);
        self.send_preamble(wires, key);
        let Some(stream) = self.stream(key) else { return };
        let early = std::mem::take(&mut stream.link.early);
        let (link, tcp) = (stream.link.wire, stream.tcp.wire);
        if let Some(link) = link {
            for chunk in early {
                wires.send(link, chunk);
            }
        }
        if let Some(tcp) = tcp {
            wires.resume(tcp);
        }
        self.complete_if_ended(wires, key);
    }

    /// Sends a frame, or keeps it until the upgrade is done.
    pub(super) fn send_link(&mut self, wires: &mut Wires, key: StreamKey, frame: Chunk) {
        let Some(stream) = self.stream(key) else { return };
        match stream.link.wire {
            Some(wire) if stream.is_link_open() => wires.send(wire, frame),
            _ => stream.link.early.push(wires.unpin(frame)),
        }
    }
}

/// Collects the relay's answer. `Some`: upgraded, and these bytes came behind the head.
pub(super) fn read_answer(
    head: &mut HeadBuffer,
    bytes: &[u8],
    ws_key: &str,
) -> Result<Option<Vec<u8>>, String> {
    if head
        .extend(bytes)
        .map_err(|violation| violation.to_string())?
        .is_none()
    {
        return Ok(None);
    }
    match ResponseHead::parse(head.bytes()).map_err(|violation| violation.to_string())? {
        Parsed::Need => Ok(None),
        Parsed::Done(answer, used) => match upgrade::check_switching(&answer, ws_key) {
            Ok(_) => {
                let mut rest = std::mem::replace(head, HeadBuffer::new(0)).into_bytes();
                rest.drain(..used.min(rest.len()));
                Ok(Some(rest))
            }
            Err(refusal @ ClientRefusal::Status { .. }) => Err(refusal.to_string()),
            Err(refusal) => Err(format!("{refusal} (is this the address of a relay?)")),
        },
    }
}
