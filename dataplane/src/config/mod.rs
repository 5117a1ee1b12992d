//! Resolved settings: immutable, validated, ready to be handed to threads.
//!
//! A raw form (a TOML file, a command line) is read once and turned into the types here; nothing behind this module sees
//! text that could still be wrong. Values that are secret have no `Debug` contents.

pub mod bridge;
pub mod document;
pub mod limits;
pub mod relay;
mod relay_file;
#[cfg(test)]
pub(crate) mod test_folder;
pub mod tls;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Which ring the shards run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// io_uring where a probe shows that it works, otherwise epoll.
    #[default]
    Auto,
    /// io_uring, or fail at start.
    IoUring,
    /// epoll.
    Epoll,
}

impl EngineChoice {
    /// All choices, as they are spelled on a command line and in a file.
    pub const NAMES: &'static str = "auto, io_uring or epoll";
}

impl FromStr for EngineChoice {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            _ => Err(UnknownName {
                expected: Self::NAMES,
            }),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

/// Where log lines go and which ones are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// Least severe events that are written.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
    /// File that lines are appended to; `None` is standard error.
    pub file: Option<PathBuf>,
}

/// Log levels by azbridge's names, from silent to most talkative (azbridge.md 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Nothing (`none`, `quiet`).
    Quiet,
    /// Only what ends the process.
    Fatal,
    /// Failures.
    Error,
    /// Failures, warnings and rare events; the default.
    #[default]
    Info,
    /// Between `Info` and `Debug`: each connection.
    Verbose,
    /// Details of the control plane (`debug`, `debug1`, `debug2`).
    Debug,
    /// Everything (`debug3`).
    Trace,
}

impl FromStr for LogLevel {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "none" | "quiet" => Self::Quiet,
            "fatal" => Self::Fatal,
            "error" => Self::Error,
            "info" => Self::Info,
            "verbose" => Self::Verbose,
            "debug" | "debug1" | "debug2" => Self::Debug,
            "debug3" => Self::Trace,
            _ => {
                return Err(UnknownName {
                    expected: "none, fatal, error, info, verbose, debug or debug3",
                });
            }
        })
    }
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

impl FromStr for LogFormat {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownName {
                expected: "text or json",
            }),
        }
    }
}

/// A word that is none of a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownName {
    /// The words that are possible.
    pub expected: &'static str,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "use {}", self.expected)
    }
}

impl std::error::Error for UnknownName {}

/// Threads to run shards on when nothing else is said: one per processor this process may use.
#[must_use]
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_names_round_trip() {
        for choice in [EngineChoice::Auto, EngineChoice::IoUring, EngineChoice::Epoll] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = "kqueue".parse::<EngineChoice>().unwrap_err();
        assert_eq!(error.to_string(), "use auto, io_uring or epoll");
    }

    #[test]
    fn log_levels_are_azbridges_and_any_case() {
        let cases = [
            ("NONE", LogLevel::Quiet),
            ("quiet", LogLevel::Quiet),
            ("Fatal", LogLevel::Fatal),
            ("ERROR", LogLevel::Error),
            ("info", LogLevel::Info),
            ("Verbose", LogLevel::Verbose),
            ("debug", LogLevel::Debug),
            ("DEBUG1", LogLevel::Debug),
            ("debug2", LogLevel::Debug),
            ("debug3", LogLevel::Trace),
        ];
        for (text, level) in cases {
            assert_eq!(text.parse(), Ok(level), "{text}");
        }
        assert!("loud".parse::<LogLevel>().is_err());
        assert_eq!(LogLevel::default(), LogLevel::Info);
        assert!(LogLevel::Verbose > LogLevel::Info && LogLevel::Verbose < LogLevel::Debug);
    }
}
