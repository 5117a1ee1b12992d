//! Senders, and the listener's connections that meet them.

use viaduct_proto::http1::RequestHead;
use viaduct_proto::hybrid::{
    Accept, HcTarget, Refusal, Rendezvous, RendezvousEvent, accept_address, entity_key, is_rendezvous_id,
    match_entity, rendezvous_id,
};
use viaduct_proto::limits;
use viaduct_proto::sas::Rights;
use viaduct_proto::ws::upgrade::{self, ServerOffer};

use super::{Relay, Role, timer};
use crate::buf::Chunk;
use crate::config::limits::{EARLY_MAX, WAITING_MAX};
use crate::observe::Counter;
use crate::timer::TimerKey;
use crate::wire::{WireEvent, WireId, Wires};

/// A sender that has been offered to a listener.
#[derive(Debug)]
pub(super) struct Waiting {
    id: String,
    state: Rendezvous,
    /// The listener that was told, and what it was told.
    listener: WireId,
    message: String,
    /// Key of its hybrid connection.
    entity: String,
    path: String,
    host: String,
    key: String,
    early: Vec<u8>,
    deadline: TimerKey,
}

impl Relay {
    pub(super) fn on_connect(
        &mut self,
        wires: &mut Wires,
        id: WireId,
        head: &RequestHead,
        target: &HcTarget,
        offer: ServerOffer,
        unread: Vec<u8>,
    ) -> Result<(), Refusal> {
        let configured = match_entity(&self.setup.namespace.entities, &target.path);
        if configured.is_none_or(|(_, entity, _)| entity.requires_client_authorization) {
            self.authorize(wires, head, target, Rights::SEND)
                .map_err(Refusal::Unauthorized)?;
        }
        let known = configured.map(|(key, _, _)| key.to_owned());
        let (entity, listener) = self.choose_listener(wires, known, &target.path)?;
        let rendezvous = rendezvous_id(self.entropy.secret(), self.entropy.secret());
        let message = self.accept_message(wires, id, head, target, listener, &rendezvous);
        if message.len() > limits::CONTROL_MESSAGE_MAX {
            return Err(Refusal::HeadTooLong);
        }
        if self.waiting_bytes + message.len() + unread.len() > WAITING_MAX {
            return Err(Refusal::Overloaded);
        }
        Self::tell_listener(wires, listener, &message);

        let at = wires.now().after(self.setup.limits.rendezvous);
        let deadline = wires.set_timer(at, Wires::timer_token(id, timer::RENDEZVOUS));
        self.waiting.insert(rendezvous.clone(), id);
        self.waiting_bytes += message.len() + unread.len();
        self.counters.count(Counter::SendersOffered);
        let waiting = Waiting {
            id: rendezvous,
            state: Rendezvous::new(at),
            listener,
            message,
            entity,
            path: target.path.clone(),
            host: head.headers.get("Host").unwrap_or_default().to_owned(),
            key: offer.key,
            early: unread,
            deadline,
        };
        self.take_role(wires, id, Role::Waiting(Box::new(waiting)));
        Ok(())
    }

    /// The hybrid connection of a sender and the listener whose turn it is. `known`: the configured one, if there is.
    fn choose_listener(
        &mut self,
        wires: &Wires,
        known: Option<String>,
        path: &str,
    ) -> Result<(String, WireId), Refusal> {
        let key = match known {
            Some(key) => key,
            None if self.setup.namespace.autocreate => {
                let found = match_entity(&self.entities, path).map(|(key, _, _)| key.to_owned());
                found.ok_or(Refusal::NoListeners)?
            }
            None => return Err(Refusal::EndpointDoesNotExist),
        };
        let listener = self.entities.get_mut(&key).and_then(|entity| entity.pick(wires));
        listener
            .map(|listener| (key, listener))
            .ok_or(Refusal::NoListeners)
    }

    fn accept_message(
        &self,
        wires: &Wires,
        id: WireId,
        head: &RequestHead,
        target: &HcTarget,
        listener: WireId,
        rendezvous: &str,
    ) -> String {
        let host = match self.roles.get(listener) {
            Some(Role::Listener(channel)) => channel.host.as_str(),
            _ => "",
        };
        let authority = self.setup.advertise.as_deref().unwrap_or(host);
        let secure = self.setup.tls.is_some();
        let accept = Accept {
            address: accept_address(
                secure,
                authority,
                &target.raw_path,
                &target.forward_query,
                rendezvous,
            ),
            id: rendezvous.to_owned(),
            connect_headers: head
                .headers
                .iter()
                .map(|h| (h.name.clone(), h.value.clone()))
                .collect(),
            remote: wires
                .peer(id)
                .map(|peer| (peer.ip().to_string(), peer.port()))
                .unwrap_or_default(),
        };
        accept.to_json()
    }

    /// A listener has come or gone: senders whose listener is gone are offered to another, under the same id. The one that
    /// is gone may still come for them; without any they wait until their time is over.
    pub(super) fn offer_again(&mut self, wires: &mut Wires) {
        let is_orphan = |role: Option<&Role>| match role {
            Some(Role::Waiting(waiting)) => {
                !matches!(self.roles.get(waiting.listener), Some(Role::Listener(_)))
            }
            _ => false,
        };
        let orphans: Vec<WireId> = self
            .waiting
            .values()
            .copied()
            .filter(|sender| is_orphan(self.roles.get(*sender)))
            .collect();
        for sender in orphans {
            if let Some(Role::Waiting(waiting)) = self.roles.get_mut(sender)
                && let Some(listener) = self
                    .entities
                    .get_mut(&waiting.entity)
                    .and_then(|entity| entity.pick(wires))
            {
                waiting.listener = listener;
                Self::tell_listener(wires, listener, &waiting.message);
            }
        }
    }

    pub(super) fn on_waiting_event(&mut self, wires: &mut Wires, id: WireId, event: WireEvent) {
        match event {
            WireEvent::Data(lease) => {
                let Some(Role::Waiting(waiting)) = self.roles.get_mut(id) else {
                    return;
                };
                waiting.early.extend_from_slice(lease.data());
                self.waiting_bytes += lease.filled();
                if waiting.early.len() >= EARLY_MAX {
                    wires.pause(id);
                }
            }
            WireEvent::Eof | WireEvent::Failed(_) => {
                if let Some(waiting) = self.stop_waiting(wires, id, RendezvousEvent::SenderGone) {
                    tracing::debug!(path = waiting.path, "sender left before its listener came");
                }
                wires.abort(id);
            }
            WireEvent::Connected | WireEvent::ConnectFailed(_) | WireEvent::Drained => {}
        }
    }

    pub(super) fn on_rendezvous_deadline(&mut self, wires: &mut Wires, id: WireId) {
        if let Some(waiting) = self.stop_waiting(wires, id, RendezvousEvent::Tick) {
            self.counters.count(Counter::RendezvousTimedOut);
            self.refuse_for(wires, id, &Refusal::ListenerTimeout, &waiting.host, &waiting.path);
        }
    }

    /// Ends the wait of a sender, if `event` may end it now.
    fn stop_waiting(&mut self, wires: &mut Wires, id: WireId, event: RendezvousEvent) -> Option<Waiting> {
        let now = wires.now();
        match self.roles.get_mut(id)? {
            Role::Waiting(waiting) => {
                waiting.state = waiting.state.next(event, now)?;
                if waiting.state.is_waiting() {
                    return None;
                }
            }
            _ => return None,
        }
        let Some(Role::Waiting(waiting)) = self.roles.remove(id) else {
            return None;
        };
        wires.cancel_timer(waiting.deadline);
        self.waiting.remove(&waiting.id);
        self.waiting_bytes -= waiting.message.len() + waiting.early.len();
        Some(*waiting)
    }

    /// The listener's connection for one sender has come: joins the two, or carries the listener's refusal to the sender.
    pub(super) fn on_accept(
        &mut self,
        wires: &mut Wires,
        id: WireId,
        target: &HcTarget,
        offer: &ServerOffer,
        unread: &[u8],
    ) -> Result<(), Refusal> {
        let wanted = target.id.as_deref().unwrap_or_default();
        if !is_rendezvous_id(wanted) {
            return Err(Refusal::UnknownConnection);
        }
        let sender = *self.waiting.get(wanted).ok_or(Refusal::BadRendezvous)?;
        let same_entity = |waiting: &Waiting| {
            entity_key(&target.path)
                .strip_prefix(&waiting.entity)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let Some(Role::Waiting(waiting)) = self.roles.get(sender) else {
            return Err(Refusal::BadRendezvous);
        };
        if !same_entity(waiting) {
            return Err(Refusal::BadRendezvous);
        }
        if let Some(rejection) = target.rejection()? {
            let refusal = Refusal::Rejected {
                status: rejection.status,
                text: rejection.description,
            };
            if let Some(waiting) = self.stop_waiting(wires, sender, RendezvousEvent::Reject) {
                self.counters.count(Counter::RendezvousRejected);
                self.refuse_for(wires, sender, &refusal, &waiting.host, &waiting.path);
            }
            return Err(Refusal::RejectNoted);
        }
        let Some(waiting) = self.stop_waiting(wires, sender, RendezvousEvent::Accept) else {
            return Err(Refusal::BadRendezvous);
        };
        // The protocol that the listener's client put first is the one it chose (reference section 2.4).
        let protocol = offer.protocols.first().map(String::as_str);
        for (wire, key) in [(id, &offer.key), (sender, &waiting.key)] {
            let mut answer = Vec::with_capacity(160);
            upgrade::write_switching(&mut answer, key, protocol);
            wires.send(wire, Chunk::from_vec(answer));
        }
        self.join(wires, sender, id);
        wires.resume(sender);
        tracing::debug!(path = waiting.path, peer = ?wires.peer(sender), "sender and listener joined");
        if !waiting.early.is_empty() {
            self.forward_early(wires, sender, &waiting.early);
        }
        if !unread.is_empty() {
            self.forward_early(wires, id, unread);
        }
        Ok(())
    }
}
