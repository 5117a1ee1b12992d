//! Exit codes and the texts that go with them.

use std::fmt;
use std::process::ExitCode;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Asked to stop, and stopped.
    Done = 0,
    /// Failed while running.
    Failed = 1,
    /// Wrong usage, or nothing to do.
    Usage = 2,
    /// Configuration, credentials or start failed (azbridge).
    Start = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a process ends early. The message goes to standard error and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// Exit code.
    pub exit: Exit,
    /// One or more lines without a final line break.
    pub message: String,
}

impl CliError {
    /// Wrong usage.
    #[must_use]
    pub fn usage(message: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.to_string(),
        }
    }

    /// Settings that cannot be used.
    #[must_use]
    pub fn start(message: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Start,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}
