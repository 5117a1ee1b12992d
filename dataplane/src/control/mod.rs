//! The control plane: everything rare, slow or in need of the ecosystem. It never touches payload bytes.
//!
//! One thread with a tokio `current_thread` runtime. It starts the data threads ([`node`]), and from then on knows them
//! only by their mailboxes: addresses and tokens go in as orders. If it stalls, streams go on.

pub mod admin;
pub mod bridge;
pub mod demo;
pub mod dev;
pub mod node;
pub mod relay;
pub mod resolve;
pub mod tokens;
