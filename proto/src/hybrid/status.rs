//! One table from a refusal to status and reason phrase, and one from the end of a control channel to a close
//! code.
//!
//! Clients read errors from the reason phrase, so the text stands there, with tracking id, path and time.

use alloc::{
    format,
    string::{String, ToString},
};

use super::tracking::{Timestamp, Tracking};
use crate::{
    fault::Violation, hybrid::AddressError, limits::REASON_PHRASE_MAX, sas::AuthError, time::UnixTime,
    ws::CloseCode,
};

/// Why a handshake or a request gets no for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No entity of that path. Listeners take this as final.
    EndpointDoesNotExist,
    /// The entity has no listener.
    NoListeners,
    /// The sender named listeners, and none of those connected is among them.
    NoMatchingListener,
    /// No listener opened the rendezvous in time.
    ListenerTimeout,
    /// A listener was given the HTTP request and did not answer in time.
    ResponseTimeout,
    /// No token, or not a good one.
    Unauthorized(AuthError),
    /// The peer's address is not allowed; the text does not name the rule.
    AddressDenied,
    /// The entity has as many listeners as it may have.
    TooManyListeners,
    /// A plain request on the WebSocket endpoint; the header that would have made it an upgrade.
    NotWebSocket {
        /// Name of the missing or wrong header.
        missing: &'static str,
    },
    /// An action that does not exist.
    UnknownAction,
    /// A target that cannot be used for another reason.
    BadAddress(AddressError),
    /// A rendezvous address that is expired, used or made up.
    BadRendezvous,
    /// A rendezvous id that cannot be one.
    UnknownConnection,
    /// The listener said no, and how.
    Rejected {
        /// Status that the listener chose.
        status: u16,
        /// Text that the listener chose.
        text: String,
    },
    /// The answer to a listener that rejected: its own handshake must fail.
    RejectNoted,
    /// Head over the limit.
    HeadTooLong,
    /// Not HTTP.
    BadHead,
    /// The head did not arrive in time.
    HeadTimeout,
    /// This address was refused too often in a short time.
    TooManyAttempts,
    /// No room for another connection.
    Overloaded,
    /// The node is going away.
    ShuttingDown,
    /// A failure of the relay itself.
    Internal,
}

impl Refusal {
    /// HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotWebSocket { .. }
            | Self::UnknownAction
            | Self::BadAddress(_)
            | Self::UnknownConnection
            | Self::BadHead => 400,
            // A missing right too: clients tell only 401 from other failures.
            Self::Unauthorized(_) | Self::AddressDenied => 401,
            Self::TooManyListeners | Self::BadRendezvous => 403,
            Self::EndpointDoesNotExist | Self::NoListeners | Self::NoMatchingListener => 404,
            Self::HeadTimeout => 408,
            Self::RejectNoted => 410,
            Self::TooManyAttempts => 429,
            Self::HeadTooLong => 431,
            Self::Internal => 500,
            Self::Overloaded | Self::ShuttingDown => 503,
            Self::ListenerTimeout | Self::ResponseTimeout => 504,
            Self::Rejected { status, .. } => *status,
        }
    }

    /// What was wrong, and what to do where the caller can do something.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::EndpointDoesNotExist => "Endpoint does not exist.",
            Self::NoListeners => "There are no listeners connected for the endpoint.",
            Self::NoMatchingListener => {
                "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria."
            }
            Self::ListenerTimeout => {
                "None of the connected listeners accepted the connection(s) within the allowed timeout."
            }
            Self::ResponseTimeout => {
                "The request was routed to the listener but the listener did not respond in the required time."
            }
            Self::Unauthorized(AuthError::Expired { at }) => return expired(*at),
            Self::Unauthorized(error) => error.text(),
            Self::AddressDenied => "Ip has been prevented to connect to the endpoint.",
            Self::TooManyListeners => {
                "MaximumListenersPerEndpoint: the endpoint has as many listeners as it may have."
            }
            Self::NotWebSocket { missing } => {
                return format!("This endpoint is only for web-socket requests: header {missing} is missing or wrong.");
            }
            Self::UnknownAction => "Unknown action: sb-hc-action must be listen, accept, connect or request.",
            Self::BadAddress(error) => return format!("Bad address: {}.", error.text()),
            Self::BadRendezvous => "The rendezvous address is not valid, used already or expired.",
            Self::UnknownConnection => "Unknown Connection ID: sb-hc-id is not an id of this relay.",
            Self::Rejected { text, .. } => return text.clone(),
            Self::RejectNoted => "The connection was rejected as asked.",
            Self::HeadTooLong => "The request head is too long.",
            Self::BadHead => "The request is not a valid HTTP/1.1 request.",
            Self::HeadTimeout => "The request head did not arrive in time.",
            Self::TooManyAttempts => "Too many refused attempts from this address; wait before the next one.",
            Self::Overloaded => "The relay has no room for another connection; try again later.",
            Self::ShuttingDown => "The relay is shutting down; connect again.",
            Self::Internal => "The relay failed to handle the request.",
        }
        .to_string()
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        match violation.http_status() {
            431 => Self::HeadTooLong,
            _ => Self::BadHead,
        }
    }
}

impl From<AddressError> for Refusal {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::NotHc | AddressError::EmptyPath => Self::EndpointDoesNotExist,
            AddressError::UnknownAction => Self::UnknownAction,
            AddressError::BadEncoding
            | AddressError::BadStatus
            | AddressError::BadScheme
            | AddressError::BadHost
            | AddressError::BadPort => Self::BadAddress(error),
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self::Unauthorized(error)
    }
}

/// Reason phrase of a refusal: printable, on one line, at most [`REASON_PHRASE_MAX`] bytes.
///
/// A listener's own text stands alone, exactly as given but for control characters; every other text is
/// followed by `tracking`.
#[must_use]
pub fn reason_phrase(refusal: &Refusal, tracking: &Tracking<'_>) -> String {
    match refusal {
        Refusal::Rejected { text, .. } => one_line(text),
        _ => one_line(&format!("{} {tracking}", refusal.text())),
    }
}

/// Why the relay closes a control channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlEnd {
    /// The entity was deleted or disabled.
    EntityGone,
    /// The token, grace included, is over; or a renewal came with too little life left.
    TokenExpired {
        /// Expiry of the token.
        at: UnixTime,
    },
    /// A renewal with a token that does not verify.
    TokenInvalid(AuthError),
    /// The node is going away.
    ShuttingDown,
    /// A failure of the relay itself.
    Internal,
}

impl ControlEnd {
    /// Close code for the listener.
    #[must_use]
    pub const fn code(self) -> CloseCode {
        match self {
            Self::EntityGone | Self::ShuttingDown => CloseCode::GOING_AWAY,
            Self::TokenExpired { .. } | Self::TokenInvalid(_) => CloseCode::POLICY,
            Self::Internal => CloseCode::INTERNAL,
        }
    }

    /// Close reason for the listener; fits a Close frame.
    #[must_use]
    pub fn reason(self) -> String {
        match self {
            Self::EntityGone => "The endpoint was deleted or disabled.".to_string(),
            Self::TokenExpired { at } | Self::TokenInvalid(AuthError::Expired { at }) => expired(at),
            Self::TokenInvalid(error) => error.text().to_string(),
            Self::ShuttingDown => "The relay is shutting down; connect again.".to_string(),
            Self::Internal => "The relay failed.".to_string(),
        }
    }
}

fn expired(at: UnixTime) -> String {
    format!("The token is expired. Expiration time: '{}'.", Timestamp(at))
}

/// Drops control characters and cuts on a character boundary.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().filter(|c| !c.is_control()).collect();
    if line.len() > REASON_PHRASE_MAX {
        let end = (0..=REASON_PHRASE_MAX)
            .rev()
            .find(|at| line.is_char_boundary(*at));
        line.truncate(end.unwrap_or(0));
    }
    line
}

#[cfg(test)]
mod tests;
