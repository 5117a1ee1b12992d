//! From the first byte to what a connection is for.

use viaduct_proto::http1::{HeadBuffer, RequestHead};
use viaduct_proto::hybrid::{Action, HcTarget, Refusal, match_entity, parse_hc_target};
use viaduct_proto::sas::{self, AuthError, Grant, Rights, SasToken};
use viaduct_proto::time::Now;
use viaduct_proto::ws::upgrade;
use viaduct_proto::{Parsed, limits};

use super::{Head, Leaving, Relay, Role, timer};
use crate::config::limits::{HEAD_USUAL, HEADS_MAX};
use crate::observe::Counter;
use crate::shard::{Handover, Order};
use crate::wire::{WireEvent, WireId, Wires};

/// The header that carries a token.
const AUTHORIZATION: &str = "ServiceBusAuthorization";

impl Relay {
    pub(super) fn begin_head(&mut self, wires: &mut Wires, id: WireId, since: Now) {
        let deadline = wires.set_timer(
            since.after(self.setup.limits.head),
            Wires::timer_token(id, timer::HEAD),
        );
        let buffer = HeadBuffer::new(limits::HEAD_MAX);
        self.roles.insert(
            id,
            Role::Head(Box::new(Head {
                buffer,
                len: 0,
                since,
                deadline,
            })),
        );
    }

    pub(super) fn on_head_event(&mut self, wires: &mut Wires, id: WireId, event: WireEvent) {
        match event {
            WireEvent::Data(lease) => self.on_head_bytes(wires, id, lease.data()),
            WireEvent::Eof | WireEvent::ConnectFailed(_) => self.let_go(wires, id),
            WireEvent::Failed(error) => {
                tracing::debug!(peer = ?wires.peer(id), %error, "connection lost before its request");
                // A TLS failure has left an alert to be delivered.
                self.let_go(wires, id);
            }
            WireEvent::Connected | WireEvent::Drained => {}
        }
    }

    /// Clears up after a `Head` role.
    pub(super) fn forget_head(&mut self, wires: &mut Wires, role: Role) {
        if let Role::Head(head) = role {
            wires.cancel_timer(head.deadline);
            self.head_bytes -= head.len;
        }
    }

    pub(super) fn on_head_deadline(&mut self, wires: &mut Wires, id: WireId) {
        if matches!(self.roles.get(id), Some(Role::Leaving(_))) {
            self.roles.remove(id);
            wires.abort(id);
        } else if matches!(self.roles.get(id), Some(Role::Head(_))) {
            tracing::debug!(peer = ?wires.peer(id), "request head not complete in time");
            self.counters.count(Counter::HandshakesFailed);
            self.refuse_plain(wires, id, &Refusal::HeadTimeout);
        }
    }

    fn on_head_bytes(&mut self, wires: &mut Wires, id: WireId, bytes: &[u8]) {
        let Some(Role::Head(head)) = self.roles.get_mut(id) else {
            return;
        };
        head.len += bytes.len();
        self.head_bytes += bytes.len();
        if self.head_bytes > HEADS_MAX && head.len > HEAD_USUAL {
            return self.refuse_plain(wires, id, &Refusal::Overloaded);
        }
        let parsed = match head.buffer.extend(bytes) {
            Ok(None) => return,
            Ok(Some(_)) => RequestHead::parse(head.buffer.bytes()),
            Err(violation) => Err(violation),
        };
        match parsed {
            Ok(Parsed::Need) => {}
            Ok(Parsed::Done(request, used)) => {
                let buffer = std::mem::replace(&mut head.buffer, HeadBuffer::new(0));
                let mut unread = buffer.into_bytes();
                unread.drain(..used.min(unread.len()));
                self.on_head(wires, id, request, unread);
            }
            Err(violation) => {
                self.counters.count(Counter::HandshakesFailed);
                self.refuse_plain(wires, id, &Refusal::from(violation));
            }
        }
    }

    /// A whole request head: finds the shard, then the action. The role stays `Head` until something else is decided.
    pub(super) fn on_head(&mut self, wires: &mut Wires, id: WireId, head: RequestHead, unread: Vec<u8>) {
        let target = match parse_hc_target(&head.target) {
            Ok(target) => target,
            Err(error) => {
                let refusal = Refusal::from(error);
                return self.refuse(wires, id, &refusal, &head, "");
            }
        };
        if !self.serves(&head) {
            return self.refuse(wires, id, &Refusal::EndpointDoesNotExist, &head, &target.path);
        }
        let to = Self::home_of(&self.setup.namespace, &target.path, self.setup.peers.len());
        if to != self.setup.shard {
            return self.leave(wires, id, to, head, unread);
        }
        let offer = match upgrade::server_offer(&head) {
            Ok(offer) => offer,
            Err(why) => {
                let refusal = Refusal::NotWebSocket {
                    missing: why.missing(),
                };
                return self.refuse(wires, id, &refusal, &head, &target.path);
            }
        };
        let decided = match target.action {
            Action::Listen => self.on_listen(wires, id, &head, &target, &offer, &unread),
            Action::Connect => self.on_connect(wires, id, &head, &target, offer, unread),
            Action::Accept => self.on_accept(wires, id, &target, &offer, &unread),
            Action::Request => Err(Refusal::BadRendezvous),
        };
        if let Err(refusal) = decided {
            self.refuse(wires, id, &refusal, &head, &target.path);
        }
    }

    /// Whether the request names a host of this namespace.
    fn serves(&self, head: &RequestHead) -> bool {
        let hosts = &self.setup.namespace.hosts;
        let host = head.headers.get("Host").unwrap_or_default();
        // The port says nothing about the namespace; an IPv6 literal ends with its bracket.
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => name,
            _ => host,
        };
        hosts.is_empty() || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Ends the `Head` role in favour of another.
    pub(super) fn take_role(&mut self, wires: &mut Wires, id: WireId, role: Role) {
        if let Some(old) = self.roles.insert(id, role) {
            self.forget_head(wires, old);
        }
    }

    /// Checks the token of a request: header first, then query (reference section 2.7).
    pub(super) fn authorize(
        &self,
        wires: &Wires,
        head: &RequestHead,
        target: &HcTarget,
        need: Rights,
    ) -> Result<Grant, AuthError> {
        let text = head
            .headers
            .get(AUTHORIZATION)
            .or_else(|| target.token.as_ref().map(|token| token.as_str()));
        let text = text
            .filter(|text| !text.trim().is_empty())
            .ok_or(AuthError::Missing)?;
        let host = head.headers.get("Host").unwrap_or_default();
        self.verify(wires, text, host, &target.path, need)
    }

    /// Checks a token against the rules of the hybrid connection that `path` belongs to, then the namespace's.
    pub(super) fn verify(
        &self,
        wires: &Wires,
        text: &str,
        host: &str,
        path: &str,
        need: Rights,
    ) -> Result<Grant, AuthError> {
        let token = SasToken::parse(text).map_err(|_| AuthError::Malformed)?;
        let namespace = &self.setup.namespace;
        let own = match_entity(&namespace.entities, path).map(|(_, entity, _)| &entity.rules);
        let rules = own.into_iter().flatten().chain(&namespace.rules);
        sas::verify(&token, host, path, rules, need, wires.unix())
    }

    fn leave(&mut self, wires: &mut Wires, id: WireId, to: usize, head: RequestHead, unread: Vec<u8>) {
        let since = match self.roles.get(id) {
            Some(Role::Head(head)) => head.since,
            _ => wires.now(),
        };
        let at = since.after(self.setup.limits.head);
        let deadline = wires.set_timer(at, Wires::timer_token(id, timer::HEAD));
        self.take_role(
            wires,
            id,
            Role::Leaving(Box::new(Leaving {
                deadline,
                to,
                head,
                unread,
                since,
            })),
        );
        self.try_leave(wires, id);
    }

    pub(super) fn on_leaving_event(&mut self, wires: &mut Wires, id: WireId, event: WireEvent) {
        match event {
            WireEvent::Drained | WireEvent::Connected => self.try_leave(wires, id),
            WireEvent::Data(lease) => {
                if let Some(Role::Leaving(leaving)) = self.roles.get_mut(id) {
                    leaving.unread.extend_from_slice(lease.data());
                }
                self.try_leave(wires, id);
            }
            WireEvent::Eof | WireEvent::Failed(_) | WireEvent::ConnectFailed(_) => {
                self.roles.remove(id);
                wires.abort(id);
            }
        }
    }

    fn try_leave(&mut self, wires: &mut Wires, id: WireId) {
        wires.pause(id);
        let Some(moved) = wires.move_out(id) else { return };
        let Some(Role::Leaving(leaving)) = self.roles.remove(id) else {
            return;
        };
        let Leaving {
            to,
            head,
            unread,
            since,
            deadline,
        } = *leaving;
        wires.cancel_timer(deadline);
        self.counters.count(Counter::ConnectionsMovedOut);
        let order = Order::Adopt(Box::new(Handover {
            moved,
            head,
            unread,
            since,
        }));
        let full = match self.setup.peers.get(to) {
            Some(peer) => peer.send(order).err().map(|full| full.0),
            None => Some(order),
        };
        if let Some(Order::Adopt(handover)) = full {
            // Its shard is overloaded: the connection is closed, the client tries again.
            self.counters.count(Counter::ConnectionsRefused);
            wires.discard(handover.moved);
        }
    }
}
