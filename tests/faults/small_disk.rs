//! A small disk for one test, and a fault that makes fsync fail.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::deployment::process::Process;
use crate::support::world::TempDir;

/// Returns a command that runs as root.
fn as_root(program: &str) -> Command {
    let mut command = Command::new(program);
    if !rustix::process::geteuid().is_root() {
        command = Command::new("sudo");
        command.args(["-n", program]);
    }
    command
}

/// A small disk for one test.
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

    /// Returns a folder on it that belongs to a server's user. Without root the server runs as the current
    /// user, and so the folder is ours.
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

    /// Fills the disk.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        let full = loop {
            if let Err(e) = file.write_all(&[1; 4096]) {
                break e.kind();
            }
        };
        assert_eq!(full, ErrorKind::StorageFull);
    }

    /// Fills the disk except for this many bytes.
    pub(crate) fn fill_except(&self, room: u64) {
        self.fill();
        let file = File::options().write(true).open(self.filler()).unwrap();
        let filled = file.metadata().unwrap().len();
        file.set_len(filled - room).unwrap();
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

/// A process whose fsync calls fail until the guard is dropped.
pub(crate) struct NoSync(Child);

impl NoSync {
    pub(crate) fn begin(process: &Process) -> Self {
        let mut strace = as_root("strace");
        strace.args(["-f", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-p"]);
        let mut strace = strace.arg(process.0.id().to_string()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "strace: {line}");
        // strace prints as long as it runs.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self(strace)
    }
}

impl Drop for NoSync {
    fn drop(&mut self) {
        let _ = as_root("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}
