//! Beginning and end of streams.

use std::time::Duration;

use viaduct_proto::hybrid::RelayUrl;
use viaduct_proto::ws::{CloseCode, CloseState, On, encode_close, encode_ping};

use super::stream::{LinkPhase, Origin, Preamble, Stream, StreamKey};
use super::{Bridge, Role, timer};
use crate::buf::Chunk;
use crate::observe::Counter;
use crate::wire::{WireId, Wires};

/// Reason text of the Close that stands for FIN, as azbridge sends it.
const SHUTDOWN: &str = "Shutdown";

/// Why a stream failed, and what its ends are to be told.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// Tell the link by this Close; `None`: it is lost, or is to be lost.
    pub(super) close: Option<CloseCode>,
}

impl Failure {
    /// Both ends are reset.
    pub(super) fn lost(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            close: None,
        }
    }

    /// The far side is told why; our TCP end is reset.
    pub(super) fn told(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            close: Some(CloseCode::INTERNAL),
        }
    }
}

impl Bridge {
    pub(super) fn begin_stream(
        &mut self,
        wires: &mut Wires,
        origin: Origin,
        url: RelayUrl,
        relay: usize,
        preamble: Preamble,
        limit: Duration,
    ) -> StreamKey {
        let serial = self.next_serial;
        self.next_serial = (serial + 1) & crate::ring::Token::GENERATION_MAX;
        let stream = Stream::new(serial, origin, url, relay, preamble, wires.now());
        let key = StreamKey {
            index: self.streams.insert(stream),
            serial,
        };
        self.set_deadline(wires, key, limit);
        key
    }

    pub(super) fn set_deadline(&mut self, wires: &mut Wires, key: StreamKey, limit: Duration) {
        let id = WireId {
            index: u32::try_from(key.index).unwrap_or(u32::MAX),
            generation: key.serial,
        };
        let at = wires.now().after(limit);
        let timer = wires.set_timer(at, Wires::timer_token(id, timer::STREAM));
        let Some(stream) = self.stream(key) else {
            return wires.cancel_timer(timer);
        };
        if let Some((old, _)) = stream.deadline.replace((timer, at)) {
            wires.cancel_timer(old);
        }
    }

    /// Opening is over: from now on the timer looks after the link.
    pub(super) fn opened(&mut self, wires: &mut Wires, key: StreamKey) {
        let now = wires.now();
        if let Some(stream) = self.stream(key) {
            stream.heard = now;
        }
        self.set_deadline(wires, key, self.setup.config.keep_alive);
    }

    pub(super) fn on_stream_timer(&mut self, wires: &mut Wires, key: StreamKey) {
        let now = wires.now();
        let Some(stream) = self.stream(key) else { return };
        // A timer that was replaced in the turn in which it was due comes all the same.
        if stream.deadline.is_none_or(|(_, at)| now < at) {
            return;
        }
        stream.deadline = None;
        let what = match (&stream.link.phase, &stream.preamble) {
            (LinkPhase::Connecting, _) if !stream.link.addresses.is_empty() => {
                return self.try_next_address(wires, key);
            }
            (LinkPhase::Open, Preamble::Done) if stream.tcp.open => return self.look_after_link(wires, key),
            (LinkPhase::Open, Preamble::Done) if !stream.tcp.addresses.is_empty() => {
                return self.try_next_target(wires, key);
            }
            (LinkPhase::Preparing, _) => "no address or token of the relay in time",
            (LinkPhase::Connecting, _) => "no connection to the relay in time",
            (LinkPhase::Upgrading { .. }, _) => "no answer of the relay in time",
            (LinkPhase::Open, Preamble::Reply(_)) => "no answer of the far bridge to the preamble in time",
            (LinkPhase::Open, Preamble::Request(_)) => "no preamble of the far bridge in time",
            (LinkPhase::Open, Preamble::Done) => "no connection to the target in time",
        };
        self.fail(wires, key, &Failure::told(what));
    }

    /// Pings a link that has been silent for an interval, and gives it up after a second one. A link that is not being read,
    /// because its TCP end is slow, proves nothing and is left alone.
    fn look_after_link(&mut self, wires: &mut Wires, key: StreamKey) {
        let mask = self.entropy.mask();
        let keep_alive = self.setup.config.keep_alive;
        let now = wires.now();
        let Some(stream) = self.stream(key) else { return };
        let Some(link) = stream.link.wire else { return };
        let silent = now.since(stream.heard);
        if wires.is_paused(link) {
            stream.heard = now;
            stream.pinged = false;
        } else if stream.pinged && silent >= keep_alive * 2 {
            return self.fail(wires, key, &Failure::lost("the relay does not answer pings"));
        } else if silent >= keep_alive && stream.link.close.may_send() {
            stream.pinged = true;
            wires.send(link, Chunk::from_slice(&encode_ping(&[], Some(mask))));
        }
        self.set_deadline(wires, key, keep_alive);
    }

    /// Ends a stream with an error at both ends and says so in the log.
    pub(super) fn fail(&mut self, wires: &mut Wires, key: StreamKey, failure: &Failure) {
        let Some(stream) = self.remove_stream(wires, key) else {
            return;
        };
        self.counters.count(Counter::StreamsFailed);
        tracing::warn!(
            port = %self.port_of(&stream), relay = %self.relay_name(stream.link.relay),
            sent = stream.sent, received = stream.received, event = "BridgeConnectionFailed",
            "connection failed: {}", failure.why
        );
        if let Some(tcp) = stream.tcp.wire {
            wires.abort(tcp);
        }
        let Some(link) = stream.link.wire else { return };
        match failure.close {
            Some(code) if matches!(stream.link.phase, LinkPhase::Open) && stream.link.close.may_send() => {
                let close = encode_close(code, &failure.why, Some(self.entropy.mask()));
                wires.send(link, Chunk::from_slice(&close));
                wires.finish(link);
            }
            _ => wires.abort(link),
        }
    }

    /// Both directions have ended regularly.
    pub(super) fn complete(&mut self, wires: &mut Wires, key: StreamKey) {
        let Some(stream) = self.remove_stream(wires, key) else {
            return;
        };
        self.counters.count(Counter::StreamsFinished);
        tracing::debug!(
            port = %self.port_of(&stream), relay = %self.relay_name(stream.link.relay),
            sent = stream.sent, received = stream.received, event = "BridgeConnectionStop",
            seconds = wires.now().since(stream.since).as_secs_f32(), "connection closed"
        );
        for wire in [stream.tcp.wire, stream.link.wire].into_iter().flatten() {
            wires.finish_stream(wire);
        }
    }

    fn clear_deadline(&mut self, wires: &mut Wires, key: StreamKey) {
        if let Some((timer, _)) = self.stream(key).and_then(|stream| stream.deadline.take()) {
            wires.cancel_timer(timer);
        }
    }

    fn remove_stream(&mut self, wires: &mut Wires, key: StreamKey) -> Option<Stream> {
        self.clear_deadline(wires, key);
        self.stream(key)?;
        let stream = self.streams.remove(key.index);
        for wire in [stream.tcp.wire, stream.link.wire].into_iter().flatten() {
            self.roles.remove(wire);
        }
        Some(stream)
    }

    /// Our TCP end has ended: Close 1000 tells the other side, which may go on sending.
    pub(super) fn say_shutdown(&mut self, wires: &mut Wires, key: StreamKey) {
        let mask = self.entropy.mask();
        let Some(stream) = self.stream(key) else { return };
        if !stream.note_close(On::Send) {
            return;
        }
        let close = Chunk::from_slice(&encode_close(CloseCode::NORMAL, SHUTDOWN, Some(mask)));
        self.send_link(wires, key, close);
        self.complete_if_ended(wires, key);
    }

    pub(super) fn complete_if_ended(&mut self, wires: &mut Wires, key: StreamKey) {
        let Some(stream) = self.stream(key) else { return };
        let both = stream.link.close == CloseState::Closed;
        if both && stream.is_link_open() && stream.tcp.early.is_empty() {
            self.complete(wires, key);
        }
    }

    pub(super) fn set_link(&mut self, key: StreamKey, wire: WireId) {
        if let Some(stream) = self.stream(key) {
            stream.link.wire = Some(wire);
            self.roles.insert(wire, Role::Link(key));
        }
    }

    pub(super) fn set_tcp(&mut self, wires: &mut Wires, key: StreamKey, wire: WireId) {
        if let Some(stream) = self.stream(key) {
            // The end of a TCP stream says that it is whole; that of a bridge must not.
            wires.guard(wire);
            stream.tcp.wire = Some(wire);
            self.roles.insert(wire, Role::Tcp(key));
        }
    }

    /// Logical port of a stream, for messages.
    pub(super) fn port_of(&self, stream: &Stream) -> String {
        let config = &self.setup.config;
        match &stream.origin {
            Origin::Local { forward, bind, peer } => {
                let bind = config.locals.get(*forward).and_then(|f| f.binds.get(*bind));
                format!(
                    "{} (client {peer})",
                    bind.map_or("?", |bind| bind.port_name.as_str())
                )
            }
            Origin::Remote { relay } => {
                let targets = config
                    .remotes
                    .iter()
                    .find(|f| f.relay == *relay)
                    .map(|f| &f.targets);
                let target = stream.tcp.target.and_then(|n| targets?.get(n));
                target.map_or_else(
                    || "not chosen yet".to_owned(),
                    |t| format!("{} (target {}:{})", t.port_name, t.host, t.port),
                )
            }
        }
    }

    /// The address of a relay, without a target.
    pub(super) fn relay_url(&self, relay: usize) -> RelayUrl {
        match self.setup.config.relays.get(relay) {
            Some(relay) => RelayUrl {
                secure: relay.secure,
                host: relay.host.clone(),
                port: relay.port,
                target: String::new(),
            },
            None => RelayUrl {
                secure: true,
                host: String::new(),
                port: 0,
                target: String::new(),
            },
        }
    }

    /// Name of a relay endpoint, for messages.
    pub(super) fn relay_name(&self, relay: usize) -> String {
        let relay = self.setup.config.relays.get(relay);
        relay.map_or_else(
            || "?".to_owned(),
            |relay| format!("{}/{}", relay.authority(), relay.path),
        )
    }
}
