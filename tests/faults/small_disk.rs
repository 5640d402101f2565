//! A small disk of a test's own, and one that keeps nothing.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::house::process::Process;
use crate::support::world::TempDir;

/// A command of root's.
fn as_root(program: &str) -> Command {
    let mut command = Command::new(program);
    if !rustix::process::geteuid().is_root() {
        command = Command::new("sudo");
        command.args(["-n", program]);
    }
    command
}

/// A small disk of the test's own.
pub(crate) struct Disk(TempDir);

impl Disk {
    pub(crate) fn mount() -> Self {
        let disk = Self(TempDir::new());
        let mut mount = as_root("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=0777", "otpost-test"]).arg(&disk.0.0);
        let done = mount.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        disk
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.0
    }

    /// A folder on it that belongs to a server's user; ours, where we are not root and the server is our own.
    pub(crate) fn folder_of(&self, user: &str) -> PathBuf {
        let folder = self.path().join(user);
        std::fs::create_dir(&folder).unwrap();
        if rustix::process::geteuid().is_root() {
            assert!(Command::new("chown").arg(user).arg(&folder).status().unwrap().success());
        }
        folder
    }

    fn filler(&self) -> PathBuf {
        self.0.0.join("filler")
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        let full = loop {
            if let Err(e) = file.write_all(&[1; 4096]) {
                break e.kind();
            }
        };
        assert_eq!(full, ErrorKind::StorageFull);
    }

    pub(crate) fn make_room(&self) {
        let _ = std::fs::remove_file(self.filler());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = as_root("umount").arg("-l").arg(&self.0.0).status();
    }
}

/// A process to whose files nothing is kept for as long as this is there: each fsync fails.
pub(crate) struct NoSync(Child);

impl NoSync {
    pub(crate) fn begin(process: &Process) -> Self {
        let mut strace = as_root("strace");
        strace.args(["-f", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-p"]);
        let mut strace = strace.arg(process.0.id().to_string()).stderr(Stdio::piped()).spawn().unwrap();
        let mut says = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        says.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "strace: {line}");
        // It writes as long as it runs.
        std::thread::spawn(move || std::io::copy(&mut says, &mut std::io::sink()));
        Self(strace)
    }
}

impl Drop for NoSync {
    fn drop(&mut self) {
        let _ = as_root("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}
