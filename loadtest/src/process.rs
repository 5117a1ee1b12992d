//! What a run costs: CPU time and memory of other processes, and whether the machine was ours, from /proc.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

/// CPU time of the watched processes, and the machine's stolen time, at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    cpu: Vec<(u32, Duration)>,
    machine: Machine,
}

impl Snapshot {
    pub(crate) fn take(pids: &[u32]) -> Self {
        Self {
            cpu: pids.iter().map(|pid| (*pid, cpu_time(*pid))).collect(),
            machine: Machine::now(),
        }
    }

    /// Words with the CPU time since `earlier`: per process and `unit`, and their sum. `units` is how many units
    /// were done.
    pub(crate) fn report(&self, earlier: &Self, units: f64, unit: &str, scale: f64) -> String {
        let mut out = String::new();
        let mut sum = Duration::ZERO;
        for ((pid, now), (_, before)) in self.cpu.iter().zip(&earlier.cpu) {
            let used = now.saturating_sub(*before);
            sum += used;
            word(
                &mut out,
                &format!("cpu_{pid}_{unit}"),
                used.as_secs_f64() * scale / units,
            );
        }
        if !self.cpu.is_empty() {
            word(
                &mut out,
                &format!("cpu_{unit}"),
                sum.as_secs_f64() * scale / units,
            );
        }
        word(
            &mut out,
            "steal_percent",
            self.machine.stolen_percent(&earlier.machine),
        );
        out
    }
}

/// Resident anonymous memory of a process, bytes; 0 when it is gone.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = field.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}

/// User and system time of a process and its ended threads; zero when it is gone.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field, the name in parentheses, may itself hold blanks and parentheses.
    let fields: Vec<u64> = stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| {
        rest.split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse().ok())
            .collect()
    });
    Duration::from_millis(fields.iter().sum::<u64>() * TICK_MS)
}

#[derive(Debug)]
struct Machine {
    all: u64,
    stolen: u64,
}

impl Machine {
    fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|word| word.parse().ok())
            .collect();
        Self {
            all: ticks.iter().sum(),
            stolen: ticks.get(STEAL).copied().unwrap_or_default(),
        }
    }

    fn stolen_percent(&self, earlier: &Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 * 100.0 / all as f64
    }
}

fn word(out: &mut String, name: &str, value: f64) {
    write!(out, " {name}={value:.3}").expect("a String takes every write");
}

/// `USER_HZ` is 100 on every Linux of today.
const TICK_MS: u64 = 10;
/// Place of the stolen time in the `cpu` line of /proc/stat.
const STEAL: usize = 7;
