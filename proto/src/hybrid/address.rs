//! Request targets of the WebSocket endpoint: `/$hc/{path}?sb-hc-action=…&sb-hc-id=…&sb-hc-token=…`.

use alloc::{
    borrow::Cow,
    string::{String, ToString},
};
use core::fmt;

use percent_encoding::percent_decode_str;

use super::{
    query::{decode_value, filter_query, reserved},
    rendezvous::tracking_guid,
    token::Token,
};

/// What a WebSocket is opened for (`sb-hc-action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A listener's control channel.
    Listen,
    /// A listener takes (or rejects) a sender's connection.
    Accept,
    /// A sender connects. Also what a missing action means.
    Connect,
    /// A listener opens the rendezvous of an HTTP request.
    Request,
}

/// A request target on `/$hc/`, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct HcTarget {
    /// Decoded path without `$hc` and without leading or trailing `/`. May end with a suffix after the
    /// entity.
    pub path: String,
    /// The same as sent, after `/$hc/`, for the address of the rendezvous.
    pub raw_path: String,
    /// Why the socket is opened.
    pub action: Action,
    /// `sb-hc-id`, decoded: a tracking id, or the ticket of a rendezvous, and so never logged whole.
    pub id: Option<String>,
    /// `sb-hc-token`, decoded.
    pub token: Option<Token>,
    /// Status of a reject, in either spelling, decoded; see [`HcTarget::rejection`].
    pub status_code: Option<String>,
    /// Text of a reject, in either spelling, decoded.
    pub status_description: Option<String>,
    /// The query without the relay's own parameters, bytes as sent; empty if there is none.
    pub forward_query: String,
}

/// A listener's answer in place of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Status for the sender, 100 to 999.
    pub status: u16,
    /// Reason phrase for the sender, as given; empty if the listener gave none.
    pub description: String,
}

/// A target or an address that cannot be used; the peer, or the operator's configuration, is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressError {
    /// The path does not start with `/$hc/`.
    NotHc,
    /// Nothing follows `/$hc/`.
    EmptyPath,
    /// `sb-hc-action` is none of listen, accept, connect, request.
    UnknownAction,
    /// Escapes that are not UTF-8, or a control character.
    BadEncoding,
    /// A reject whose status is not an integer from 100 to 999.
    BadStatus,
    /// Not a `ws://` or `wss://` address.
    BadScheme,
    /// No host, user information, or a malformed IPv6 literal.
    BadHost,
    /// A port that is not a number from 1 to 65535.
    BadPort,
}

/// Parses the target of an upgrade request, origin form or absolute form.
///
/// The first of repeated parameters counts. Parameter names and actions are compared without letter case.
///
/// # Errors
/// [`AddressError`]: `NotHc` and `EmptyPath` are a wrong endpoint, everything else is a bad request.
pub fn parse_hc_target(target: &str) -> Result<HcTarget, AddressError> {
    let (path, query) = split_query(origin_form(target));
    let raw_path = after_hc(path).ok_or(AddressError::NotHc)?;
    let decoded = decode_path(raw_path)?;
    let params = Params::collect(query)?;
    Ok(HcTarget {
        path: decoded,
        raw_path: raw_path.to_string(),
        action: params.action.unwrap_or(Action::Connect),
        id: params.id,
        token: params.token,
        status_code: params.status_code,
        status_description: params.status_description,
        forward_query: filter_query(query).unwrap_or_default(),
    })
}

impl HcTarget {
    /// The reject that this target carries, if it does. Of meaning for [`Action::Accept`] and
    /// [`Action::Request`] only.
    ///
    /// # Errors
    /// [`AddressError::BadStatus`] if the status is not an integer from 100 to 999.
    pub fn rejection(&self) -> Result<Option<Rejection>, AddressError> {
        let Some(code) = &self.status_code else {
            return Ok(None);
        };
        let status = code.trim().parse().map_err(|_| AddressError::BadStatus)?;
        if !(100..=999).contains(&status) {
            return Err(AddressError::BadStatus);
        }
        let description = self.status_description.clone().unwrap_or_default();
        Ok(Some(Rejection { status, description }))
    }
}

impl fmt::Debug for HcTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HcTarget")
            .field("action", &self.action)
            .field("path", &self.path)
            .field(
                "id",
                &self.id.as_deref().map(|id| tracking_guid(id).unwrap_or("..")),
            )
            .field("token", &self.token)
            .field("status_code", &self.status_code)
            .finish_non_exhaustive()
    }
}

impl Action {
    /// The value of `sb-hc-action`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Accept => "accept",
            Self::Connect => "connect",
            Self::Request => "request",
        }
    }

    fn parse(text: &str) -> Result<Self, AddressError> {
        [Self::Listen, Self::Accept, Self::Connect, Self::Request]
            .into_iter()
            .find(|action| action.as_str().eq_ignore_ascii_case(text))
            .ok_or(AddressError::UnknownAction)
    }
}

impl AddressError {
    /// What is wrong, without any text of the address.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotHc => "the path does not start with /$hc/",
            Self::EmptyPath => "the path names no hybrid connection",
            Self::UnknownAction => "sb-hc-action is not one of listen, accept, connect, request",
            Self::BadEncoding => "the address holds bytes that are not allowed",
            Self::BadStatus => "the status of a reject must be an integer from 100 to 999",
            Self::BadScheme => "the address does not start with ws:// or wss://",
            Self::BadHost => "the address has no usable host",
            Self::BadPort => "the address has no usable port",
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for AddressError {}

/// The relay's parameters of one query.
#[derive(Default)]
struct Params {
    action: Option<Action>,
    id: Option<String>,
    token: Option<Token>,
    status_code: Option<String>,
    status_description: Option<String>,
}

impl Params {
    fn collect(query: &str) -> Result<Self, AddressError> {
        let mut params = Self::default();
        for part in query.split('&') {
            if let Some((name, value)) = reserved(part) {
                params.on_reserved(name, value)?;
            } else if params.id.is_some()
                && let Some((name, value)) = part.split_once('=')
            {
                // The plain spelling counts only behind the id: a listener appends it there, while what
                // stands before it is the sender's own query, which may well hold a `statusCode`.
                params.on_plain(name, value)?;
            }
        }
        Ok(params)
    }

    fn on_reserved(&mut self, name: &str, raw: &str) -> Result<(), AddressError> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("action") && self.action.is_none() {
            self.action = Some(Action::parse(&decoded(raw)?)?);
        } else if is("id") && self.id.is_none() {
            self.id = Some(decoded(raw)?);
        } else if is("token") && self.token.is_none() {
            self.token = Some(Token::new(decoded(raw)?));
        } else {
            self.on_plain(name, raw)?;
        }
        Ok(())
    }

    fn on_plain(&mut self, name: &str, raw: &str) -> Result<(), AddressError> {
        if name.eq_ignore_ascii_case("statusCode") && self.status_code.is_none() {
            self.status_code = Some(decoded(raw)?);
        } else if name.eq_ignore_ascii_case("statusDescription") && self.status_description.is_none() {
            self.status_description = Some(decoded(raw)?);
        }
        Ok(())
    }
}

fn decoded(raw: &str) -> Result<String, AddressError> {
    decode_value(raw).ok_or(AddressError::BadEncoding)
}

/// Cuts scheme and authority off an absolute-form target (RFC 9112 section 3.2.2 makes servers take it).
fn origin_form(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => target,
    }
}

fn split_query(target: &str) -> (&str, &str) {
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    target.split_once('?').unwrap_or((target, ""))
}

/// What follows `/$hc/`; some clients escape the dollar sign.
fn after_hc(path: &str) -> Option<&str> {
    let (first, rest) = path.strip_prefix('/')?.split_once('/')?;
    let first: Cow<'_, str> = percent_decode_str(first).decode_utf8().ok()?;
    first.eq_ignore_ascii_case("$hc").then_some(rest)
}

fn decode_path(raw: &str) -> Result<String, AddressError> {
    let path = percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| AddressError::BadEncoding)?;
    if path.chars().any(char::is_control) {
        return Err(AddressError::BadEncoding);
    }
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Err(AddressError::EmptyPath);
    }
    Ok(path.to_string())
}

#[cfg(test)]
mod tests;
