//! Shared access signatures: signing, parsing and verifying tokens, and connection strings.
//!
//! A token is `SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={rule}`. Its signature is
//! the base64 of HMAC-SHA256 over the `sr` text exactly as it stands in the token, a line feed and the `se`
//! text; the key is the UTF-8 text of the key, which looks like base64 but is not decoded. Clients escape
//! `sr` differently, so it is never re-encoded for the signature, and compared loosely once the signature
//! holds.
//!
//! Invariants: keys are wiped on drop; no key, signature or token appears in `Debug` or `Display` output;
//! signatures are compared in constant time.

mod connection_string;
mod key;
mod resource;
mod rights;
mod token;
mod verify;

pub use connection_string::{ConnectionString, ConnectionStringError};
pub use key::Key;
pub use rights::Rights;
pub use token::{SasToken, TokenError, sign};
pub use verify::{AuthError, Grant, Rule, verify};
