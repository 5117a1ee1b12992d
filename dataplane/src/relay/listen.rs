//! Listeners: control channels and the hybrid connections they serve.

use viaduct_proto::http1::RequestHead;
use viaduct_proto::hybrid::{
    ControlEnd, FromListener, HcTarget, Listener as Machine, ListenerOutput, ListenerTimers, Refusal,
    entity_key, parse_from_listener,
};
use viaduct_proto::limits;
use viaduct_proto::sas::Rights;
use viaduct_proto::ws::upgrade::{self, ServerOffer};
use viaduct_proto::ws::{
    Assembler, Item, OpCode, Reader, Side, encode_close, encode_empty_close, encode_message, encode_ping,
    encode_pong,
};

use super::{Relay, Role, timer};
use crate::buf::Chunk;
use crate::config::limits::CONTROL_QUEUE_MAX;
use crate::observe::Counter;
use crate::timer::TimerKey;
use crate::wire::{WireEvent, WireId, Wires};

/// A hybrid connection as far as it is in use on this shard.
#[derive(Debug, Default)]
pub(super) struct Entity {
    listeners: Vec<WireId>,
    /// Who is next; senders go round.
    turn: usize,
}

impl Entity {
    /// The next listener whose channel is not stuck.
    pub(super) fn pick(&mut self, wires: &Wires) -> Option<WireId> {
        let count = self.listeners.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let id = *self.listeners.get(at)?;
            if wires.queued(id) <= CONTROL_QUEUE_MAX {
                self.turn = (at + 1) % count;
                return Some(id);
            }
        }
        None
    }
}

/// The control channel of one listener.
#[derive(Debug)]
pub(super) struct Listener {
    /// Key of its entity.
    pub(super) entity: String,
    /// Authority by which the listener came: `Host` of its handshake.
    pub(super) host: String,
    reader: Reader,
    assembler: Assembler,
    machine: Machine,
    timer: TimerKey,
}

impl Relay {
    pub(super) fn on_listen(
        &mut self,
        wires: &mut Wires,
        id: WireId,
        head: &RequestHead,
        target: &HcTarget,
        offer: &ServerOffer,
        unread: &[u8],
    ) -> Result<(), Refusal> {
        let grant = self
            .authorize(wires, head, target, Rights::LISTEN)
            .map_err(Refusal::Unauthorized)?;
        let key = entity_key(&target.path);
        let namespace = &self.setup.namespace;
        if !namespace.autocreate && !namespace.entities.contains_key(&key) {
            return Err(Refusal::EndpointDoesNotExist);
        }
        let entity = self.entities.entry(key.clone()).or_default();
        if entity.listeners.len() >= self.setup.limits.listeners_per_entity {
            return Err(Refusal::TooManyListeners);
        }
        entity.listeners.push(id);
        let limits = &self.setup.limits;
        let timers = ListenerTimers {
            ping_every: limits.ping_every,
            pong_grace: limits.ping_every,
            token_grace: limits.token_grace,
        };
        let timer = wires.set_timer(wires.now(), Wires::timer_token(id, timer::LISTENER));
        let listener = Listener {
            entity: key,
            host: head.headers.get("Host").unwrap_or_default().to_owned(),
            reader: Reader::new(Side::Server),
            assembler: Assembler::new(limits::CONTROL_MESSAGE_MAX),
            machine: Machine::new(wires.now(), timers, grant.expires),
            timer,
        };
        self.take_role(wires, id, Role::Listener(Box::new(listener)));
        let mut answer = Vec::new();
        upgrade::write_switching(&mut answer, &offer.key, None);
        wires.send(id, Chunk::from_vec(answer));
        self.counters.count(Counter::ListenersRegistered);
        self.counters.count(Counter::ListenersOnline);
        tracing::info!(
            peer = ?wires.peer(id), path = %target.path, operation = "NewListenerRegistered", "listener registered"
        );
        self.offer_again(wires);
        if !unread.is_empty() {
            self.on_listener_bytes(wires, id, &mut unread.to_vec());
        }
        Ok(())
    }

    pub(super) fn on_listener_event(&mut self, wires: &mut Wires, id: WireId, event: WireEvent) {
        match event {
            WireEvent::Data(mut lease) => self.on_listener_bytes(wires, id, lease.data_mut()),
            WireEvent::Eof => self.unregister(wires, id, "connection ended without close", true),
            WireEvent::Failed(error) => self.unregister(wires, id, &error.to_string(), false),
            WireEvent::Connected | WireEvent::ConnectFailed(_) | WireEvent::Drained => {}
        }
    }

    fn on_listener_bytes(&mut self, wires: &mut Wires, id: WireId, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let Some(Role::Listener(listener)) = self.roles.get_mut(id) else {
                return;
            };
            listener.machine.on_bytes(wires.now());
            let step = match listener.reader.next(bytes) {
                Ok(step) => step,
                Err(violation) => {
                    let close = encode_close(violation.close_code(), violation.text(), None);
                    return self.close_listener(wires, id, &close, violation.text());
                }
            };
            let (now, later) = bytes.split_at_mut(step.consumed);
            bytes = later;
            if let Some(item) = step.item {
                self.on_listener_item(wires, id, item, now);
            }
        }
    }

    fn on_listener_item(&mut self, wires: &mut Wires, id: WireId, item: Item, bytes: &[u8]) {
        let Some(Role::Listener(listener)) = self.roles.get_mut(id) else {
            return;
        };
        let message = match item {
            Item::Ping(payload) => {
                return wires.send_if_read(id, Chunk::from_slice(&encode_pong(&payload, None)));
            }
            Item::Pong(_) => return listener.machine.on_pong(wires.now()),
            Item::Close(frame) => {
                // Answered at once with the same code: .NET waits for the answer.
                let answer = match frame {
                    Some(frame) => encode_close(frame.code, "", None),
                    None => encode_empty_close(None),
                };
                return self.close_listener(wires, id, &answer, "closed by the listener");
            }
            Item::Data { header, .. } => listener
                .assembler
                .on_data(&header)
                .map(|()| listener.assembler.take_if_complete()),
            Item::Payload { range, last } => listener
                .assembler
                .on_payload(bytes.get(range).unwrap_or_default(), last),
        };
        match message {
            Ok(Some(message)) if !message.binary => {
                let text = String::from_utf8(message.bytes).unwrap_or_default();
                self.on_listener_message(wires, id, &text);
            }
            // Anything else that a listener says is ignored: some official samples greet (reference section 2.2).
            Ok(_) => {}
            Err(violation) => {
                let close = encode_close(violation.close_code(), violation.text(), None);
                self.close_listener(wires, id, &close, violation.text());
            }
        }
    }

    fn on_listener_message(&mut self, wires: &mut Wires, id: WireId, text: &str) {
        let Ok(FromListener::RenewToken(token)) = parse_from_listener(text) else {
            tracing::debug!(peer = ?wires.peer(id), "message of the listener ignored");
            return;
        };
        let Some(Role::Listener(listener)) = self.roles.get(id) else {
            return;
        };
        let (path, host) = (listener.entity.clone(), listener.host.clone());
        let granted = self.verify(wires, token.as_str(), &host, &path, Rights::LISTEN);
        let (now, unix) = (wires.now(), wires.unix());
        let Some(Role::Listener(listener)) = self.roles.get_mut(id) else {
            return;
        };
        let end = match granted {
            Ok(grant) => match listener.machine.on_renew(grant.expires, unix) {
                Ok(()) => {
                    tracing::debug!(path, "token renewed");
                    wires.cancel_timer(listener.timer);
                    listener.timer = wires.set_timer(now, Wires::timer_token(id, timer::LISTENER));
                    return;
                }
                Err(refused) => ControlEnd::TokenExpired { at: refused.at },
            },
            Err(error) => ControlEnd::TokenInvalid(error),
        };
        self.end_listener(wires, id, end);
    }

    /// Something may be due on a control channel: a ping, the end of its token, or its death.
    pub(super) fn on_listener_timer(&mut self, wires: &mut Wires, id: WireId) {
        let (now, unix) = (wires.now(), wires.unix());
        loop {
            let Some(Role::Listener(listener)) = self.roles.get_mut(id) else {
                return;
            };
            match listener.machine.poll(now, unix) {
                ListenerOutput::Idle { wake_at } => {
                    listener.timer = wires.set_timer(wake_at, Wires::timer_token(id, timer::LISTENER));
                    return;
                }
                ListenerOutput::SendPing => wires.send(id, Chunk::from_slice(&encode_ping(&[], None))),
                ListenerOutput::Expired => {
                    self.counters.count(Counter::ListenersLost);
                    let at = listener.machine.token_expiry();
                    return self.end_listener(wires, id, ControlEnd::TokenExpired { at });
                }
                ListenerOutput::Dead => {
                    return self.unregister(wires, id, "no answer to pings", false);
                }
            }
        }
    }

    /// Sends a text message to a listener.
    pub(super) fn tell_listener(wires: &mut Wires, id: WireId, json: &str) {
        wires.send(
            id,
            Chunk::from_vec(encode_message(OpCode::Text, json.as_bytes(), None)),
        );
    }

    fn end_listener(&mut self, wires: &mut Wires, id: WireId, end: ControlEnd) {
        let reason = end.reason();
        self.close_listener(wires, id, &encode_close(end.code(), &reason, None), &reason);
    }

    fn close_listener(&mut self, wires: &mut Wires, id: WireId, close: &[u8], why: &str) {
        wires.send(id, Chunk::from_slice(close));
        self.unregister(wires, id, why, true);
    }

    /// The listener is gone; its streams go on.
    fn unregister(&mut self, wires: &mut Wires, id: WireId, why: &str, polite: bool) {
        if let Some(Role::Listener(listener)) = self.roles.remove(id) {
            wires.cancel_timer(listener.timer);
            self.counters.lower(Counter::ListenersOnline);
            if let Some(entity) = self.entities.get_mut(&listener.entity) {
                entity.listeners.retain(|other| *other != id);
                if entity.listeners.is_empty() {
                    self.entities.remove(&listener.entity);
                }
            }
            tracing::info!(
                peer = ?wires.peer(id), path = %listener.entity, operation = "ListenerUnregistered", "listener left: {why}"
            );
        }
        if polite {
            wires.finish(id)
        } else {
            wires.abort(id)
        }
        self.offer_again(wires);
    }
}
