//! F15, trace 19: a message that kills whoever reads it, in one prefetch with hundreds of good ones; and one that makes its
//! reader panic.

use std::time::Duration;

use otpost::intake::envelope::Envelope;
use serde_json::{Value, json};

use crate::checker::{self, Injected};
use crate::excuse::Trouble;
use crate::load::Load;
use crate::seed::Seed;
use crate::site::{ALL, Site};
use crate::support::house::job;
use crate::support::house::process::Process;
use crate::support::node::rabbitmqctl;
use crate::support::wait;
use crate::support::world::connect;
use crate::under_load::in_flight;

/// Good messages before and after the bad one: with it as many as a worker takes at once, `amqp.prefetch`.
const NEIGHBOURS: [usize; 2] = [255, 256];
/// Deaths that a message costs: three among others, and three alone.
const DEATHS: usize = 6;

/// Restarts a process whenever it has died, as a supervisor does.
struct Supervisor<'a> {
    site: &'a Site,
    running: Process,
    /// What the fourth process has beside: the first that sets anything aside.
    fourth: &'a [(&'a str, &'a str)],
    deaths: usize,
}

const POISON: (&str, &str) = ("OTPOST_CRASH_ON", "x_poison");

impl<'a> Supervisor<'a> {
    fn start(site: &'a Site, fourth: &'a [(&'a str, &'a str)]) -> Self {
        Self { site, running: site.start_with("w0", ALL, &[POISON]), fourth, deaths: 0 }
    }

    /// Looks after it until this holds.
    async fn until(&mut self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let looked = async || {
            if self.running.0.try_wait().unwrap().is_some() {
                self.deaths += 1;
                let mut variables = vec![POISON];
                variables.extend(self.fourth.iter().filter(|_| self.deaths == 3));
                self.running = self.site.start_with(&format!("w{}", self.deaths), ALL, &variables);
            }
            holds().await.then_some(())
        };
        assert!(wait::within(Duration::from_secs(120), looked).await.is_some(), "in vain: {what}");
    }
}

/// The bad one, as its producer made it.
fn poison() -> Value {
    job("+447719999999", json!({"code": "BCDFGHJKLM", "x_poison": true}))
}

/// Messages of a queue, those that are held by a reader among them. The queue itself is asked.
fn all_of(site: &Site, queue: &str) -> usize {
    let queue = format!("{{'{}_{queue}', node()}}", site.house.vhost);
    let total =
        format!("{{ok, {{_, N}}, _}} = ra:leader_query({queue}, fun rabbit_fifo:query_messages_total/1), N.");
    rabbitmqctl(&["eval", &total]).trim().parse().unwrap()
}

/// Takes all dead letters: each is the poison, whole and sealed, with this reason. Answers how many there are.
async fn dead_letters(site: &Site, poison: &Value, reason: &str) -> usize {
    let letters = checker::waiting(site, "otpost.dead").await;
    for _ in 0..letters {
        let (field, why, sealed) = site.house.dead_letter().await;
        assert_eq!((field.as_str(), why.as_str()), ("body", reason));
        let letter = Envelope::open(&site.house.keys, "otpost.dead", &sealed).expect("we have sealed it");
        assert_eq!((letter.routing_key.as_str(), letter.cut), ("dispatch", false));
        assert_eq!(serde_json::from_slice::<Value>(&letter.body()).unwrap(), *poison, "a neighbour is dead");
    }
    letters as usize
}

async fn poisoned(name: &str, fourth: &[(&str, &str)]) {
    let site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    let mut load = Load::new(&site, Seed::of(name));
    load.life = Duration::from_secs(300);
    // All of it waits before anybody reads.
    load.burst(NEIGHBOURS[0]).await;
    let poison = poison();
    load.say("dispatch", poison.to_string().as_bytes()).await;
    load.burst(NEIGHBOURS[1]).await;
    let from = otpost::domain::clock::now();
    let mut supervisor = Supervisor::start(&site, fourth);
    supervisor.until("it is a dead letter", async || checker::waiting(&site, "otpost.dead").await > 0).await;
    let look = connect(&site.house.ledger_url).await;
    let all = i64::try_from(load.sent.len()).unwrap();
    let delivered = "select count(*) from dispatch where state = 'delivered'";
    supervisor
        .until("its neighbours are delivered", async || {
            look.query_one(delivered, &[]).await.unwrap().get::<_, i64>(0) == all
        })
        .await;
    let queues = ["otpost.suspect", "otpost.dispatch"];
    supervisor
        .until("nothing is left of it", async || queues.into_iter().all(|queue| all_of(&site, queue) == 0))
        .await;
    let trouble = Some(Trouble { from, to: otpost::domain::clock::now() });
    checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
    let letters = dead_letters(&site, &poison, "killed_reader").await;
    let deaths = supervisor.deaths;
    let logs: String = site.house.logs().into_iter().map(|(_, log)| log).collect();
    let quarantined = logs.matches("quarantined to otpost.suspect").count();
    println!("{name}: {deaths} deaths, {quarantined} quarantined, {letters} dead letters");
    assert!(quarantined > NEIGHBOURS[1], "its neighbours were in danger: {quarantined}");
    // What dies between the confirm of what is set aside and its ack finds both again: only then there may be two, and
    // each costs the deaths of one that is alone.
    let copies = 1 + fourth.len();
    assert!((1..=copies).contains(&letters), "{letters} dead letters");
    let most = DEATHS + fourth.len() + (letters - 1) * DEATHS / 2;
    assert!((DEATHS..=most).contains(&deaths), "{deaths} deaths for {letters} dead letters");
    for secret in ["7719999999", "BCDFGHJKLM"] {
        assert!(!logs.contains(secret), "O6: {secret} is in a log");
    }
    checker::check(&site, &load.sent, Injected { trouble, ..in_flight(256) }).await;
}

/// Seen to fail: where what came back three times is read among others again (the neighbours become dead letters at the
/// queue's own limit), and where suspects are read however often they came back (the queue's own limit ends it, without a
/// reason of ours).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_kills_its_readers_and_no_neighbour() {
    poisoned("a_message_kills_its_readers_and_no_neighbour", &[]).await;
}

/// A reader that panics loses this one message, over the broker and over HTTP, and goes on.
///
/// Seen to fail: where a panic ends the task that reads (its message is held for ever, and never a dead letter), and where its
/// message is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_makes_its_reader_panic_and_no_neighbour_notices() {
    let site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    let mut load = Load::new(&site, Seed::of("a_message_makes_its_reader_panic_and_no_neighbour_notices"));
    load.burst(NEIGHBOURS[0]).await;
    let poison = poison();
    load.say("dispatch", poison.to_string().as_bytes()).await;
    load.burst(NEIGHBOURS[1]).await;
    let mut all = site.start_with("all", ALL, &[("OTPOST_PANIC_ON", "x_poison")]);
    site.house.serving("all").await;
    let body = poison.to_string().into_bytes();
    let (status, problem) = site.house.post_bytes(&site.api.to_string(), &site.house.key, body).await;
    assert_eq!((status, problem["detail"].as_str()), (422, Some("the job cannot be read")));
    load.publish(20).await;
    checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
    assert_eq!(dead_letters(&site, &poison, "caused a panic while it was read").await, 1);
    assert!(all.0.try_wait().unwrap().is_none(), "it lives on");
    let log = site.house.log("all");
    assert!(log.contains("panic.place") && !log.contains("a test does this"), "its place alone: {log}");
    for secret in ["7719999999", "BCDFGHJKLM"] {
        assert!(!log.contains(secret), "O6: {secret} is in the log");
    }
    checker::check(&site, &load.sent, Injected::default()).await;
}

mod long {
    /// And the process dies once more between the confirm of what is set aside and its ack.
    ///
    /// Seen to fail: with the ack before the confirm (there is no dead letter); where a suspect is read while others are still
    /// moved (three dead letters: as chance has it, in one of six runs).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_message_kills_its_readers_and_one_dies_while_it_is_quarantined() {
        let name = "a_message_kills_its_readers_and_one_dies_while_it_is_quarantined";
        super::poisoned(name, &[("OTPOST_CRASH_AT", "QuarantineConfirmed")]).await;
    }
}
