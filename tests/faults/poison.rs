//! F15, trace 19: a message that kills every reader, in one prefetch with hundreds of good messages, and a
//! message that makes its reader panic.

use std::time::Duration;

use otpost::intake::envelope::Envelope;
use serde_json::{Value, json};

use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster};
use crate::excuse::FaultPeriod;
use crate::load::Load;
use crate::seed::Seed;
use crate::support::deployment::job;
use crate::support::deployment::process::Process;
use crate::support::node::rabbitmqctl;
use crate::support::wait;
use crate::support::world::connect;
use crate::under_load::in_flight;

/// Number of good messages before and after the bad one. With it they fill `amqp.prefetch`.
const NEIGHBOURS: [usize; 2] = [255, 256];
/// Crashes per message: three in `otpost.dispatch`, three in `otpost.suspect`.
const CRASHES: usize = 6;

/// Restarts a process whenever it has ended, like a supervisor.
struct Supervisor<'a> {
    cluster: &'a Cluster,
    running: Process,
    /// Extra environment of the fourth process, which quarantines first.
    fourth: &'a [(&'a str, &'a str)],
    crashes: usize,
}

const POISON: (&str, &str) = ("OTPOST_CRASH_ON", "x_poison");

impl<'a> Supervisor<'a> {
    fn start(cluster: &'a Cluster, fourth: &'a [(&'a str, &'a str)]) -> Self {
        Self { cluster, running: cluster.start_with("w0", ALL, &[POISON]), fourth, crashes: 0 }
    }

    /// Restarts the process until the condition holds.
    async fn until(&mut self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let looked = async || {
            if self.running.0.try_wait().unwrap().is_some() {
                self.crashes += 1;
                let mut variables = vec![POISON];
                variables.extend(self.fourth.iter().filter(|_| self.crashes == 3));
                self.running = self.cluster.start_with(&format!("w{}", self.crashes), ALL, &variables);
            }
            holds().await.then_some(())
        };
        assert!(wait::within(Duration::from_secs(120), looked).await.is_some(), "timed out: {what}");
    }
}

/// The bad job of the producer.
fn poison() -> Value {
    job("+447719999999", json!({"code": "BCDFGHJKLM", "x_poison": true}))
}

/// Returns the number of messages of a queue, including unacknowledged ones. It queries the queue itself.
fn all_of(cluster: &Cluster, queue: &str) -> usize {
    let queue = format!("{{'{}_{queue}', node()}}", cluster.deployment.vhost);
    let total =
        format!("{{ok, {{_, N}}, _}} = ra:leader_query({queue}, fun rabbit_fifo:query_messages_total/1), N.");
    rabbitmqctl(&["eval", &total]).trim().parse().unwrap()
}

/// Takes all dead letters: each is the complete sealed poison with this reason. Returns their number.
async fn dead_letters(cluster: &Cluster, poison: &Value, reason: &str) -> usize {
    let dead_letter_count = checker::waiting(cluster, "otpost.dead").await;
    for _ in 0..dead_letter_count {
        let (field, why, sealed) = cluster.deployment.dead_letter().await;
        assert_eq!((field.as_str(), why.as_str()), ("body", reason));
        let letter =
            Envelope::open(&cluster.deployment.keys, "otpost.dead", &sealed).expect("otpost has sealed it");
        assert_eq!((letter.routing_key.as_str(), letter.cut), ("dispatch", false));
        assert_eq!(
            serde_json::from_slice::<Value>(&letter.body()).unwrap(),
            *poison,
            "a neighbour was dead-lettered"
        );
    }
    dead_letter_count as usize
}

async fn poisoned(name: &str, fourth: &[(&str, &str)]) {
    let cluster = Cluster::build(Duration::from_millis(20)).await;
    checker::listen(&cluster).await;
    let mut load = Load::new(&cluster, Seed::of(name));
    load.life = Duration::from_secs(300);
    // All messages wait before the first reader starts.
    load.burst(NEIGHBOURS[0]).await;
    let poison = poison();
    load.publish_raw("dispatch", poison.to_string().as_bytes()).await;
    load.burst(NEIGHBOURS[1]).await;
    let from = otpost::domain::clock::now();
    let mut supervisor = Supervisor::start(&cluster, fourth);
    supervisor
        .until("it is a dead letter", async || checker::waiting(&cluster, "otpost.dead").await > 0)
        .await;
    let look = connect(&cluster.deployment.ledger_url).await;
    let all = i64::try_from(load.sent.len()).unwrap();
    let delivered = "select count(*) from dispatch where state = 'delivered'";
    supervisor
        .until("its neighbours are delivered", async || {
            look.query_one(delivered, &[]).await.unwrap().get::<_, i64>(0) == all
        })
        .await;
    let queues = ["otpost.suspect", "otpost.dispatch"];
    supervisor
        .until("the queues are empty", async || queues.into_iter().all(|queue| all_of(&cluster, queue) == 0))
        .await;
    let fault_period = Some(FaultPeriod { from, to: otpost::domain::clock::now() });
    checker::settle(&cluster, &load.sent, Duration::from_secs(60)).await;
    let dead_letter_count = dead_letters(&cluster, &poison, "killed_reader").await;
    let crashes = supervisor.crashes;
    let logs: String = cluster.deployment.logs().into_iter().map(|(_, log)| log).collect();
    let quarantined = logs.matches("moved to quarantine (otpost.suspect)").count();
    println!("{name}: {crashes} crashes, {quarantined} quarantined, {dead_letter_count} dead letters");
    assert!(quarantined > NEIGHBOURS[1], "neighbours were quarantined too: {quarantined}");
    // A process that dies between the confirm and the ack leaves a copy in both queues. Only then there may
    // be two dead letters, and each costs as many crashes as a single message.
    let copies = 1 + fourth.len();
    assert!((1..=copies).contains(&dead_letter_count), "{dead_letter_count} dead letters");
    let most = CRASHES + fourth.len() + (dead_letter_count - 1) * CRASHES / 2;
    assert!((CRASHES..=most).contains(&crashes), "{crashes} crashes for {dead_letter_count} dead letters");
    for secret in ["7719999999", "BCDFGHJKLM"] {
        assert!(!logs.contains(secret), "O6: {secret} is in a log");
    }
    checker::check(&cluster, &load.sent, Injected { fault_period, ..in_flight(256) }).await;
}

/// Fails if a message that was redelivered three times is not quarantined (neighbours are dead-lettered by
/// the queue's delivery limit). Fails if quarantined messages are read without a limit (the queue's delivery
/// limit ends it, without our reason).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_kills_its_readers_harms_no_neighbour() {
    poisoned("a_message_that_kills_its_readers_harms_no_neighbour", &[]).await;
}

/// A reader that panics loses only this message, over the broker and over HTTP, and continues.
///
/// Fails if a panic ends the consuming task (its message is held for ever, and never dead-lettered), and if
/// the panic message is logged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_makes_its_reader_panic_affects_no_neighbour() {
    let cluster = Cluster::build(Duration::from_millis(20)).await;
    checker::listen(&cluster).await;
    let mut load =
        Load::new(&cluster, Seed::of("a_message_that_makes_its_reader_panic_affects_no_neighbour"));
    load.burst(NEIGHBOURS[0]).await;
    let poison = poison();
    load.publish_raw("dispatch", poison.to_string().as_bytes()).await;
    load.burst(NEIGHBOURS[1]).await;
    let mut all = cluster.start_with("all", ALL, &[("OTPOST_PANIC_ON", "x_poison")]);
    cluster.deployment.serving("all").await;
    let body = poison.to_string().into_bytes();
    let (status, problem) =
        cluster.deployment.post_bytes(&cluster.api.to_string(), &cluster.deployment.key, body).await;
    assert_eq!((status, problem["detail"].as_str()), (422, Some("the job cannot be read")));
    load.publish(20).await;
    checker::settle(&cluster, &load.sent, Duration::from_secs(60)).await;
    assert_eq!(dead_letters(&cluster, &poison, "caused a panic while it was read").await, 1);
    assert!(all.0.try_wait().unwrap().is_none(), "the process continues");
    let log = cluster.deployment.log("all");
    assert!(
        log.contains("panic.place") && !log.contains("a test does this"),
        "the log has only the place: {log}"
    );
    for secret in ["7719999999", "BCDFGHJKLM"] {
        assert!(!log.contains(secret), "O6: {secret} is in the log");
    }
    checker::check(&cluster, &load.sent, Injected::default()).await;
}

mod long {
    /// The process also dies between the confirm of a quarantined message and its ack.
    ///
    /// Fails if the ack precedes the confirm (there is no dead letter). Fails if a quarantined message is
    /// read while others are still moved (three dead letters in one of six runs).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_message_kills_its_readers_and_one_dies_during_the_quarantine() {
        let name = "a_message_kills_its_readers_and_one_dies_during_the_quarantine";
        super::poisoned(name, &[("OTPOST_CRASH_AT", "QuarantineConfirmed")]).await;
    }
}
