//! Faults that end when their guard is dropped, also in a failing test: the ledger's server, its disk, and
//! processes.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use tokio_postgres::Client;

use crate::small_disk::Disk;
use crate::support::wait;
use crate::support::world::connect;

/// Runs the work on a separate runtime, because the test's own runtime may be shutting down.
fn run_to_end<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _ = std::thread::spawn(move || runtime.block_on(work())).join();
}

/// A read-only server until the guard is dropped.
pub(crate) struct ReadOnly(String);

impl ReadOnly {
    pub(crate) async fn begin(url: &str) -> Self {
        let held = Self(url.to_owned());
        set_read_only(url, "on").await;
        held
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let url = self.0.clone();
        run_to_end(move || async move { set_read_only(&url, "off").await });
    }
}

/// Frozen server processes. They continue on drop.
pub(crate) struct Frozen(Vec<u32>);

impl Frozen {
    pub(crate) fn begin(pids: Vec<u32>) -> Self {
        let frozen = Self(pids);
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, name: &str) {
        for pid in &self.0 {
            // A process may have ended meanwhile.
            let _ = Command::new("kill").args([name, &pid.to_string()]).status();
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

pub(crate) async fn set_read_only(url: &str, on: &str) {
    let look = connect(url).await;
    look.batch_execute("set default_transaction_read_only = off").await.unwrap();
    // As a separate statement: it applies to connections that are made after its commit.
    look.batch_execute(&format!("alter role otpost set default_transaction_read_only = {on}")).await.unwrap();
    // A session that is logging in may still have the old setting. It is visible after the login.
    let under_way = async || {
        let sql = "select virtualtransaction from pg_locks where locktype = 'virtualxid' and pid <> pg_backend_pid()";
        look.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect::<BTreeSet<String>>()
    };
    let before = under_way().await;
    wait::until("all earlier transactions have ended", async || under_way().await.is_disjoint(&before)).await;
    end_backends(&look).await;
}

/// A small disk for the ledger's tables until the guard is dropped.
pub(crate) struct SmallDisk {
    pub(crate) disk: Disk,
    pub(crate) space: String,
    url: String,
}

impl SmallDisk {
    pub(crate) async fn begin(url: &str) -> Self {
        let disk = Disk::mount();
        let folder = disk.folder_of("postgres");
        let space = format!("t_{}", uuid::Uuid::now_v7().simple());
        let create = format!("create tablespace {space} location '{}'", folder.display());
        connect(url).await.batch_execute(&create).await.unwrap();
        move_to(url, &space).await;
        Self { disk, space, url: url.to_owned() }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let (url, space) = (self.url.clone(), self.space.clone());
        self.disk.make_room();
        run_to_end(move || async move {
            move_to(&url, "pg_default").await;
            connect(&url).await.batch_execute(&format!("drop tablespace {space}")).await.unwrap();
        });
    }
}

/// Moves all tables and indexes of a ledger. Each is moved by a transaction of its own: one that locked several would wait for otpost's,
/// and they for it.
async fn move_to(url: &str, space: &str) {
    let look = connect(url).await;
    let list = "select case relkind when 'r' then 'table' else 'index' end, oid::regclass::text
                  from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'i')";
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    for row in look.query(list, &[]).await.unwrap() {
        let (kind, name): (&str, &str) = (row.get(0), row.get(1));
        let one = format!("alter {kind} {name} set tablespace {space}");
        while let Err(e) = look.batch_execute(&one).await {
            assert!(tokio::time::Instant::now() < deadline, "{name} is not moved: {:?}", e.as_db_error());
        }
    }
}

/// Closes all connections of otpost and returns their number.
pub(crate) async fn end_backends(look: &Client) -> usize {
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'otpost'";
    look.query(end, &[]).await.unwrap().len()
}

/// Locks the table of dispatches until the future is done.
pub(crate) async fn lock(url: &str, meanwhile: impl Future<Output = ()>) {
    let mut look = connect(url).await;
    let held = look.transaction().await.unwrap();
    held.batch_execute("lock table dispatch in access exclusive mode").await.unwrap();
    meanwhile.await;
    held.rollback().await.unwrap();
}

/// Returns all processes of the ledger's server: those with a client, and the one that accepts connections.
pub(crate) async fn server(url: &str) -> Vec<u32> {
    let mut pids = backends(url).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", pids[0])).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    pids.insert(0, parent.trim().parse().unwrap());
    pids
}

/// Returns the processes of the ledger's server that have a client.
pub(crate) async fn backends(url: &str) -> Vec<u32> {
    let look = connect(url).await;
    let all =
        "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    let pids = look.query(all, &[]).await.unwrap();
    pids.iter().map(|row| row.get::<_, i32>(0).unsigned_abs()).collect()
}
