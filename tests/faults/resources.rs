//! O9: memory, open files and threads of a process come back to where they were.
//!
//! Seen to fail: where each request to a carrier leaves one file open.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::house::process::Process;
use crate::support::wait;

/// What may be more than before, once everything has settled: buffers and pools that grew, and no more.
const MORE_KB: u64 = 40_000;
const MORE_FILES: usize = 12;
const MORE_THREADS: usize = 6;
/// Idle connections close, and threads without work end.
const SETTLES: Duration = Duration::from_secs(30);

/// What a process holds. Connections that carriers keep open to its doors are theirs to end, and not counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holds {
    pid: u32,
    memory_kb: u64,
    files: usize,
    threads: usize,
}

impl Holds {
    pub(crate) fn now(process: &Process) -> Self {
        Self::of(process.0.id()).expect("it runs")
    }

    fn of(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = |name| status.lines().find_map(|line: &str| line.strip_prefix(name)).map(str::trim);
        Some(Self {
            pid,
            memory_kb: line("VmRSS:")?.trim_end_matches(" kB").parse().ok()?,
            files: files(pid)?,
            threads: line("Threads:")?.parse().ok()?,
        })
    }

    pub(crate) fn is_of(&self, process: &Process) -> bool {
        self.pid == process.0.id()
    }

    /// The process still runs, and holds no more than it did.
    pub(crate) async fn come_back(self) {
        let mut last = None;
        let back = async || {
            last = Self::of(self.pid);
            last.is_some_and(|now| self.allows(now)).then_some(())
        };
        let back = wait::within(SETTLES, back).await;
        assert!(back.is_some(), "O9: {self:?} before, {last:?} after");
    }

    fn allows(self, now: Self) -> bool {
        now.memory_kb <= self.memory_kb + MORE_KB
            && now.files <= self.files + MORE_FILES
            && now.threads <= self.threads + MORE_THREADS
    }
}

/// Open files, without connections that came to a port which somebody listens on.
fn files(pid: u32) -> Option<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    // Of each: its own end, the other's, its state (0A: listens), and in the tenth column its inode.
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    let listens: HashSet<&str> = rows.iter().filter(|row| row[3] == "0A").map(|row| row[1]).collect();
    let came = |row: &&Vec<&str>| row[3] != "0A" && listens.contains(row[1]);
    let came: HashSet<String> = rows.iter().filter(came).map(|row| format!("socket:[{}]", row[9])).collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let names = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    Some(names.filter(|name| !came.contains(&*name.to_string_lossy())).count())
}
