//! Processes that a scenario kills and restarts.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running process. It is killed on drop.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program. Its log is appended to a file.
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

    /// Kills the process (SIGKILL), so it cannot finish, flush or close anything.
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

/// otpost's program, which is in another package but in the same target folder.
pub(crate) fn otpost() -> PathBuf {
    let program = two_step().with_file_name("otpost");
    assert!(program.exists(), "there is no {}: run scripts/faults", program.display());
    program
}

/// Returns the output of a command that must succeed.
pub(crate) fn output(program: &Path, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{} {arguments:?}: {complaint}", program.display());
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}
