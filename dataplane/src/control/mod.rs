//! The control plane: everything rare, slow or in need of the ecosystem. It never touches payload bytes.

pub mod admin;
pub mod demo;
pub mod dev;
pub mod resolve;
pub mod tokens;
