//! Programs in processes of their own, which a scenario kills and starts again.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A process that runs until it is killed. Dropped, it is killed.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program. What it logs is appended to a file.
    pub(crate) fn start(program: &Path, arguments: &[&str], variables: &[(&str, &str)], log: &Path) -> Self {
        let log: File = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Ends the process at once (SIGKILL): nothing of it is finished, flushed or closed.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program of this package.
pub(crate) fn two_step() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_two-step"))
}

/// otpost's program. It is of another package, and lies beside this one's.
pub(crate) fn otpost() -> PathBuf {
    let program = two_step().with_file_name("otpost");
    assert!(program.exists(), "there is no {}: run scripts/faults", program.display());
    program
}

/// What a command prints. It must succeed.
pub(crate) fn output(program: &Path, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{} {arguments:?}: {complaint}", program.display());
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}
