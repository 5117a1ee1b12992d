//! Child processes that never outlive their test, and show their log when it fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use super::wait::{self, wait_until};

/// A folder that is removed at the end of the test.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let n = NEXT_FOLDER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("viaduct-loopback-{}-{n}", process::id()));
        fs::create_dir_all(&path).expect("temporary folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Leftovers in the temporary folder are no reason to fail a test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child whose output goes to a file. Killed and reaped on drop.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs in `folder/name.log` (appended, so that a restarted process keeps its
    /// history).
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("second handle of the log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}: {command:?}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until the process has written `text`; panics when it ends before that.
    pub(crate) fn wait_log(&mut self, text: &str) {
        let name = self.name.clone();
        wait_until(&format!("{name} writes {text:?}"), wait::PATIENCE, || {
            let found = self.log().contains(text);
            if !found && let Some(status) = self.child.try_wait().expect("state of a child") {
                panic!("{name} ended with {status} before it wrote {text:?}");
            }
            found
        });
    }

    /// kill -9, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill of a child");
        self.child.wait().expect("end of a child");
    }

    /// Asks for an orderly end (SIGTERM) and waits for it.
    pub(crate) fn terminate(&mut self, limit: Duration) -> ExitStatus {
        let pid = self.pid().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill program");
        assert!(sent.success(), "kill -TERM {pid}: {sent}");
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("state of a child") {
                return status;
            }
            assert!(
                Instant::now() < end,
                "{} still runs {limit:?} after SIGTERM",
                self.name
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let skip = log.lines().count().saturating_sub(LOG_LINES);
            eprintln!("--- last lines of {} ---", self.name);
            log.lines().skip(skip).for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Runs a command to its end, at most `limit`, and gives its standard output; panics unless it succeeds.
pub(crate) fn output(command: &mut Command, limit: Duration) -> String {
    let shown = format!("{command:?}");
    // `timeout` bounds the run without a second thread that would have to own the child.
    let mut bounded = Command::new("timeout");
    bounded
        .arg(limit.as_secs().to_string())
        .arg(command.get_program())
        .args(command.get_args());
    let output = bounded.stdin(Stdio::null()).output().expect("timeout program");
    assert!(
        output.status.success(),
        "{shown}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// True when every program is installed. Otherwise says which is missing, and panics if the environment demands them.
pub(crate) fn have(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| find(program).is_none())
        .collect();
    if missing.is_empty() {
        return true;
    }
    let required = env::var("VIADUCT_REQUIRE_PROGRAMS").is_ok_and(|value| value == "1");
    assert!(!required, "not installed: {missing:?}");
    println!("skipped: not installed: {missing:?}");
    false
}

/// Where a program lies; the folders of system daemons are searched too.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Lifts this process's limit on open files to the hard limit; children inherit it.
pub(crate) fn raise_open_files() {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().nth(1));
    let Some(hard) = hard else { return };
    let result = Command::new("prlimit")
        .arg(format!("--pid={}", process::id()))
        .arg(format!("--nofile={hard}:{hard}"))
        .status();
    if !result.is_ok_and(|status| status.success()) {
        println!("prlimit did not raise the limit on open files to {hard}");
    }
}

const LOG_LINES: usize = 40;
static NEXT_FOLDER: AtomicU32 = AtomicU32::new(0);
