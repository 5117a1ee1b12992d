//! Local forwards: clients, and the preamble as their side speaks it.

use std::net::SocketAddr;
use std::time::Duration;

use viaduct_proto::hybrid::RelayUrl;
use viaduct_proto::preamble::{Mode, Reply, ReplyReader, encode_request};
use viaduct_proto::ws::OpCode;

use super::lifecycle::Failure;
use super::stream::{Origin, Preamble, StreamKey};
use super::{Bridge, LocalSocket};
use crate::buf::Chunk;
use crate::observe::Counter;
use crate::ring::Fd;
use crate::wire::Wires;

/// How long either side waits for the other's part of the preamble.
pub(super) const PREAMBLE_LIMIT: Duration = Duration::from_secs(30);

impl Bridge {
    pub(super) fn on_client(&mut self, wires: &mut Wires, local: LocalSocket, fd: Fd, peer: SocketAddr) {
        let config = &self.setup.config;
        let endpoint = config
            .locals
            .get(local.forward)
            .and_then(|forward| Some((forward.relay, config.relays.get(forward.relay)?)));
        let Some((relay, endpoint)) = endpoint else {
            return wires.ring().reset(fd);
        };
        let url = RelayUrl {
            secure: endpoint.secure,
            host: endpoint.host.clone(),
            port: endpoint.port,
            target: String::new(),
        };
        let limit = config.connect_timeout;
        let wire = match wires.adopt(fd, peer, None) {
            Ok(wire) => wire,
            Err(error) => {
                self.counters.count(Counter::ConnectionsRefused);
                return tracing::warn!(%peer, %error, "client refused: this bridge is full");
            }
        };
        self.counters.count(Counter::ConnectionsAccepted);
        let origin = Origin::Local {
            forward: local.forward,
            bind: local.bind,
            peer,
        };
        let preamble = Preamble::Reply(ReplyReader::new());
        let key = self.begin_stream(wires, origin, url, relay, preamble, limit);
        self.set_tcp(wires, key, wire);
        if let Some(stream) = self.stream(key) {
            stream.tcp.open = true;
        }
        self.open_link(wires, key);
    }

    /// Preamble and logical port, one message; what the client has sent already follows in the same flight.
    pub(super) fn send_preamble(&mut self, wires: &mut Wires, key: StreamKey) {
        let mask = self.entropy.mask();
        let Some(stream) = self.stream(key) else { return };
        let (Origin::Local { forward, bind, .. }, Some(wire)) = (stream.origin.clone(), stream.link.wire)
        else {
            return;
        };
        let bind = self
            .setup
            .config
            .locals
            .get(forward)
            .and_then(|forward| forward.binds.get(bind));
        let name = bind.map_or("", |bind| bind.port_name.as_str());
        match encode_request(Mode::Stream, name) {
            Ok(preamble) => {
                let frame = viaduct_proto::ws::encode_message(OpCode::Binary, &preamble, Some(mask));
                wires.send(wire, Chunk::from_vec(frame));
            }
            // Names are checked with the configuration.
            Err(error) => self.fail(wires, key, &Failure::told(error.to_string())),
        }
    }

    /// Takes the far bridge's answer from the front of its bytes; returns how many of them it took.
    pub(super) fn on_reply_bytes(&mut self, wires: &mut Wires, key: StreamKey, bytes: &[u8]) -> usize {
        let Some(stream) = self.stream(key) else {
            return bytes.len();
        };
        let Preamble::Reply(reader) = &mut stream.preamble else {
            return 0;
        };
        let (used, reply) = reader.feed(bytes);
        let why = match reply {
            None => return used,
            Some(Ok(Reply::Accepted(Mode::Stream))) => {
                stream.preamble = Preamble::Done;
                self.opened(wires, key);
                return used;
            }
            Some(Ok(Reply::UdpExpected)) => "the logical port carries UDP at the far bridge, not TCP",
            Some(Ok(Reply::Version)) => "the far end does not understand this version of the preamble",
            Some(Ok(Reply::Mismatch | Reply::Accepted(Mode::Datagram))) => "the far bridge answered for UDP",
            Some(Err(_)) => "the far end is no bridge: it did not answer the preamble",
        };
        self.fail(wires, key, &Failure::told(why));
        bytes.len()
    }
}
