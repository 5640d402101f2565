//! RabbitMQ as three nodes: nodes are killed under load, and start again.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::checker::{self, one_fault};
use crate::cluster::{Cluster, FRONT_END, WORKER};
use crate::load::{BROKER, HTTP, Load, Sent};
use crate::seed::Seed;
use crate::support::deployment::Deployment;
use crate::support::deployment::process::Process;
use crate::support::deployment::stopped_server::services;
use crate::support::wait;
use crate::under_load::{JOBS, WORKERS, blocking, in_flight, wait_for_final, wait_for_workers_log};

const NODES: [&str; 3] = ["1", "2", "3"];
/// The pause between two jobs while a node starts.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);
/// The prefixes of the producers' numbers. Each producer has its own connection, and each begins with another
/// node.
const PRODUCERS: [&str; 3] = ["+4477", "+4478", "+4479"];

/// Three nodes with data of their own, which is deleted on drop.
struct Nodes {
    /// The URLs of all nodes.
    urls: String,
}

impl Nodes {
    fn start() -> Self {
        Self { urls: services(&["cluster-up"]) }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in NODES {
                let mut command = rabbitmqctl(node);
                if let Ok(out) =
                    command.args(["list_queues", "name", "leader", "online", "messages"]).output()
                {
                    let said = [out.stdout, out.stderr].concat();
                    eprintln!("Node {node}: {}", String::from_utf8_lossy(&said));
                }
            }
        }
        services(&["cluster-down"]);
    }
}

/// Runs otpost's processes on a cluster of three nodes.
async fn start(nodes: &Nodes) -> (Cluster, [Process; 3]) {
    let config = mock_gateway::Config { pace: Duration::from_millis(20), ..mock_gateway::Config::default() };
    let cluster = Cluster::of(Deployment::with_broker_at(nodes.urls.clone(), config).await);
    checker::listen_on(&cluster, "quorum").await;
    let front_end = cluster.start("front-end", FRONT_END).await;
    let workers = [cluster.start(WORKERS[0], WORKER).await, cluster.start(WORKERS[1], WORKER).await];
    let [a, b] = workers;
    (cluster, [front_end, a, b])
}

/// The program that asks a node.
fn rabbitmqctl(node: &str) -> Command {
    let shared = std::env::var("OTPOST_TEST_RABBITMQCTL").expect("OTPOST_TEST_RABBITMQCTL is set");
    let program = Path::new(&shared).with_file_name("cluster").join(node).join("rabbitmqctl");
    let mut command = Command::new(program);
    command.args(["-q", "--timeout", "20"]);
    command
}

/// Asserts that each queue of otpost has a member on each node.
fn assert_members() {
    let out = rabbitmqctl("1").args(["list_queues", "name", "type", "members"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let queues: Vec<&str> = text.lines().filter(|line| line.starts_with("otpost.")).collect();
    assert_eq!(queues.len(), otpost::broker::topology::QUEUES.len(), "{text}");
    for queue in queues {
        let on_all = NODES.iter().all(|n| queue.contains(&format!("otpost{n}@localhost")));
        assert!(queue.contains("quorum") && on_all, "{queue}");
    }
}

/// Starts nodes while jobs arrive, and returns when the queues' members are back on all of them.
async fn start_under_load(nodes: &'static [&'static str], producers: &mut [Load<'_>]) {
    let command = [&["cluster-start"], nodes].concat();
    let starting = tokio::task::spawn_blocking(move || services(&command));
    let mut pace = tokio::time::interval(PUBLISH_INTERVAL);
    let mut producers_in_turn = (0..producers.len()).cycle();
    while !starting.is_finished() {
        pace.tick().await;
        producers[producers_in_turn.next().unwrap()].publish(1).await;
    }
    println!("{}", starting.await.unwrap());
}

async fn publish(jobs: usize, producers: &mut [Load<'_>]) {
    for producer in producers {
        producer.publish(jobs).await;
    }
}

fn sent(producers: &[Load<'_>]) -> Vec<Sent> {
    producers.iter().flat_map(|producer| producer.sent.clone()).collect()
}

mod long {
    use super::*;

    /// A message is on two nodes before its confirm, so that a killed node loses none, and the others go on.
    ///
    /// Fails if only the first URL is used (the workers do not go on without node 1), if the queues have a member on
    /// one node only, or if a channel that RabbitMQ refuses is kept (events wait until the node is back).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_node_of_the_brokers_cluster_is_killed() {
        let nodes = blocking(Nodes::start).await;
        let (cluster, _processes) = start(&nodes).await;
        blocking(assert_members).await;
        let mut producers = PRODUCERS.map(|prefix| {
            let mut load = Load::new(&cluster, Seed::of(&format!("each_node {prefix}")));
            load.prefix = prefix;
            load
        });
        for producer in &mut producers {
            producer.publish_each_and(0).await;
        }
        for node in [&["1"], &["2"], &["3"]] {
            let killing = tokio::task::spawn_blocking(move || services(&["cluster-kill", node[0]]));
            publish(JOBS / 4, &mut producers).await;
            println!("{}", killing.await.unwrap());
            // The others go on without it.
            checker::settle(&cluster, &sent(&producers), Duration::from_secs(90)).await;
            start_under_load(node, &mut producers).await;
            one_fault();
        }
        for name in WORKERS {
            wait::until("it is ready again", async || cluster.ready(name).await.is_none()).await;
        }
        publish(JOBS / 4, &mut producers).await;
        let sent = sent(&producers);
        checker::settle(&cluster, &sent, Duration::from_secs(120)).await;
        checker::check(&cluster, &sent, in_flight(0)).await;
    }

    /// One of three nodes is no majority: it confirms nothing and closes its connections. Jobs over HTTP go on.
    ///
    /// Fails if the HTTP API or the scan needs the broker (no job ends meanwhile).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_of_three_nodes_of_the_brokers_cluster_are_killed() {
        let nodes = blocking(Nodes::start).await;
        let (cluster, _processes) = start(&nodes).await;
        let mut producer = Load::new(&cluster, Seed::of("two_of_three_nodes"));
        producer.publish_each_and(JOBS).await;
        let mut web = Load::new(&cluster, Seed::of("two_of_three_nodes over HTTP"));
        (producer.ingresses, web.ingresses, web.prefix) = (BROKER, HTTP, "+4478");
        println!("{}", blocking(|| services(&["cluster-kill", "1", "2"])).await);
        wait_for_workers_log(&cluster, "no connection to RabbitMQ").await;
        let ends = wait_for_final(&cluster, JOBS as i64 / 2);
        tokio::join!(web.publish(JOBS), ends);
        // Its confirms come when there is a majority again.
        let confirmed = async {
            producer.publish(JOBS / 4).await;
        };
        tokio::join!(confirmed, start_under_load(&["1", "2"], std::slice::from_mut(&mut web)));
        for name in WORKERS {
            wait::until("it is ready again", async || cluster.ready(name).await.is_none()).await;
        }
        producer.publish(JOBS / 4).await;
        let sent = sent(&[producer, web]);
        checker::settle(&cluster, &sent, Duration::from_secs(120)).await;
        checker::check(&cluster, &sent, in_flight(0)).await;
    }
}
