//! The costs of processes, from `/proc`, a child process that is killed on drop, and free ports for it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// Linux counts processor time in ticks of this many microseconds, independent of the kernel's own tick.
const TICK_US: u64 = 10_000;

/// A child process. It is killed on drop.
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

    /// Returns its standard output. Works once.
    pub(crate) fn output(&mut self) -> anyhow::Result<std::process::ChildStdout> {
        self.child.stdout.take().context("its output was used before")
    }

    /// Returns an error if it has ended.
    pub(crate) fn lives(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status})", self.what),
        }
    }

    /// Returns the processor time so far in microseconds.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<u64> {
        Ok(stat(self.id())?.own_us)
    }

    /// Returns the resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        self.memory_kib("VmRSS:")
    }

    /// Returns the peak resident memory so far in KiB.
    pub(crate) fn peak_kib(&self) -> anyhow::Result<u64> {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix(name)).context("no such line in /proc")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Stops it and waits until it has ended.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        // The standard library can only send SIGKILL.
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
    /// Of ended children.
    ended_us: u64,
}

fn stat(pid: u32) -> anyhow::Result<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in front may contain spaces and brackets.
    let fields: Vec<&str> = line.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).context("no stat");
    Ok(Stat {
        parent: number(1)? as u32,
        own_us: (number(11)? + number(12)?) * TICK_US,
        ended_us: (number(13)? + number(14)?) * TICK_US,
    })
}

/// Returns the processor time of a process in microseconds.
pub(crate) fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    Ok(stat(pid)?.own_us)
}

/// Returns the processor time of these processes together, in microseconds.
pub(crate) fn sum_cpu_us(pids: &[u32]) -> anyhow::Result<u64> {
    pids.iter().map(|&pid| cpu_us(pid)).sum()
}

pub(crate) fn parent(pid: u32) -> anyhow::Result<u32> {
    Ok(stat(pid)?.parent)
}

/// Returns the processor time of a process and its children, including ended ones, in microseconds.
pub(crate) fn family_cpu_us(pid: u32) -> anyhow::Result<u64> {
    let own = stat(pid)?;
    let mut sum = own.own_us + own.ended_us;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // It may end meanwhile.
        if let Ok(child) = stat(child)
            && child.parent == pid
        {
            sum += child.own_us;
        }
    }
    Ok(sum)
}

/// Returns the processor time of the whole machine without idle time, in microseconds.
pub(crate) fn machine_cpu_us() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("no /proc/stat")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user.
    let busy = fields.iter().take(8).enumerate().filter(|(i, _)| ![3, 4].contains(i));
    Ok(busy.map(|(_, ticks)| ticks * TICK_US).sum())
}

/// Returns the number of processors.
pub(crate) fn processors() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
}

/// Returns ports that are free now.
pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
