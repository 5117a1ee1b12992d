//! Start line and headers of a message, read with `httparse`.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use super::headers::{Header, Headers};
use crate::limits::{HEAD_MAX, HEADERS_MAX};
use crate::{Parsed, Violation};

/// The head of a request. The query may hold a token, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Method, in its own letter case.
    pub method: String,
    /// Request target as it was sent.
    pub target: String,
    /// Of HTTP/1.x: 0 or 1.
    pub minor_version: u8,
    /// Header fields.
    pub headers: Headers,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code, 100 to 999.
    pub status: u16,
    /// Reason phrase; may be empty.
    pub reason: String,
    /// Of HTTP/1.x: 0 or 1.
    pub minor_version: u8,
    /// Header fields.
    pub headers: Headers,
}

impl RequestHead {
    /// Reads the head at the front of `bytes`; empty lines before it are skipped (RFC 9112 section 2.2).
    ///
    /// # Errors
    /// [`Violation::HeadTooLong`] over [`HEAD_MAX`] bytes or [`HEADERS_MAX`] fields, [`Violation::BadHead`]
    /// for anything that is not a head.
    pub fn parse(bytes: &[u8]) -> Result<Parsed<Self>, Violation> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let status = request.parse(bytes);
        let Some(len) = head_len(bytes, status)? else {
            return Ok(Parsed::Need);
        };
        let (Some(method), Some(target), Some(minor_version)) =
            (request.method, request.path, request.version)
        else {
            return Err(Violation::BadHead);
        };
        let head = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            minor_version,
            headers: owned(request.headers),
        };
        Ok(Parsed::Done(head, len))
    }
}

impl ResponseHead {
    /// Reads the head at the front of `bytes`.
    ///
    /// # Errors
    /// As [`RequestHead::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Parsed<Self>, Violation> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let status = response.parse(bytes);
        let Some(len) = head_len(bytes, status)? else {
            return Ok(Parsed::Need);
        };
        let (Some(status @ 100..), Some(minor_version)) = (response.code, response.version) else {
            return Err(Violation::BadHead);
        };
        let head = Self {
            status,
            reason: reason(bytes),
            minor_version,
            headers: owned(response.headers),
        };
        Ok(Parsed::Done(head, len))
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        let mut shown = f.debug_struct("RequestHead");
        shown.field("method", &self.method).field("path", &path);
        shown
            .field("minor_version", &self.minor_version)
            .field("headers", &self.headers);
        shown.finish()
    }
}

/// Length of the head, none while it is not whole.
fn head_len(
    bytes: &[u8],
    parsed: Result<httparse::Status<usize>, httparse::Error>,
) -> Result<Option<usize>, Violation> {
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) => Some(len),
        Ok(httparse::Status::Partial) => None,
        Err(httparse::Error::TooManyHeaders) => return Err(Violation::HeadTooLong),
        Err(_) => return Err(Violation::BadHead),
    };
    let head = bytes.get(..len.unwrap_or(bytes.len())).unwrap_or_default();
    if head.len() > HEAD_MAX {
        return Err(Violation::HeadTooLong);
    }
    // httparse takes a lone LF for a line's end.
    let mut before = 0;
    for &byte in head {
        if byte == b'\n' && before != b'\r' {
            return Err(Violation::BadHead);
        }
        before = byte;
    }
    Ok(len)
}

fn owned(fields: &[httparse::Header<'_>]) -> Headers {
    fields
        .iter()
        .map(|field| Header {
            name: field.name.to_owned(),
            value: text(field.value),
        })
        .collect()
}

/// The reason phrase. `httparse` gives none if it holds anything but ASCII.
fn reason(head: &[u8]) -> String {
    let line = head
        .trim_ascii_start()
        .split(|&byte| byte == b'\r')
        .next()
        .unwrap_or_default();
    text(line.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default())
}

/// UTF-8 if it is, otherwise Latin-1: no byte is lost or refused.
fn text(bytes: &[u8]) -> String {
    match core::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

#[cfg(test)]
mod tests;
