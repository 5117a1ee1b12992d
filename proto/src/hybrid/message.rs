//! The JSON texts of a control channel.
//!
//! The relay sends `accept` and `request`, a listener sends `renewToken` and `response`. What the relay
//! writes holds every member that some client insists on. What is read is read leniently: members in any
//! order, unknown ones ignored, numbers for texts. A text of n bytes costs up to about 100 n while it is
//! parsed (`[0,0,…` is the worst), and is freed before the call returns; the caller bounds n
//! ([`crate::limits::CONTROL_MESSAGE_MAX`]).

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use serde_json::{Map, Value, json};

use super::{
    json::{flag, header_object, headers, optional_text, remote, text},
    rendezvous::tracking_guid,
    token::Token,
};

/// Relay to listener: a sender wants a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Accept {
    /// Where to open the rendezvous. Authorizes by itself, so it is never printed.
    pub address: String,
    /// The rendezvous id; starts with a GUID.
    pub id: String,
    /// Headers of the sender's upgrade request, duplicates and letter case as sent.
    pub connect_headers: Vec<(String, String)>,
    /// Address and port of the sender.
    pub remote: (String, u16),
}

impl Accept {
    /// The message. Repeated headers are joined with `", "`; `ServiceBusAuthorization` is left out.
    ///
    /// Clients read at most [`crate::limits::CONTROL_MESSAGE_MAX`] bytes: a longer result must not be sent,
    /// the sender's head was too long.
    #[must_use]
    pub fn to_json(&self) -> String {
        let passed_on = self
            .connect_headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !name.eq_ignore_ascii_case(TOKEN_HEADER));
        json!({ "accept": {
            "address": self.address,
            "id": self.id,
            "connectHeaders": header_object(passed_on),
            "remoteEndpoint": { "address": self.remote.0, "port": self.remote.1 },
        }})
        .to_string()
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept")
            .field("id", &tracking_guid(&self.id).unwrap_or(".."))
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// Relay to listener: an HTTP request, or (without a method) the announcement of one on a rendezvous.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Where a long response may be delivered, or where the request waits. Never printed.
    pub address: Option<String>,
    /// To be repeated in the response, exactly.
    pub id: String,
    /// Absent: the request has to be fetched from `address`.
    pub method: Option<String>,
    /// Path with suffix, and query.
    pub target: String,
    /// Request headers in the order of the message.
    pub headers: Vec<(String, String)>,
    /// Address and port of the sender.
    pub remote: (String, u16),
    /// The next message on the same socket is the body.
    pub body: bool,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &tracking_guid(&self.id).unwrap_or(".."))
            .field("method", &self.method)
            .field("remote", &self.remote)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// What a listener is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToListener {
    /// Open a rendezvous.
    Accept(Accept),
    /// Answer a request.
    Request(Request),
    /// JSON of another kind; ignored.
    Unknown,
}

/// Listener to relay: the head of an HTTP response.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// `request.id` as it was sent.
    pub request_id: String,
    /// Status for the sender, 100 to 999.
    pub status: u16,
    /// Reason phrase; `None` means the usual one of the status.
    pub description: Option<String>,
    /// Response headers in the order of the message.
    pub headers: Vec<(String, String)>,
    /// The next message on the same socket is the body.
    pub body: bool,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("request_id", &tracking_guid(&self.request_id).unwrap_or(".."))
            .field("status", &self.status)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// What a listener says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromListener {
    /// A new token for the control channel.
    RenewToken(Token),
    /// Head of an answer.
    Response(Response),
    /// JSON of another kind; logged and ignored, the channel stays.
    Unknown,
}

/// A control text that cannot be understood; the peer is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageError {
    /// Not a JSON object.
    NotJson,
    /// A member that the message cannot do without.
    Missing(&'static str),
    /// A status that is not an integer from 100 to 999.
    BadStatus,
}

/// Parses a text from the relay.
///
/// # Errors
/// [`MessageError`]; the bridge ignores such a text and logs the error.
pub fn parse_to_listener(text: &str) -> Result<ToListener, MessageError> {
    let message = parse_object(text)?;
    if let Some(Value::Object(accept)) = message.get("accept") {
        return parse_accept(accept).map(ToListener::Accept);
    }
    match message.get("request") {
        Some(Value::Object(request)) => Ok(ToListener::Request(parse_request(request))),
        _ => Ok(ToListener::Unknown),
    }
}

/// Parses a text from a listener.
///
/// # Errors
/// [`MessageError`]; the relay ignores such a text and logs the error, since published samples send other
/// texts.
pub fn parse_from_listener(text: &str) -> Result<FromListener, MessageError> {
    let message = parse_object(text)?;
    if let Some(Value::Object(renew)) = message.get("renewToken") {
        let token = optional_text(renew, "token").ok_or(MessageError::Missing("token"))?;
        return Ok(FromListener::RenewToken(Token::new(token)));
    }
    match message.get("response") {
        Some(Value::Object(response)) => parse_response(response).map(FromListener::Response),
        _ => Ok(FromListener::Unknown),
    }
}

/// The message that replaces the token of a control channel.
#[must_use]
pub fn renew_token_json(token: &str) -> String {
    json!({ "renewToken": { "token": token } }).to_string()
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("the control message is not a JSON object"),
            Self::Missing(key) => write!(f, "the control message lacks {key}"),
            Self::BadStatus => f.write_str("the status of a response must be an integer from 100 to 999"),
        }
    }
}

impl core::error::Error for MessageError {}

fn parse_object(text: &str) -> Result<Map<String, Value>, MessageError> {
    serde_json::from_str(text).map_err(|_| MessageError::NotJson)
}

fn parse_accept(accept: &Map<String, Value>) -> Result<Accept, MessageError> {
    Ok(Accept {
        address: text(accept, "address")?,
        id: text(accept, "id")?,
        connect_headers: headers(accept, "connectHeaders"),
        remote: remote(accept),
    })
}

fn parse_request(request: &Map<String, Value>) -> Request {
    Request {
        address: optional_text(request, "address"),
        id: optional_text(request, "id").unwrap_or_default(),
        method: optional_text(request, "method"),
        target: optional_text(request, "requestTarget").unwrap_or_default(),
        headers: headers(request, "requestHeaders"),
        remote: remote(request),
        body: flag(request, "body"),
    }
}

fn parse_response(response: &Map<String, Value>) -> Result<Response, MessageError> {
    let status = text(response, "statusCode")?;
    let status = status.parse().map_err(|_| MessageError::BadStatus)?;
    if !(100..=999).contains(&status) {
        return Err(MessageError::BadStatus);
    }
    Ok(Response {
        request_id: text(response, "requestId")?,
        status,
        description: optional_text(response, "statusDescription"),
        headers: headers(response, "responseHeaders"),
        body: flag(response, "body"),
    })
}

/// Carries the sender's token; it is for the relay only.
const TOKEN_HEADER: &str = "ServiceBusAuthorization";

#[cfg(test)]
mod tests;
