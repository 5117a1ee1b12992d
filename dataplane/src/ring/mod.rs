//! Placeholder of a module under construction.

#[cfg(any(test, feature = "sim"))]
pub mod sim;
