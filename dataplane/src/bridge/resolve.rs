//! Addresses and tokens: asked for on the control thread, waited for here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use viaduct_proto::hybrid::{RelayUrl, Token};
use viaduct_proto::time::Now;

use super::Bridge;
use super::stream::StreamKey;
use crate::config::bridge::Credential;
use crate::wire::Wires;

/// How long addresses of a relay are used before they are looked up again.
const ADDRESSES_FRESH: Duration = Duration::from_secs(30);

/// Time after which a look-up is asked for again.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(15);

/// What is known of a relay endpoint.
#[derive(Debug, Default)]
pub(super) struct RelayState {
    /// Addresses of the configured host.
    addresses: Vec<SocketAddr>,
    looked_up: Option<Now>,
    /// When the look-up in progress was asked for.
    asked: Option<Now>,
    /// Streams and channels that wait for addresses or for the token.
    waiting: Vec<Waiter>,
    pub(super) token: Option<Result<Option<Token>, String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    Stream(StreamKey),
    Channel(usize),
}

/// What an open question is for.
#[derive(Debug)]
pub(super) enum Question {
    /// Addresses of relay endpoint number `.0`.
    Relay(usize),
    /// Addresses of another relay node, that a rendezvous address names.
    Node(StreamKey),
    Target(StreamKey),
}

impl Bridge {
    /// Addresses for a stream's link. `None`: asked for; the stream is told when they are there.
    pub(super) fn addresses_for(
        &mut self,
        wires: &Wires,
        relay: usize,
        url: &RelayUrl,
        key: StreamKey,
    ) -> Option<Result<Vec<SocketAddr>, String>> {
        if let Ok(ip) = url.host.parse::<IpAddr>() {
            return Some(Ok(vec![SocketAddr::new(ip, url.port)]));
        }
        if let Some(known) = self
            .stream(key)
            .map(|stream| stream.link.addresses.clone())
            .filter(|a| !a.is_empty())
        {
            return Some(Ok(known));
        }
        let config = self.setup.config.relays.get(relay)?;
        if config.host.eq_ignore_ascii_case(&url.host) {
            return self.relay_addresses(wires, relay, url.port, Waiter::Stream(key));
        }
        match self.setup.asks.resolve(&url.host, url.port) {
            Some(ticket) => {
                self.questions.insert(ticket, Question::Node(key));
                None
            }
            None => Some(Err("too many address look-ups at once".to_owned())),
        }
    }

    /// Addresses of a configured relay, with `port`.
    pub(super) fn relay_addresses(
        &mut self,
        wires: &Wires,
        relay: usize,
        port: u16,
        waiter: Waiter,
    ) -> Option<Result<Vec<SocketAddr>, String>> {
        let config = self.setup.config.relays.get(relay)?;
        if let Ok(ip) = config.host.parse::<IpAddr>() {
            return Some(Ok(vec![SocketAddr::new(ip, port)]));
        }
        let state = self.relays.get_mut(relay)?;
        let fresh = state
            .looked_up
            .is_some_and(|at| wires.now().since(at) < ADDRESSES_FRESH);
        if fresh && !state.addresses.is_empty() {
            let addresses = state
                .addresses
                .iter()
                .map(|a| SocketAddr::new(a.ip(), port))
                .collect();
            return Some(Ok(addresses));
        }
        // An answer that does not come was lost: the mailbox was full.
        if state
            .asked
            .is_none_or(|at| wires.now().since(at) >= LOOK_UP_LIMIT)
        {
            let Some(ticket) = self.setup.asks.resolve(&config.host, config.port) else {
                return Some(Err("too many address look-ups at once".to_owned()));
            };
            state.asked = Some(wires.now());
            self.questions.insert(ticket, Question::Relay(relay));
        }
        if !state.waiting.contains(&waiter) {
            state.waiting.push(waiter);
        }
        None
    }

    pub(super) fn forget_addresses(&mut self, relay: usize) {
        if let Some(state) = self.relays.get_mut(relay) {
            state.looked_up = None;
        }
    }

    pub(super) fn on_resolved(
        &mut self,
        wires: &mut Wires,
        ticket: u64,
        result: Result<Vec<SocketAddr>, String>,
    ) {
        match self.questions.remove(&ticket) {
            Some(Question::Target(key)) => self.on_target_addresses(wires, key, result),
            Some(Question::Node(key)) => match result {
                Ok(addresses) => {
                    if let Some(stream) = self.stream(key) {
                        stream.link.addresses = addresses;
                        self.open_link(wires, key);
                    }
                }
                Err(why) => self.fail(wires, key, &super::lifecycle::Failure::lost(why)),
            },
            Some(Question::Relay(relay)) => self.on_relay_resolved(wires, relay, result),
            None => {}
        }
    }

    fn on_relay_resolved(
        &mut self,
        wires: &mut Wires,
        relay: usize,
        result: Result<Vec<SocketAddr>, String>,
    ) {
        let now = wires.now();
        let Some(state) = self.relays.get_mut(relay) else {
            return;
        };
        state.asked = None;
        let waiting = std::mem::take(&mut state.waiting);
        match result {
            Ok(addresses) => {
                state.addresses = addresses;
                state.looked_up = Some(now);
                self.wake(wires, waiting);
            }
            Err(why) => {
                for waiter in waiting {
                    match waiter {
                        Waiter::Stream(key) => {
                            self.fail(wires, key, &super::lifecycle::Failure::lost(why.clone()))
                        }
                        Waiter::Channel(index) => self.channel_failed(wires, index, &why),
                    }
                }
            }
        }
    }

    fn wake(&mut self, wires: &mut Wires, waiting: Vec<Waiter>) {
        for waiter in waiting {
            match waiter {
                Waiter::Stream(key) => self.open_link(wires, key),
                Waiter::Channel(index) => self.open_channel(wires, index),
            }
        }
    }

    /// The token that a handshake with this relay carries now.
    pub(super) fn token_for(&self, relay: usize) -> Option<Token> {
        self.relays.get(relay)?.token.as_ref()?.as_ref().ok()?.clone()
    }

    pub(super) fn needs_token(&self, relay: usize) -> bool {
        self.setup
            .config
            .relays
            .get(relay)
            .is_some_and(|relay| relay.credential != Credential::Anonymous)
    }

    pub(super) fn wait(&mut self, relay: usize, waiter: Waiter) {
        if let Some(state) = self.relays.get_mut(relay)
            && !state.waiting.contains(&waiter)
        {
            state.waiting.push(waiter);
        }
    }

    pub(super) fn on_token(&mut self, wires: &mut Wires, relay: usize, token: Result<Option<Token>, String>) {
        let Some(state) = self.relays.get_mut(relay) else {
            return;
        };
        state.token = Some(token);
        let waiting = std::mem::take(&mut state.waiting);
        self.wake(wires, waiting);
        self.renew_channels(wires, relay);
    }
}
