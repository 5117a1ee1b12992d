//! HTTP/1 heads: request and status lines with their headers (RFC 9112), as far as a relay needs them.
//!
//! [`HeadBuffer`] collects bytes until a head is whole, [`RequestHead`] and [`ResponseHead`] read it,
//! [`write_response`] answers. Lines end with CRLF and nothing else: where two parsers disagree about a
//! line's end, requests are smuggled.

mod buffer;
mod head;
mod headers;
mod write;

pub use buffer::HeadBuffer;
pub use head::{RequestHead, ResponseHead};
pub use headers::{Header, Headers};
pub use write::{write_header, write_response};
