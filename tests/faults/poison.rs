//! F15, trace 19: a message that kills whoever reads it, among hundreds of good ones.

use std::time::Duration;

use serde_json::json;

use crate::checker::{self, Injected};
use crate::load::{BROKER, Kind, Load};
use crate::seed::Seed;
use crate::site::{ALL, Site};
use crate::support::house::job;
use crate::support::house::process::Process;
use crate::support::wait;

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

    /// Looks after it until this holds; answers the names of all logs.
    async fn until(&mut self, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Vec<String> {
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
        (0..=self.deaths).map(|n| format!("w{n}")).collect()
    }
}

async fn poisoned(name: &str, fourth: &[(&str, &str)]) {
    let site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    let mut load = Load::new(&site, Seed::of(name));
    load.doors = BROKER;
    // All of it waits before anybody reads: the poison has neighbours on both sides within one prefetch.
    for _ in 0..60 {
        load.publish_one(Kind::Plain).await;
    }
    let poison = job("+447719999999", json!({"x_poison": true}));
    load.say("dispatch", poison.to_string().as_bytes()).await;
    for _ in 0..60 {
        load.publish_one(Kind::Plain).await;
    }
    let mut supervisor = Supervisor::start(&site, fourth);
    let dead = supervisor
        .until("it is a dead letter", async || checker::waiting(&site, "otpost.dead").await > 0)
        .await;
    println!("{name}: dead after {} deaths", dead.len() - 1);
    let look = crate::support::world::connect(&site.house.ledger_url).await;
    let all = i64::try_from(load.sent.len()).unwrap();
    let delivered = "select count(*) from dispatch where state = 'delivered'";
    let logs = supervisor
        .until("its neighbours are delivered", async || {
            look.query_one(delivered, &[]).await.unwrap().get::<_, i64>(0) == all
        })
        .await;
    let deaths = logs.len() - 1;
    assert!((6..=10).contains(&deaths), "three deaths in each queue, and what the scenario adds: {deaths}");
    let (field, reason, _) = site.house.dead_letter().await;
    assert_eq!((field.as_str(), reason.as_str()), ("body", "killed_reader"));
    checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
    // A second copy of the poison may be on its way: what is set aside twice is there twice.
    let dead = checker::waiting(&site, "otpost.dead").await;
    checker::check(&site, &load.sent, Injected { unknown: 200, time: true, dead, ..Injected::default() })
        .await;
}

/// Seen to fail: where what came back three times is read among others again (the neighbours become dead letters at the
/// queue's own limit), and where suspects are read however often they came back (the queue's own limit ends it, without a
/// reason of ours).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_kills_its_readers_and_no_neighbour() {
    poisoned("a_message_kills_its_readers_and_no_neighbour", &[]).await;
}

mod long {
    /// And the process dies once more between the confirm of what is set aside and its ack.
    ///
    /// Seen to fail: with the ack before the confirm (there is no dead letter).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_message_kills_its_readers_and_one_dies_while_it_is_set_aside() {
        let name = "a_message_kills_its_readers_and_one_dies_while_it_is_set_aside";
        super::poisoned(name, &[("OTPOST_CRASH_AT", "SuspectConfirmed")]).await;
    }
}
