//! What is broken until it is dropped, also by a test that fails: the ledger's server, its disk, and processes.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use tokio_postgres::Client;

use crate::small_disk::Disk;
use crate::support::wait;
use crate::support::world::connect;

/// The test's own runtime may be at its end.
fn whatever_happens<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _ = std::thread::spawn(move || runtime.block_on(work())).join();
}

/// A server that takes no writes until this is dropped, also by a test that fails.
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
        whatever_happens(move || async move { set_read_only(&url, "off").await });
    }
}

/// Processes of a server that stand still until this is dropped.
pub(crate) struct Frozen(Vec<u32>);

impl Frozen {
    pub(crate) fn begin(pids: Vec<u32>) -> Self {
        let frozen = Self(pids);
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, name: &str) {
        for pid in &self.0 {
            // One of them may have ended meanwhile.
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
    // By itself: it holds for those who connect after its commit.
    look.batch_execute(&format!("alter role otpost set default_transaction_read_only = {on}")).await.unwrap();
    // Who was just logging in may have the old setting, and is to be seen as soon as that is over.
    let under_way = async || {
        let sql = "select virtualtransaction from pg_locks where locktype = 'virtualxid' and pid <> pg_backend_pid()";
        look.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect::<BTreeSet<String>>()
    };
    let before = under_way().await;
    wait::until("what had begun is over", async || under_way().await.is_disjoint(&before)).await;
    end_backends(&look).await;
}

/// The ledger's tables lie on a small disk until this is dropped.
pub(crate) struct SmallDisk {
    pub(crate) disk: Disk,
    space: String,
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
        whatever_happens(move || async move {
            move_to(&url, "pg_default").await;
            connect(&url).await.batch_execute(&format!("drop tablespace {space}")).await.unwrap();
        });
    }
}

/// Moves all tables and indexes of a ledger.
async fn move_to(url: &str, space: &str) {
    let look = connect(url).await;
    let all = format!(
        "do $$ declare r record; begin
           for r in select oid::regclass as name, case relkind when 'r' then 'table' else 'index' end as kind
                      from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'i') loop
             execute format('alter %s %s set tablespace {space}', r.kind, r.name);
           end loop;
         end $$"
    );
    // It may collide with otpost.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while let Err(e) = look.batch_execute(&all).await {
        assert!(tokio::time::Instant::now() < deadline, "the tables are not moved: {e}");
    }
}

/// Ends all connections of otpost's; answers how many there were.
pub(crate) async fn end_backends(look: &Client) -> usize {
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'otpost'";
    look.query(end, &[]).await.unwrap().len()
}

/// Nobody reads or writes a dispatch until this is over.
pub(crate) async fn lock(url: &str, meanwhile: impl Future<Output = ()>) {
    let mut look = connect(url).await;
    let held = look.transaction().await.unwrap();
    held.batch_execute("lock table dispatch in access exclusive mode").await.unwrap();
    meanwhile.await;
    held.rollback().await.unwrap();
}

/// All processes of the ledger's server: those that serve somebody, and the one that takes connections.
pub(crate) async fn server(url: &str) -> Vec<u32> {
    let mut pids = backends(url).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", pids[0])).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    pids.insert(0, parent.trim().parse().unwrap());
    pids
}

/// The processes of the ledger's server that serve somebody.
pub(crate) async fn backends(url: &str) -> Vec<u32> {
    let look = connect(url).await;
    let all =
        "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    let pids = look.query(all, &[]).await.unwrap();
    pids.iter().map(|row| row.get::<_, i32>(0).unsigned_abs()).collect()
}
