//! Failover of the ledger: the primary dies under load, and its standby is promoted. A synchronous standby has
//! every commit. Another one may lack the last ones.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::checker;
use crate::cluster::{Cluster, FRONT_END, WORKER};
use crate::load::{Load, Sent};
use crate::seed::Seed;
use crate::support::deployment::stopped_server::services;
use crate::support::deployment::{self, Deployment};
use crate::support::wait;
use crate::support::world::fresh_schema_at;
use crate::under_load::{JOBS, WORKERS, blocking, in_flight};

/// Number of jobs whose requests are open when the primary dies, of each kind.
const HELD: usize = 8;

/// A primary and its standby. They are deleted on drop.
struct Pair {
    /// The URL that names both, and asks for the one that accepts writes.
    url: String,
}

impl Pair {
    fn synchronous() -> Self {
        Self { url: services(&["pair-up", "synchronous"]) }
    }

    fn asynchronous() -> Self {
        Self { url: services(&["pair-up"]) }
    }

    /// The address of the primary.
    fn primary(&self) -> String {
        self.url.split_once('@').unwrap().1.split(',').next().unwrap().to_owned()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        services(&["pair-down"]);
    }
}

/// The values of a counter without labels, in all workers.
async fn counted(cluster: &Cluster, name: &str) -> u64 {
    let mut sum = 0;
    for worker in WORKERS {
        let ops = cluster.deployment.serving(worker).await["ops"].as_str().unwrap().to_owned();
        let (_, text) = cluster.deployment.get(&format!("http://{ops}/metrics")).await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric exists");
        sum += value.trim().parse::<u64>().unwrap();
    }
    sum
}

/// Returns the ids of the dispatches that the workers' logs report as lost, or as changed back.
fn reported(cluster: &Cluster, what: &str) -> BTreeSet<Uuid> {
    let logs = WORKERS.map(|name| cluster.deployment.log(name)).concat();
    let lines = logs.lines().filter(|line| line.contains(what)).map(|line| line.parse::<Value>().unwrap());
    lines
        .inspect(|line| assert!(line["level"] == "ERROR" && line.to_string().contains("docs/operate.md")))
        .map(|line| line["dispatch.id"].as_str().unwrap().parse().unwrap())
        .collect()
}

/// Publishes jobs with these outcomes at the carrier, and waits until it has this many requests for each.
async fn publish_until_requested(
    cluster: &Cluster, prefix: &str, outcomes: &Value, requests: usize,
) -> Vec<Sent> {
    let mut sent = vec![];
    for n in 0..HELD {
        let to = format!("{prefix}{n:05}");
        cluster.deployment.script(&to, outcomes.clone()).await;
        let mut job = deployment::job(&to, json!({}));
        sent.push(Sent::by_hand(&mut job));
        cluster.deployment.publish(&job).await;
    }
    until_requested(cluster, &sent, requests).await;
    sent
}

/// Publishes jobs while there is no primary.
async fn publish_meanwhile(failing: JoinHandle<String>, load: &mut Load<'_>) {
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let before = load.sent.len();
    while !failing.is_finished() {
        pace.tick().await;
        load.publish(1).await;
    }
    println!("{}", failing.await.unwrap());
    assert!(load.sent.len() > before, "no job came while there was no primary");
}

async fn until_requested(cluster: &Cluster, sent: &[Sent], requests: usize) {
    for job in sent {
        let arrived = async || cluster.deployment.record("requests", Some(&job.to)).await.len() >= requests;
        wait::until("the carrier has the requests", arrived).await;
    }
}

mod long {
    use super::*;

    /// The standby lacks the last commits. Each worker reports those that it finds gone. The jobs that come while there is
    /// no primary, and afterwards, are delivered.
    ///
    /// Fails if a missing row or a lower version counts as a conflict with another worker (nothing is reported).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_primary_dies_and_a_standby_without_its_last_commits_is_promoted() {
        let pair = blocking(Pair::asynchronous).await;
        let url = fresh_schema_at(&pair.url).await;
        let config =
            mock_gateway::Config { pace: Duration::from_millis(20), ..mock_gateway::Config::default() };
        let cluster = Cluster::of(Deployment::with_ledger_at(url, config).await);
        let _front_end = cluster.start("front-end", FRONT_END).await;
        let _workers = [cluster.start(WORKERS[0], WORKER).await, cluster.start(WORKERS[1], WORKER).await];
        let mut before = Load::new(&cluster, Seed::of("a_standby_without_its_last_commits, before"));
        before.publish(JOBS).await;
        checker::settle(&cluster, &before.sent, Duration::from_secs(60)).await;
        // The standby has these jobs, but not their second attempts.
        let slow = json!({"outcome": "slow", "ms": 2500});
        let throttled = json!([{"outcome": "throttle", "retry_after_s": 8}, slow]);
        let changed = publish_until_requested(&cluster, "+4477310", &throttled, 1).await;
        for job in &changed {
            cluster.deployment.until(job.id, "throttled", |d| d.version >= 2).await;
        }
        println!("{}", blocking(|| services(&["pair-cut"])).await);
        until_requested(&cluster, &changed, 2).await;
        let gone = publish_until_requested(&cluster, "+4477320", &json!([slow]), 1).await;
        let failing = tokio::task::spawn_blocking(|| services(&["pair-fail"]));
        // What the primary admits until it dies would be lost too.
        let primary = pair.primary();
        wait::until("the primary has died", async || TcpStream::connect(&primary).await.is_err()).await;
        let mut meanwhile = Load::new(&cluster, Seed::of("a_standby_without_its_last_commits, meanwhile"));
        meanwhile.prefix = "+4479";
        publish_meanwhile(failing, &mut meanwhile).await;
        let ids = |sent: &[Sent]| -> BTreeSet<Uuid> { sent.iter().map(|job| job.id).collect() };
        wait::until("the workers report their lost commits", async || {
            reported(&cluster, "lost a committed dispatch") == ids(&gone)
                && reported(&cluster, "lost a committed change") == ids(&changed)
        })
        .await;
        assert_eq!(counted(&cluster, "otpost_ledger_lost_commits_total").await, 2 * HELD as u64);
        for job in &gone {
            assert!(cluster.deployment.ledger.find("default", job.id).await.unwrap().is_none());
        }
        for name in WORKERS {
            wait::until("it is ready again", async || cluster.ready(name).await.is_none()).await;
        }
        let mut load = Load::new(&cluster, Seed::of("a_standby_without_its_last_commits"));
        load.prefix = "+4478";
        load.publish_each_and(JOBS).await;
        let kept = [before.sent, changed, meanwhile.sent, load.sent].concat();
        checker::settle(&cluster, &kept, Duration::from_secs(120)).await;
        for job in &kept {
            let d = cluster.deployment.ledger.find("default", job.id).await.unwrap().expect("it has a row");
            assert!(job.ends().contains(&d.state.as_str()), "{job:?} {d:#?}");
        }
    }

    /// With a synchronous standby nothing is lost that was admitted, and otpost goes on by itself.
    ///
    /// Fails if only the first host of the URL is used, or if a connection to a read-only server is kept.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_primary_dies_and_its_synchronous_standby_is_promoted() {
        let pair = blocking(Pair::synchronous).await;
        let url = fresh_schema_at(&pair.url).await;
        let config =
            mock_gateway::Config { pace: Duration::from_millis(20), ..mock_gateway::Config::default() };
        let cluster = Cluster::of(Deployment::with_ledger_at(url, config).await);
        checker::listen(&cluster).await;
        let _front_end = cluster.start("front-end", FRONT_END).await;
        let _workers = [cluster.start(WORKERS[0], WORKER).await, cluster.start(WORKERS[1], WORKER).await];
        let mut load = Load::new(&cluster, Seed::of("the_primary_dies"));
        load.publish_each_and(JOBS).await;
        let failing = tokio::task::spawn_blocking(|| services(&["pair-fail"]));
        publish_meanwhile(failing, &mut load).await;
        for name in WORKERS {
            wait::until("it is ready again", async || cluster.ready(name).await.is_none()).await;
        }
        load.publish(JOBS).await;
        checker::settle(&cluster, &load.sent, Duration::from_secs(120)).await;
        checker::check(&cluster, &load.sent, in_flight(128)).await;
    }
}
