//! Log output: which events are written, in which shape, and where.
//!
//! Lines are written by a thread of their own behind a bounded queue, so that a slow disk or a full pipe never stops a
//! data thread; what does not fit the queue is dropped.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use super::log_file::DailyFile;
use crate::config::{LogFormat, LogLevel, LogSettings};

/// Writes out what is queued when it is dropped; to be kept until the process ends.
#[derive(Debug, Default)]
#[must_use]
pub struct LogGuard {
    _writer: Option<WorkerGuard>,
}

/// Installs log output for the whole process. Call once, before the first event.
///
/// # Errors
/// The log file cannot be opened, or log output was installed before.
pub fn init_logging(settings: &LogSettings) -> Result<LogGuard, LogError> {
    let Some(filter) = filter(settings.level) else {
        return Ok(LogGuard::default());
    };
    let (writer, guard, ansi) = match &settings.file {
        None => {
            let (writer, guard) = tracing_appender::non_blocking(io::stderr());
            (writer, guard, io::stderr().is_terminal())
        }
        Some(path) => {
            let file = DailyFile::open(path).map_err(|error| LogError::File(path.clone(), error))?;
            let (writer, guard) = tracing_appender::non_blocking(file);
            (writer, guard, false)
        }
    };
    let layer = layer(settings.format, writer, ansi);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)?;
    Ok(LogGuard { _writer: Some(guard) })
}

/// Why there is no log output.
#[derive(Debug)]
pub enum LogError {
    /// The log file cannot be opened.
    File(PathBuf, io::Error),
    /// Log output was installed before.
    Installed,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "the log file {} cannot be opened: {error}", path.display()),
            Self::Installed => f.write_str("log output is installed already"),
        }
    }
}

impl std::error::Error for LogError {}

/// What passes at `level`; `None`: nothing. Own events go one step further than those of the libraries.
fn filter(level: LogLevel) -> Option<Targets> {
    let (own, others) = match level {
        // What ends the process is printed by the command line itself.
        LogLevel::Quiet | LogLevel::Fatal => return None,
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Verbose => (LevelFilter::DEBUG, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::TRACE, LevelFilter::INFO),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    Some(Targets::new().with_default(others).with_target("viaduct", own))
}

fn layer<S, W>(format: LogFormat, writer: W, ansi: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(ansi)
        .with_target(false);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_target(true).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;

    use tracing::Level;

    use super::*;
    use crate::config::test_folder::test_folder;

    fn written(format: LogFormat, level: LogLevel) -> String {
        let folder = test_folder("log");
        let path = folder.path().join("x.log");
        let file = DailyFile::open(&path).unwrap();
        let layer = layer(format, Mutex::new(file), false).with_filter(filter(level).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(connection = 7, "opened");
            tracing::debug!("detail");
            tracing::info!(target: "hyper", "noise");
        });
        fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn one_line_per_event() {
        let text = written(LogFormat::Text, LogLevel::Info);
        assert!(
            text.lines().count() == 1 && text.contains("INFO opened connection=7"),
            "{text}"
        );
        let verbose = written(LogFormat::Text, LogLevel::Verbose);
        assert!(
            verbose.lines().count() == 2 && verbose.contains("detail"),
            "{verbose}"
        );
        let json = written(LogFormat::Json, LogLevel::Info);
        assert!(
            json.starts_with('{') && json.contains("\"message\":\"opened\",\"connection\":7"),
            "{json}"
        );
    }

    #[test]
    fn each_level_lets_more_through() {
        let own = |level, event| filter(level).is_some_and(|f| f.would_enable("viaduct::shard", &event));
        assert!(!own(LogLevel::Quiet, Level::ERROR) && !own(LogLevel::Fatal, Level::ERROR));
        assert!(own(LogLevel::Error, Level::ERROR) && !own(LogLevel::Error, Level::WARN));
        assert!(own(LogLevel::Info, Level::INFO) && !own(LogLevel::Info, Level::DEBUG));
        assert!(own(LogLevel::Verbose, Level::DEBUG) && !own(LogLevel::Verbose, Level::TRACE));
        assert!(own(LogLevel::Debug, Level::TRACE));
    }
}
