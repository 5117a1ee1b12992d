//! Azure Relay Hybrid Connections: addresses, control messages, refusals, and the relay's two small machines.
//!
//! * [`address`]: `/$hc/{path}?sb-hc-…` request targets, both directions, and the byte-exact query filter.
//! * [`entity`]: from a path to the hybrid connection that is registered for it.
//! * [`message`]: the JSON texts of the control channel.
//! * [`status`]: one table from a refusal to status and reason phrase, and from an end of a control channel
//!   to a close code.
//! * [`listener`]: liveness and token expiry of one control channel, relay side.
//! * [`rendezvous`]: one pending rendezvous, and the identifiers that name it.
//!
//! Invariants: tokens and rendezvous ids never appear in `Debug` or `Display` output; no text that is built
//! here holds a control character of a peer.

pub mod address;
pub mod entity;
pub mod listener;
pub mod message;
pub mod rendezvous;
pub mod status;

mod json;
mod query;
mod token;
mod tracking;
mod url;

pub use address::{Action, AddressError, HcTarget, Rejection, parse_hc_target};
pub use entity::{entity_key, match_entity};
pub use listener::{Listener, ListenerOutput, ListenerTimers, RenewRefused};
pub use message::{
    Accept, FromListener, MessageError, Request, Response, ToListener, parse_from_listener,
    parse_to_listener, renew_token_json,
};
pub use query::filter_query;
pub use rendezvous::{Rendezvous, RendezvousEvent, guid, is_rendezvous_id, rendezvous_id, tracking_guid};
pub use status::{ControlEnd, Refusal, reason_phrase};
pub use token::Token;
pub use tracking::{Timestamp, Tracking};
pub(crate) use url::split_authority;
pub use url::{RelayUrl, accept_address, connect_target, listen_target, parse_ws_url};
