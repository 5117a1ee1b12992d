//! Forwarding expressions of azbridge: `-L`, `-T`, `-R` and `-H`.
//!
//! ```text
//! -L  [host:]port[/name]{;...}:relay              relay after the last colon
//! -T  relay:[name/][host:]port{;...}              relay before the first colon
//! -R  relay:[host:][name/]port{;...}              the old form of -T
//! -H  relay:{http|https}/host[/path...][:port]{;...}
//! ```
//!
//! Where a port may stand, `53U` (or `-53`) is a UDP port and a word or path is a Unix socket. IPv6 addresses stand in
//! brackets. Everything the grammar knows is parsed here; what the data plane does not carry is refused later, by name.
//! The parser is pure: whether a host exists is not asked.

mod error;
mod local;
mod remote;
mod word;

pub use error::{ExpressionError, Fault, Forwarder};
pub use local::{LocalBinding, LocalEndpoint, LocalExpression};
pub use remote::{HttpTarget, RemoteBinding, RemoteEndpoint, RemoteExpression};
pub(crate) use word::{is_host_name, trim_quotes};

#[cfg(test)]
mod tests;
