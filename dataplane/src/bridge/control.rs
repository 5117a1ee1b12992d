//! Control channels: one registered listener for each remote forward.

use std::time::Duration;

use viaduct_proto::http1::HeadBuffer;
use viaduct_proto::hybrid::{ToListener, Token, guid, listen_target, parse_to_listener, renew_token_json};
use viaduct_proto::limits;
use viaduct_proto::time::Now;
use viaduct_proto::ws::{
    CloseFrame, MessageReader, OpCode, Said, Side, encode_close, encode_empty_close, encode_message,
    encode_ping, encode_pong, upgrade,
};

use super::link::read_answer;
use super::resolve::Waiter;
use super::{Bridge, Role, timer};
use crate::buf::Chunk;
use crate::observe::Counter;
use crate::shard::{Ask, Order};
use crate::timer::TimerKey;
use crate::wire::{WireEvent, WireId, Wires};

/// Pauses before the 1st, 2nd, … attempt after a loss; the last one repeats (reference azbridge 1.7).
const PAUSES_S: [u64; 6] = [0, 1, 2, 5, 10, 30];

/// Own control messages of a relay may be longer than those that official clients take.
const MESSAGE_MAX: usize = 4 * limits::CONTROL_MESSAGE_MAX;

/// Time online after which a loss counts as a new one.
const SETTLED: Duration = Duration::from_secs(30);
/// Limit for one address while there are others to try.
pub(super) const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// A listener and its connection to the relay.
#[derive(Debug)]
pub(super) struct Channel {
    remote: usize,
    relay: usize,
    phase: Phase,
    wire: Option<WireId>,
    /// What the relay has been told last.
    token: Option<Token>,
    addresses: Vec<std::net::SocketAddr>,
    /// Attempts since it was last online.
    attempts: usize,
    timer: Option<TimerKey>,
    /// What the log said last, so that a long outage is told once.
    told: Option<String>,
}

#[derive(Debug)]
enum Phase {
    /// Waits for the time of the next attempt, for addresses or for a token.
    Waiting,
    Connecting,
    Upgrading {
        key: String,
        head: HeadBuffer,
    },
    Online(Box<Online>),
}

#[derive(Debug)]
struct Online {
    reader: MessageReader,
    since: Now,
    heard: Now,
}

impl Channel {
    pub(super) const fn new(remote: usize, relay: usize) -> Self {
        Self {
            remote,
            relay,
            phase: Phase::Waiting,
            wire: None,
            token: None,
            addresses: Vec::new(),
            attempts: 0,
            timer: None,
            told: None,
        }
    }
}

impl Bridge {
    pub(super) fn open_channel(&mut self, wires: &mut Wires, index: usize) {
        let Some(channel) = self.channels.get(index) else {
            return;
        };
        let relay = channel.relay;
        if !matches!(channel.phase, Phase::Waiting) || channel.wire.is_some() {
            return;
        }
        match self.relays.get(relay).and_then(|state| state.token.clone()) {
            Some(Err(why)) => return self.channel_failed(wires, index, &format!("no token: {why}")),
            None if self.needs_token(relay) => {
                self.set_channel_timer(wires, index, ATTEMPT_LIMIT);
                return self.wait(relay, Waiter::Channel(index));
            }
            Some(Ok(_)) | None => {}
        }
        let Some(port) = self.setup.config.relays.get(relay).map(|relay| relay.port) else {
            return;
        };
        match self.relay_addresses(wires, relay, port, Waiter::Channel(index)) {
            Some(Ok(addresses)) => {
                if let Some(channel) = self.channels.get_mut(index) {
                    channel.addresses = addresses;
                }
                self.connect_channel(wires, index, "the relay has no address");
            }
            Some(Err(why)) => self.channel_failed(wires, index, &why),
            // The answer comes by order; the timer is for one that gets lost.
            None => self.set_channel_timer(wires, index, ATTEMPT_LIMIT * 2),
        }
    }

    fn connect_channel(&mut self, wires: &mut Wires, index: usize, why: &str) {
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        let relay = channel.relay;
        if channel.addresses.is_empty() {
            self.forget_addresses(relay);
            return self.channel_failed(wires, index, why);
        }
        let address = channel.addresses.remove(0);
        channel.phase = Phase::Connecting;
        let url = self.relay_url(relay);
        match self.connect_relay(wires, &url, address) {
            Ok(wire) => {
                self.roles.insert(wire, Role::Channel(index));
                if let Some(channel) = self.channels.get_mut(index) {
                    channel.wire = Some(wire);
                }
                let limit = self.setup.config.connect_timeout;
                let others = self
                    .channels
                    .get(index)
                    .is_some_and(|channel| !channel.addresses.is_empty());
                self.set_channel_timer(
                    wires,
                    index,
                    if others { limit.min(ATTEMPT_LIMIT) } else { limit },
                );
            }
            Err(error) => self.connect_channel(wires, index, &format!("{address}: {error}")),
        }
    }

    pub(super) fn on_channel_event(&mut self, wires: &mut Wires, index: usize, event: WireEvent) {
        match event {
            WireEvent::Connected => self.send_listen(wires, index),
            WireEvent::ConnectFailed(error) => {
                self.drop_channel_wire(wires, index);
                self.connect_channel(wires, index, &error.to_string());
            }
            WireEvent::Data(mut lease) => self.on_channel_bytes(wires, index, lease.data_mut()),
            WireEvent::Eof => self.channel_failed(wires, index, "the relay ended the connection"),
            WireEvent::Failed(error) => self.channel_failed(wires, index, &error.to_string()),
            WireEvent::Drained => {}
        }
    }

    fn send_listen(&mut self, wires: &mut Wires, index: usize) {
        let key = upgrade::client_key(self.entropy.secret());
        let id = guid(self.entropy.secret());
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        let (relay, Some(wire)) = (channel.relay, channel.wire) else {
            return;
        };
        channel.phase = Phase::Upgrading {
            key: key.clone(),
            head: HeadBuffer::new(limits::HEAD_MAX),
        };
        let target = self
            .setup
            .config
            .relays
            .get(relay)
            .map(|r| listen_target(&r.path, &id))
            .unwrap_or_default();
        let token = self.token_for(relay);
        if let Some(channel) = self.channels.get_mut(index) {
            channel.token.clone_from(&token);
        }
        let mut headers = vec![("Relay-User-Agent", concat!("viaduct/", env!("CARGO_PKG_VERSION")))];
        if let Some(token) = &token {
            headers.push(("ServiceBusAuthorization", token.as_str()));
        }
        let mut request = Vec::with_capacity(512);
        upgrade::write_client_request(
            &mut request,
            &self.relay_url(relay).authority(),
            &target,
            &key,
            &headers,
        );
        wires.send(wire, Chunk::from_vec(request));
    }

    fn on_channel_bytes(&mut self, wires: &mut Wires, index: usize, bytes: &mut [u8]) {
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        let Phase::Upgrading { key, head } = &mut channel.phase else {
            return self.on_online_bytes(wires, index, bytes);
        };
        match read_answer(head, bytes, key) {
            Ok(None) => {}
            Ok(Some(mut rest)) => {
                self.on_online(wires, index);
                self.on_online_bytes(wires, index, &mut rest);
            }
            Err(why) => self.channel_failed(wires, index, &format!("the relay refused: {why}")),
        }
    }

    fn on_online(&mut self, wires: &mut Wires, index: usize) {
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        channel.phase = Phase::Online(Box::new(Online {
            reader: MessageReader::new(Side::Client, MESSAGE_MAX),
            since: wires.now(),
            heard: wires.now(),
        }));
        let (relay, remote) = (channel.relay, channel.remote);
        let ports: Vec<&str> = self
            .setup
            .config
            .remotes
            .get(remote)
            .map_or_else(Vec::new, |forward| {
                forward
                    .targets
                    .iter()
                    .map(|target| target.port_name.as_str())
                    .collect()
            });
        let text = format!(
            "listening on {} for logical ports {}",
            self.relay_name(relay),
            ports.join(", ")
        );
        tracing::info!(event = "RemoteForwardBridgeOnline", "{text}");
        self.setup.asks.tell(Ask::ForwardStarted { remote, text });
        self.counters.count(Counter::ListenersOnline);
        self.set_channel_timer(wires, index, self.setup.config.keep_alive);
        // The token may have been renewed while the handshake was under way.
        self.renew_channels(wires, relay);
    }

    fn on_online_bytes(&mut self, wires: &mut Wires, index: usize, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let Some(channel) = self.channels.get_mut(index) else {
                return;
            };
            let Phase::Online(online) = &mut channel.phase else {
                return;
            };
            online.heard = wires.now();
            match online.reader.next(bytes) {
                Ok((used, said)) => {
                    bytes = bytes.get_mut(used..).unwrap_or_default();
                    if let Some(said) = said {
                        self.on_relay_said(wires, index, said);
                    }
                }
                Err(violation) => return self.channel_failed(wires, index, &violation.to_string()),
            }
        }
    }

    fn on_relay_said(&mut self, wires: &mut Wires, index: usize, said: Said) {
        let mask = self.entropy.mask();
        let Some(wire) = self.channels.get(index).and_then(|channel| channel.wire) else {
            return;
        };
        match said {
            Said::Ping(payload) => {
                wires.send_if_read(wire, Chunk::from_slice(&encode_pong(&payload, Some(mask))));
            }
            Said::Close(frame) => self.on_channel_close(wires, index, frame.as_ref(), mask),
            Said::Message(message) if !message.binary => {
                let text = String::from_utf8(message.bytes).unwrap_or_default();
                self.on_relay_message(wires, index, &text);
            }
            Said::Message(_) | Said::Pong => {}
        }
    }

    fn on_relay_message(&mut self, wires: &mut Wires, index: usize, text: &str) {
        let Some(relay) = self.channels.get(index).map(|channel| channel.relay) else {
            return;
        };
        match parse_to_listener(text) {
            Ok(ToListener::Accept(accept)) => {
                let shards = self.setup.peers.len().max(1);
                self.next_shard = (self.next_shard + 1) % shards;
                if self.next_shard == self.setup.shard {
                    return self.open_rendezvous(wires, relay, &accept.address);
                }
                let order = Order::Rendezvous {
                    relay,
                    address: accept.address,
                };
                if let Some(Err(full)) = self.setup.peers.get(self.next_shard).map(|peer| peer.send(order))
                    && let Order::Rendezvous { relay, address } = full.0
                {
                    self.open_rendezvous(wires, relay, &address);
                }
            }
            Ok(ToListener::Request(_)) => {
                tracing::debug!("HTTP request ignored: this bridge has no HTTP forward")
            }
            Ok(ToListener::Unknown) => tracing::debug!("message of an unknown kind ignored"),
            Err(error) => tracing::warn!(relay = %self.relay_name(relay), %error, "message not understood"),
        }
    }

    fn on_channel_close(
        &mut self,
        wires: &mut Wires,
        index: usize,
        frame: Option<&CloseFrame>,
        mask: [u8; 4],
    ) {
        if let Some(wire) = self
            .channels
            .get_mut(index)
            .and_then(|channel| channel.wire.take())
        {
            let answer = frame.map_or_else(
                || encode_empty_close(Some(mask)),
                |frame| encode_close(frame.code, "", Some(mask)),
            );
            wires.send(wire, Chunk::from_slice(&answer));
            self.roles.remove(wire);
            wires.finish(wire);
        }
        let why = frame.map_or_else(
            || "the relay closed the control channel".to_owned(),
            |frame| {
                format!(
                    "the relay closed the control channel: {} {}",
                    frame.code.0,
                    frame.reason.as_str().escape_debug()
                )
            },
        );
        self.channel_failed(wires, index, &why);
    }

    /// The channel is down: says so once and tries again later.
    pub(super) fn channel_failed(&mut self, wires: &mut Wires, index: usize, why: &str) {
        self.drop_channel_wire(wires, index);
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        let (relay, remote) = (channel.relay, channel.remote);
        if let Phase::Online(online) = &channel.phase {
            self.counters.lower(Counter::ListenersOnline);
            // A relay that takes the listener and drops it at once must not be asked again at once, for ever.
            if wires.now().since(online.since) >= SETTLED {
                channel.attempts = 0;
                channel.told = None;
            }
        }
        let attempts = channel.attempts;
        channel.phase = Phase::Waiting;
        channel.attempts += 1;
        let told = channel.told.as_deref() == Some(why);
        channel.told = Some(why.to_owned());
        let pause = PAUSES_S.get(attempts).or(PAUSES_S.last()).copied().unwrap_or(30);
        // A quarter either way keeps a thousand bridges from coming back in the same second.
        let spread = Duration::from_millis(pause * 750 + self.entropy.below(pause * 500 + 100));
        if told {
            tracing::debug!(relay = %self.relay_name(relay), "still offline: {why}; next try in {spread:.1?}");
        } else {
            tracing::warn!(
                relay = %self.relay_name(relay), event = "RemoteForwardBridgeOffline",
                "listener offline: {why}; next try in {spread:.1?}"
            );
            self.setup.asks.tell(Ask::ForwardFailed {
                remote,
                text: format!("{}: {why}", self.relay_name(relay)),
            });
        }
        self.set_channel_timer(wires, index, spread);
    }

    fn drop_channel_wire(&mut self, wires: &mut Wires, index: usize) {
        if let Some(wire) = self
            .channels
            .get_mut(index)
            .and_then(|channel| channel.wire.take())
        {
            self.roles.remove(wire);
            wires.abort(wire);
        }
    }

    fn set_channel_timer(&mut self, wires: &mut Wires, index: usize, wait: Duration) {
        let id = WireId {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            generation: 0,
        };
        let timer = wires.set_timer(wires.now().after(wait), Wires::timer_token(id, timer::CHANNEL));
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        if let Some(old) = channel.timer.replace(timer) {
            wires.cancel_timer(old);
        }
    }

    pub(super) fn on_channel_timer(&mut self, wires: &mut Wires, index: usize) {
        let keep_alive = self.setup.config.keep_alive;
        let mask = self.entropy.mask();
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        channel.timer = None;
        match (&channel.phase, channel.wire) {
            (Phase::Waiting, _) => self.open_channel(wires, index),
            (Phase::Connecting | Phase::Upgrading { .. }, _) if !channel.addresses.is_empty() => {
                self.drop_channel_wire(wires, index);
                self.connect_channel(wires, index, "no answer in time");
            }
            (Phase::Online(online), Some(wire)) => {
                let silent = wires.now().since(online.heard);
                if silent >= keep_alive * 2 {
                    return self.channel_failed(wires, index, "the relay does not answer pings");
                }
                if silent >= keep_alive {
                    wires.send(wire, Chunk::from_slice(&encode_ping(&[], Some(mask))));
                }
                self.set_channel_timer(wires, index, keep_alive);
            }
            _ => self.channel_failed(wires, index, "no answer of the relay in time"),
        }
    }

    /// Gives the current token to the control channels that stand and have another.
    pub(super) fn renew_channels(&mut self, wires: &mut Wires, relay: usize) {
        let Some(token) = self.token_for(relay) else {
            return;
        };
        let mask = self.entropy.mask();
        for channel in self.channels.iter_mut().filter(|channel| channel.relay == relay) {
            if let (Phase::Online(_), Some(wire)) = (&channel.phase, channel.wire)
                && channel.token.as_ref() != Some(&token)
            {
                channel.token = Some(token.clone());
                let json = renew_token_json(&token);
                wires.send(
                    wire,
                    Chunk::from_vec(encode_message(OpCode::Text, json.as_bytes(), Some(mask))),
                );
            }
        }
    }
}
