//! Refusals: status, reason phrase, tracking id, and a log line.

use viaduct_proto::http1::{RequestHead, write_response};
use viaduct_proto::hybrid::{Refusal, Tracking, guid, reason_phrase};

use super::Relay;
use crate::buf::Chunk;
use crate::observe::Counter;
use crate::wire::{WireId, Wires};

impl Relay {
    /// Answers a request with a refusal and ends the connection.
    pub(super) fn refuse(
        &mut self,
        wires: &mut Wires,
        id: WireId,
        refusal: &Refusal,
        head: &RequestHead,
        path: &str,
    ) {
        let host = head.headers.get("Host").unwrap_or_default().to_owned();
        self.refuse_for(wires, id, refusal, &host, path);
    }

    /// The same before there is a request that could be read.
    pub(super) fn refuse_plain(&mut self, wires: &mut Wires, id: WireId, refusal: &Refusal) {
        self.refuse_for(wires, id, refusal, "", "");
    }

    pub(super) fn refuse_for(
        &mut self,
        wires: &mut Wires,
        id: WireId,
        refusal: &Refusal,
        namespace: &str,
        path: &str,
    ) {
        let tracking_id = guid(self.entropy.secret());
        let tracking = Tracking {
            id: &tracking_id,
            namespace,
            path,
            at: wires.unix(),
        };
        let reason = reason_phrase(refusal, &tracking);
        let status = refusal.status();
        if path.is_empty() {
            // Nothing was asked for: a scan, a health check, a connection that never spoke.
            tracing::debug!(peer = ?wires.peer(id), status, "refused: {reason}");
        } else {
            tracing::info!(peer = ?wires.peer(id), status, path, "refused: {reason}");
        }
        self.counters.count(Counter::RequestsRefused);
        let mut out = Vec::with_capacity(512);
        let headers = [
            ("Connection", "close"),
            ("Content-Type", "text/plain"),
            ("TrackingId", &*tracking_id),
        ];
        write_response(&mut out, status, &reason, &headers, reason.as_bytes());
        wires.send(id, Chunk::from_vec(out));
        self.let_go(wires, id);
    }

    /// Gives up a connection after what is queued.
    pub(super) fn let_go(&mut self, wires: &mut Wires, id: WireId) {
        if let Some(role) = self.roles.remove(id) {
            self.forget_head(wires, role);
        }
        wires.finish(id);
    }
}
