//! Remote forwards: rendezvous, logical port, target.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use viaduct_proto::hybrid::parse_ws_url;
use viaduct_proto::preamble::{Mode, PreambleFault, Reply, Request, RequestReader, select};
use viaduct_proto::ws::{OpCode, encode_message};

use super::Bridge;
use super::control::ATTEMPT_LIMIT;
use super::lifecycle::Failure;
use super::resolve::Question;
use super::stream::{Origin, Preamble, StreamKey};
use crate::buf::Chunk;
use crate::observe::Counter;
use crate::wire::Wires;

/// Limit for opening a rendezvous: the relay gives up after 30 s.
const RENDEZVOUS_LIMIT: Duration = Duration::from_secs(20);
/// Limit for connecting to a target.
const TARGET_LIMIT: Duration = Duration::from_secs(30);

impl Bridge {
    pub(super) fn open_rendezvous(&mut self, wires: &mut Wires, relay: usize, address: &str) {
        let url = match parse_ws_url(address) {
            Ok(url) => url,
            Err(error) => {
                self.counters.count(Counter::StreamsFailed);
                return tracing::warn!(relay = %self.relay_name(relay), %error, "rendezvous address not understood");
            }
        };
        self.counters.count(Counter::ConnectionsAccepted);
        let preamble = Preamble::Request(RequestReader::new());
        let key = self.begin_stream(
            wires,
            Origin::Remote { relay },
            url,
            relay,
            preamble,
            RENDEZVOUS_LIMIT,
        );
        self.open_link(wires, key);
    }

    /// Takes the far bridge's preamble from the front of its bytes; returns how many were used.
    pub(super) fn on_request_bytes(&mut self, wires: &mut Wires, key: StreamKey, bytes: &[u8]) -> usize {
        let Some(stream) = self.stream(key) else {
            return bytes.len();
        };
        let Preamble::Request(reader) = &mut stream.preamble else {
            return 0;
        };
        match reader.feed(bytes) {
            Ok((used, None)) => used,
            Ok((used, Some(request))) => {
                stream.preamble = Preamble::Done;
                self.on_request(wires, key, &request);
                used
            }
            Err(PreambleFault::Version) => {
                self.reply(wires, key, Reply::Version);
                self.fail(
                    wires,
                    key,
                    &Failure::told("the far end does not speak the bridge's preamble"),
                );
                bytes.len()
            }
        }
    }

    fn on_request(&mut self, wires: &mut Wires, key: StreamKey, request: &Request) {
        let Some(relay) = self.stream(key).map(|stream| stream.link.relay) else {
            return;
        };
        let config = std::sync::Arc::clone(&self.setup.config);
        let Some(forward) = config.remotes.iter().find(|forward| forward.relay == relay) else {
            return;
        };
        let names = forward.targets.iter().map(|target| target.port_name.as_str());
        let Some(chosen) = select(names.clone(), &request.name) else {
            let known: Vec<&str> = names.collect();
            let why = format!("unknown port name '{}'", request.name.escape_debug());
            tracing::warn!(relay = %self.relay_name(relay), "{why}; this bridge has: {}", known.join(", "));
            return self.fail(wires, key, &Failure::told(why));
        };
        if request.mode == Mode::Datagram {
            self.reply(wires, key, Reply::Mismatch);
            return self.fail(wires, key, &Failure::told("UDP asked for on a TCP port"));
        }
        // Answered before the target is connected: it saves the far side a round trip (and azbridge does it so).
        self.reply(wires, key, Reply::Accepted(Mode::Stream));
        self.set_deadline(wires, key, TARGET_LIMIT);
        let Some(stream) = self.stream(key) else { return };
        stream.tcp.target = Some(chosen);
        let Some(target) = forward.targets.get(chosen) else {
            return;
        };
        if let Ok(ip) = target.host.parse::<IpAddr>() {
            return self.on_target_addresses(wires, key, Ok(vec![SocketAddr::new(ip, target.port)]));
        }
        match self.setup.asks.resolve(&target.host, target.port) {
            Some(ticket) => {
                self.questions.insert(ticket, Question::Target(key));
            }
            None => self.fail(wires, key, &Failure::told("too many address look-ups at once")),
        }
    }

    fn reply(&mut self, wires: &mut Wires, key: StreamKey, reply: Reply) {
        let frame = encode_message(OpCode::Binary, &reply.encode(), Some(self.entropy.mask()));
        self.send_link(wires, key, Chunk::from_vec(frame));
    }

    pub(super) fn on_target_addresses(
        &mut self,
        wires: &mut Wires,
        key: StreamKey,
        result: Result<Vec<SocketAddr>, String>,
    ) {
        match result {
            Ok(addresses) => {
                if let Some(stream) = self.stream(key) {
                    stream.tcp.addresses = addresses;
                    self.connect_target(wires, key, None);
                }
            }
            Err(why) => self.fail(wires, key, &Failure::told(format!("target: {why}"))),
        }
    }

    /// Tries the next address of the target.
    pub(super) fn connect_target(
        &mut self,
        wires: &mut Wires,
        key: StreamKey,
        last: Option<&std::io::Error>,
    ) {
        let mut last = last.map(ToString::to_string);
        loop {
            let Some(stream) = self.stream(key) else { return };
            if stream.tcp.addresses.is_empty() {
                let why = last.unwrap_or_else(|| "it has no address".to_owned());
                return self.fail(wires, key, &Failure::told(format!("target not reached: {why}")));
            }
            let address = stream.tcp.addresses.remove(0);
            let sources = &self.setup.config.bind_addresses;
            let bind = sources
                .iter()
                .find(|ip| ip.is_ipv4() == address.is_ipv4())
                .map(|ip| SocketAddr::new(*ip, 0));
            match wires.connect(address, bind, None) {
                Ok(wire) => {
                    self.set_tcp(wires, key, wire);
                    let others = self
                        .stream(key)
                        .is_some_and(|stream| !stream.tcp.addresses.is_empty());
                    return self.set_deadline(wires, key, if others { ATTEMPT_LIMIT } else { TARGET_LIMIT });
                }
                Err(error) => last = Some(format!("{address}: {error}")),
            }
        }
    }

    /// Gives up the address of the target that is being tried.
    pub(super) fn try_next_target(&mut self, wires: &mut Wires, key: StreamKey) {
        let old = self.stream(key).and_then(|stream| stream.tcp.wire.take());
        if let Some(wire) = old {
            self.roles.remove(wire);
            wires.abort(wire);
        }
        self.connect_target(wires, key, None);
    }

    /// The target stands: what came for it meanwhile goes out.
    pub(super) fn on_target_open(&mut self, wires: &mut Wires, key: StreamKey) {
        self.opened(wires, key);
        let Some(stream) = self.stream(key) else { return };
        stream.tcp.open = true;
        let (Some(tcp), early) = (stream.tcp.wire, std::mem::take(&mut stream.tcp.early)) else {
            return;
        };
        let ended = stream.tcp.end_after_early;
        let link = stream.link.wire;
        tracing::debug!(port = %self.streams.get(key.index).map(|s| self.port_of(s)).unwrap_or_default(), "target connected");
        for chunk in early {
            wires.send(tcp, chunk);
        }
        if ended {
            wires.half_close(tcp);
        }
        if let Some(link) = link {
            wires.resume(link);
        }
        self.complete_if_ended(wires, key);
    }
}
