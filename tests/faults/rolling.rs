//! Two versions side by side: a real older binary keeps working while this one migrates the ledger and joins, and takes over again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::checker;
use crate::cluster::{Cluster, FRONT_END, WORKER};
use crate::load::Load;
use crate::seed::Seed;
use crate::stopping::stop;
use crate::support::deployment::Deployment;
use crate::support::deployment::process::Process;
use crate::support::world::{connect, fresh_schema};
use crate::under_load::{JOBS, blocking, in_flight};

/// Runs a program to its end. Returns its last line.
fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().last().unwrap_or_default().to_owned()
}

/// The older otpost, from `scripts/older`.
fn older_program() -> PathBuf {
    run(&mut Command::new(Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("scripts/older")))
        .into()
}

/// Migrates a ledger with this program.
fn migrate(program: &Path, url: &str) {
    let folder = crate::support::world::TempDir::new();
    let file = folder.0.join("migrate.toml");
    std::fs::write(&file, format!("[ledger]\nurl = \"{url}\"\n")).unwrap();
    run(Command::new(program).args(["migrate", "--config"]).arg(file));
}

async fn schema_version(cluster: &Cluster) -> i32 {
    let look = connect(&cluster.deployment.ledger_url).await;
    look.query_one("select max(version) from refinery_schema_history", &[]).await.unwrap().get(0)
}

async fn start(cluster: &Cluster, program: &Path, name: &str, roles: &str) -> Process {
    let file = cluster.file(name, roles);
    let process = cluster.deployment.run_program(program, &file, roles, name, &[]);
    cluster.deployment.serving(name).await;
    process
}

/// Publishes until a task has ended, and then a little more.
async fn publish_during(load: &mut Load<'_>, task: tokio::task::JoinHandle<()>) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    while !task.is_finished() {
        pace.tick().await;
        load.publish(1).await;
    }
    task.await.unwrap();
    load.publish(JOBS).await;
}

mod long {
    use super::*;

    /// An upgrade and its way back, under load, without a pause.
    ///
    /// Fails if an older process ends or stops working on the newer schema, if the migration holds a lock that it waits for, or if one
    /// version cannot read what the other has written.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_older_version_works_beside_this_one() {
        let older = blocking(older_program).await;
        let url = fresh_schema().await;
        let (program, at) = (older.clone(), url.clone());
        blocking(move || migrate(&program, &at)).await;
        let config =
            mock_gateway::Config { pace: Duration::from_millis(20), ..mock_gateway::Config::default() };
        let cluster = Cluster::of(Deployment::with_migrated_ledger(url.clone(), config).await);
        let before = schema_version(&cluster).await;
        checker::listen(&cluster).await;
        let _front_end = start(&cluster, &older, "front-end", FRONT_END).await;
        let mut first = start(&cluster, &older, "older", WORKER).await;
        let mut load = Load::new(&cluster, Seed::of("an_older_version_works_beside_this_one"));
        load.publish_each_and(JOBS).await;
        // Rolled forwards: the migration, then a worker of this version.
        let ours = Path::new(env!("CARGO_BIN_EXE_otpost"));
        let migrating = tokio::task::spawn_blocking(move || migrate(ours, &url));
        publish_during(&mut load, migrating).await;
        assert!(schema_version(&cluster).await > before, "there was something to migrate");
        let mut new = start(&cluster, ours, "new", WORKER).await;
        load.publish_each_and(JOBS).await;
        load.burst(JOBS).await;
        stop(&mut first).await;
        load.publish_each_and(JOBS).await;
        // Rolled back: the older one comes again, and this one leaves.
        load.burst(JOBS).await;
        let _again = start(&cluster, &older, "older again", WORKER).await;
        load.publish_each_and(JOBS).await;
        stop(&mut new).await;
        load.publish_each_and(JOBS).await;
        checker::settle(&cluster, &load.sent, Duration::from_secs(110)).await;
        checker::check(&cluster, &load.sent, in_flight(0)).await;
    }
}
