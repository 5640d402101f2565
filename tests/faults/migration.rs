//! `otpost migrate` is killed at each step, runs twice at once, or finds its disk full. The next migration succeeds,
//! and no row is lost.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use otpost::domain::clock::{Clock, after, now};
use otpost::ledger::{Location, schema};
use uuid::Uuid;

use crate::fault_guards::SmallDisk;
use crate::small_disk::Disk;
use crate::support::deployment::process::Process;
use crate::support::ledger_driver::{SMS, job};
use crate::support::wait;
use crate::support::world::{TempDir, connect, fresh_schema, ledger_at};

/// The system calls by which a process changes an `SQLite` file.
const FILE_CALLS: &str = "pwrite64,ftruncate,fsync,fdatasync,unlink";
/// The system calls by which it sends to `PostgreSQL`.
const NETWORK_CALLS: &str = "sendto,sendmsg,writev";
/// Room on a full disk, in bytes: none, or enough for a part of the schema.
const ROOM: [u64; 5] = [0, 8 << 10, 24 << 10, 48 << 10, 96 << 10];

/// The configuration of one ledger.
struct Migration {
    files: TempDir,
    url: String,
}

impl Migration {
    fn of(url: String) -> Self {
        let migration = Self { files: TempDir::new(), url };
        std::fs::write(migration.config(), format!("[ledger]\nurl = \"{}\"\n", migration.url)).unwrap();
        migration
    }

    fn of_file(folder: &Path) -> Self {
        Self::of(format!("sqlite:{}/ledger.db", folder.display()))
    }

    fn config(&self) -> PathBuf {
        self.files.0.join("otpost.toml")
    }

    /// The command under another program, or alone.
    fn command(&self, program: &[&str]) -> Command {
        let line = [program, &[env!("CARGO_BIN_EXE_otpost"), "migrate", "--config"]].concat();
        let mut command = Command::new(line[0]);
        // One thread sends, so that its system calls are counted together.
        command.args(&line[1..]).arg(self.config()).env("TOKIO_WORKER_THREADS", "1").stdin(Stdio::null());
        command
    }

    fn run(&self) -> Output {
        self.command(&[]).output().unwrap()
    }

    /// Kills the process at the nth of these system calls. Returns false if it has ended before.
    fn is_killed_at(&self, calls: &str, n: usize) -> bool {
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:signal=KILL:when={n}"));
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let out = self.command(&strace).output().unwrap();
        let killed = out.status.signal() == Some(9);
        assert!(killed || out.status.success(), "{n}: {}", text(&out));
        killed
    }

    /// Migrates, and uses the ledger. Returns the uid of a new row.
    async fn succeeds(&self, what: &str) -> Uuid {
        let out = self.run();
        assert!(out.status.success(), "{what}: {}", text(&out));
        let ledger = ledger_at(&self.url, Clock::System);
        ledger.check().await.unwrap();
        let job = job(&[SMS], "a", after(now(), Duration::from_secs(300)));
        ledger.admit(job.clone()).await.unwrap();
        job.order.uid
    }

    /// Kills a migration at each system call, from the first one on. Each is followed by one that succeeds. Returns
    /// the number of kills.
    async fn kill_at_each(calls: &str, fresh: impl AsyncFn() -> Self) -> usize {
        for n in 1.. {
            let migration = fresh().await;
            if !migration.is_killed_at(calls, n) {
                return n - 1;
            }
            let uid = migration.succeeds(&format!("after a kill at call {n}")).await;
            if n == 1 {
                migration.keeps(uid, calls).await;
            }
        }
        unreachable!("a migration ends")
    }

    /// Kills migrations of a ledger that has a row.
    async fn keeps(&self, uid: Uuid, calls: &str) {
        let mut n = 1;
        while self.is_killed_at(calls, n) {
            n += 1;
        }
        let row = ledger_at(&self.url, Clock::System).read(uid).await.unwrap();
        assert!(row.is_some(), "a row is lost");
    }

    /// Fails with a sentence that says what to do, and leaves a ledger that can be migrated.
    async fn fails_on_a_full_disk(&self, disk: &Disk, room: u64, sentence: &str) {
        disk.fill_except(room);
        let out = self.run();
        assert!(!out.status.success() && text(&out).contains(sentence), "{room} bytes: {}", text(&out));
        disk.make_room();
        self.succeeds(&format!("after {room} bytes of room")).await;
    }
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

mod long {
    use super::*;

    /// Fails if the schema and its version are written in two transactions (the next migration finds tables that exist).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_migration_of_a_file_is_killed_at_each_write() {
        let folder = TempDir::new();
        // The file and its WAL mode come first. They are written by another thread, whose calls have their own count.
        let in_fresh_file = async || {
            let path = folder.0.join(Uuid::now_v7().to_string());
            std::fs::create_dir(&path).unwrap();
            Migration::of_file(&path)
        };
        let created = Migration::kill_at_each(FILE_CALLS, in_fresh_file).await;
        let in_wal_file = async || {
            let migration = in_fresh_file().await;
            let file = rusqlite::Connection::open(migration.url.strip_prefix("sqlite:").unwrap()).unwrap();
            file.pragma_update(None, "journal_mode", "wal").unwrap();
            migration
        };
        let written = Migration::kill_at_each(FILE_CALLS, in_wal_file).await;
        println!("killed at {created} calls in a new file, and at {written} in an empty one");
        assert!(created >= 3 && written >= 10, "the migration's writes are counted");
    }

    /// Fails if the schema and its version are written in two transactions.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_migration_of_postgresql_is_killed_at_each_request() {
        let killed =
            Migration::kill_at_each(NETWORK_CALLS, async || Migration::of(fresh_schema().await)).await;
        println!("killed at {killed} requests");
        assert!(killed >= 8, "the migration's requests are counted");
    }

    /// The server creates a table when its client is killed. The table has to wait, because another transaction is
    /// creating one with its name.
    ///
    /// Fails if each statement is committed by itself (the next migration finds tables that exist).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_migration_of_postgresql_is_killed_while_it_creates_each_table() {
        let sql = schema(&"postgres://localhost/otpost".parse::<Location>().unwrap());
        let tables: Vec<&str> = sql
            .lines()
            .filter_map(|line| line.strip_prefix("create table ")?.split([' ', '(']).next())
            .collect();
        assert!(tables.len() >= 8, "{tables:?}");
        for table in tables {
            let migration = Migration::of(fresh_schema().await);
            let mut blocking = connect(&migration.url).await;
            let held = blocking.transaction().await.unwrap();
            held.batch_execute(&format!("create table {table} ()")).await.unwrap();
            let pid: i32 = held.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
            let look = connect(&migration.url).await;
            let process = Process(migration.command(&[]).stdout(Stdio::null()).spawn().unwrap());
            wait::until("the migration waits for the table", async || {
                let waiting = "select 1 from pg_stat_activity where $1 = any(pg_blocking_pids(pid))";
                !look.query(waiting, &[&pid]).await.unwrap().is_empty()
            })
            .await;
            drop(process);
            held.rollback().await.unwrap();
            migration.succeeds(&format!("after a kill at {table}")).await;
        }
    }

    /// Fails if the error of the disk is not named, or if a part of the schema stays.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_disk_fills_up_during_a_migration_of_a_file() {
        let disk = Disk::mount();
        for room in ROOM {
            let path = disk.path().join(format!("room-{room}"));
            std::fs::create_dir(&path).unwrap();
            let migration = Migration::of_file(&path);
            migration.fails_on_a_full_disk(&disk, room, "the ledger's disk is full; make room on it").await;
        }
    }

    /// Fails if the error of the disk is not named, or if a part of the schema stays.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_disk_fills_up_during_a_migration_of_postgresql() {
        for room in ROOM {
            let url = fresh_schema().await;
            let small = SmallDisk::begin(&url).await;
            let migration = Migration::of(format!("{url}%20-cdefault_tablespace%3D{}", small.space));
            let sentence = "the ledger's disk is full; free space on the PostgreSQL server";
            migration.fails_on_a_full_disk(&small.disk, room, sentence).await;
        }
    }

    /// `tests/schema.rs` does the same on `PostgreSQL`, where they wait for each other.
    ///
    /// Fails without the lock file (both write), or if the one that comes second does not say why it fails.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_migrations_of_a_file_run_at_once() {
        for _ in 0..10 {
            let folder = TempDir::new();
            let migration = Migration::of_file(&folder.0);
            let start =
                || migration.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let both = [start(), start()].map(|process| process.wait_with_output().unwrap());
            assert!(both.iter().any(|out| out.status.success()), "{both:?}");
            for out in both.iter().filter(|out| !out.status.success()) {
                assert!(text(out).contains("is in use by another otpost; stop that one"), "{}", text(out));
            }
            migration.succeeds("after two at once").await;
        }
    }
}
