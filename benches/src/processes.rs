//! What processes cost, from `/proc`; and a child that does not outlive us.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// Linux counts processor time in ticks of this many microseconds, whatever the kernel's own tick is.
const TICK_US: u64 = 10_000;

/// A process of ours, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    what: &'static str,
}

impl Process {
    pub(crate) fn start(what: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{what} did not start"))?;
        Ok(Self { child, what })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it prints. Can be taken once.
    pub(crate) fn output(&mut self) -> anyhow::Result<std::process::ChildStdout> {
        self.child.stdout.take().context("its output was taken before")
    }

    /// An error when it has ended.
    pub(crate) fn lives(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status})", self.what),
        }
    }

    /// Processor time so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<u64> {
        Ok(stat(self.id())?.own_us)
    }

    /// The most resident memory so far, in KiB.
    pub(crate) fn peak_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        // The standard library only knows how to kill.
        Command::new("kill").arg("-TERM").arg(self.id().to_string()).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Stat {
    parent: u32,
    own_us: u64,
    /// Of children that have ended.
    ended_us: u64,
}

fn stat(pid: u32) -> anyhow::Result<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before it may hold anything, blanks and brackets too.
    let fields: Vec<&str> = line.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).context("no stat");
    Ok(Stat {
        parent: number(1)? as u32,
        own_us: (number(11)? + number(12)?) * TICK_US,
        ended_us: (number(13)? + number(14)?) * TICK_US,
    })
}

/// Processor time of a process, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    Ok(stat(pid)?.own_us)
}

pub(crate) fn parent(pid: u32) -> anyhow::Result<u32> {
    Ok(stat(pid)?.parent)
}

/// Processor time of a process and its children, those that have ended too, in microseconds.
pub(crate) fn family_cpu_us(pid: u32) -> anyhow::Result<u64> {
    let own = stat(pid)?;
    let mut sum = own.own_us + own.ended_us;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // It may end while we look.
        if let Ok(child) = stat(child)
            && child.parent == pid
        {
            sum += child.own_us;
        }
    }
    Ok(sum)
}

/// Processor time of the whole machine but for idling, in microseconds.
pub(crate) fn machine_cpu_us() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("no /proc/stat")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user.
    let busy = fields.iter().take(8).enumerate().filter(|(i, _)| ![3, 4].contains(i));
    Ok(busy.map(|(_, ticks)| ticks * TICK_US).sum())
}

/// Processors of the machine.
pub(crate) fn processors() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
}
