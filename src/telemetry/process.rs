//! Facts of the kernel about this process: memory, open files, start. From /proc, so on Linux only.

use std::fs;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ProcessFacts {
    /// Resident memory in bytes.
    pub(super) resident_bytes: u64,
    /// Open file descriptors.
    pub(super) open_files: u64,
    /// The start time in seconds since 1970.
    pub(super) started: f64,
    /// User and system time so far, in seconds.
    pub(super) cpu_seconds: f64,
}

/// Ticks a second in /proc/self/stat: 100 on every Linux that has a stable interface (USER_HZ).
const TICKS: f64 = 100.0;

/// Reads the facts; `None` without /proc.
pub(super) fn read() -> Option<ProcessFacts> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let booted = fs::read_to_string("/proc/stat").ok()?;
    // The scan itself holds one descriptor.
    let open_files = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64;
    let resident_kib = field(&status, "VmRSS:")?;
    // The second field, the command in parentheses, may hold spaces: count from behind it. It is followed by field 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(ProcessFacts {
        resident_bytes: resident_kib * 1024,
        open_files,
        started: field(&booted, "btime")? as f64 + ticks(22)? / TICKS,
        cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS,
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
