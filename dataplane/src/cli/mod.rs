//! Command lines: `viaduct quickstart`, `viaduct relay` and `viaduct bridge` (azbridge's options, also under
//! its name).
//!
//! [`args::parse`] turns arguments into a [`args::Invocation`]; [`relay::resolve`], [`bridge::resolve`] and
//! [`quickstart::resolve`] turn that into settings. Every failure is a [`exit::CliError`]: a text and an exit
//! code.

pub mod args;
pub mod bridge;
pub mod credentials;
pub mod exit;
pub mod expression;
pub mod forwards;
pub mod options;
pub mod quickstart;
pub mod relay;
pub mod run;
pub mod shell;
