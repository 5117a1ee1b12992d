//! The control plane: everything rare, slow or in need of the ecosystem. It never touches payload bytes.

pub mod dev;
