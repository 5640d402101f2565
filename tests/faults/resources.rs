//! O9: memory, open files and threads of a process return to their earlier values.
//!
//! Fails if each request to a carrier leaves one file open.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::deployment::process::Process;
use crate::support::wait;

/// Allowed growth after everything has settled, for buffers and pools.
const MAX_GROWTH_KB: u64 = 40_000;
const MAX_MORE_FILES: usize = 12;
const MAX_MORE_THREADS: usize = 6;
/// Time in which idle connections close and idle threads end.
const SETTLE_TIME: Duration = Duration::from_secs(30);

/// Resources of a process. Incoming connections are not counted, because the carriers close them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessResources {
    pid: u32,
    memory_kb: u64,
    files: usize,
    threads: usize,
}

impl ProcessResources {
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

    /// Waits until the running process is back within the allowed growth.
    pub(crate) async fn return_to_baseline(self) {
        let mut last = None;
        let back = async || {
            last = Self::of(self.pid);
            last.is_some_and(|now| self.allows(now)).then_some(())
        };
        let back = wait::within(SETTLE_TIME, back).await;
        assert!(back.is_some(), "O9: {self:?} before, {last:?} after");
    }

    fn allows(self, now: Self) -> bool {
        now.memory_kb <= self.memory_kb + MAX_GROWTH_KB
            && now.files <= self.files + MAX_MORE_FILES
            && now.threads <= self.threads + MAX_MORE_THREADS
    }
}

/// Returns the number of open files without incoming connections.
fn files(pid: u32) -> Option<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    // The columns: own address, other address, state (0A: listens), and in the tenth the inode.
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    let listens: HashSet<&str> = rows.iter().filter(|row| row[3] == "0A").map(|row| row[1]).collect();
    let incoming = |row: &&Vec<&str>| row[3] != "0A" && listens.contains(row[1]);
    let incoming: HashSet<String> =
        rows.iter().filter(incoming).map(|row| format!("socket:[{}]", row[9])).collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let names = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    Some(names.filter(|name| !incoming.contains(&*name.to_string_lossy())).count())
}
