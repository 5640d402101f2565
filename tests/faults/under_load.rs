//! A whole site at work while something breaks under it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::breaking::set_read_only;
use crate::checker::{self, Injected, Report};
use crate::excuse::Trouble;
use crate::load::{BROKER, HTTP, Load};
use crate::resources::Holds;
use crate::seed::Seed;
use crate::site::{FRONT_END, Site, WORKER};
use crate::support::house::process::Process;
use crate::support::relay::{Counts, Relay};
use crate::support::wait;
use crate::support::world::{connect, database_url};

/// Jobs before what breaks, and of the burst in whose midst it begins.
pub(crate) const JOBS: usize = 40;
/// One job in this time while something is broken, and one over HTTP.
const PACE: Duration = Duration::from_millis(200);
const PACE_OF_HTTP: Duration = Duration::from_millis(500);
pub(crate) const WORKERS: [&str; 2] = ["a", "b"];

/// Relays in front of what otpost stands on.
pub(crate) struct Lines {
    pub(crate) ledger: Relay,
    pub(crate) broker: Relay,
    pub(crate) carrier: Relay,
}

/// A whole site under load. `breaks` breaks something and puts it right again, while jobs go on coming by each door.
pub(crate) async fn under_load(
    name: &str, injected: Injected, breaks: impl AsyncFnOnce(&Site, &Lines, &mut [Process; 2]),
) -> Report {
    // Whatever a run that was killed has left behind.
    set_read_only(&database_url(), "off").await;
    let mut site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    let [ledger, broker, carrier] = [site.postgres(), site.house.broker(), site.house.gateway.addr()];
    let lines = Lines {
        ledger: Relay::start(ledger).await,
        broker: Relay::start(broker).await,
        carrier: Relay::start(carrier).await,
    };
    for (at, relay) in [(ledger, &lines.ledger), (broker, &lines.broker), (carrier, &lines.carrier)] {
        site.instead.push((at.to_string(), relay.addr().to_string()));
    }
    let front_end = site.start("front-end", FRONT_END).await;
    let mut workers = [site.start(WORKERS[0], WORKER).await, site.start(WORKERS[1], WORKER).await];
    let mut load = Load::new(&site, Seed::of(name));
    load.publish_each_and(JOBS).await;
    let before = [&front_end, &workers[0], &workers[1]].map(Holds::now);
    let mut web = Load::new(&site, Seed::of(&format!("{name} over HTTP")));
    (load.ingresses, web.ingresses, web.prefix) = (BROKER, HTTP, "+4478");
    let over = AtomicBool::new(false);
    let breaking = async {
        let trouble = Trouble::during(breaks(&site, &lines, &mut workers)).await;
        over.store(true, Ordering::Relaxed);
        trouble
    };
    let publishing = async {
        load.publish(JOBS).await;
        until_over(&mut load, PACE, &over).await;
    };
    let ((), (), trouble) = tokio::join!(publishing, until_over(&mut web, PACE_OF_HTTP, &over), breaking);
    load.publish(JOBS / 4).await;
    let sent = [load.sent, web.sent, site.by_hand.lock().unwrap().clone()].concat();
    checker::settle(&site, &sent, Duration::from_secs(110)).await;
    let trouble = Some(trouble);
    let report = checker::check(&site, &sent, Injected { trouble, ..injected }).await;
    let [a, b] = &workers;
    for (held, process) in before.into_iter().zip([&front_end, a, b]) {
        // Others are there in the place of those that a scenario has ended.
        if held.is_of(process) {
            held.come_back().await;
        }
    }
    report
}

/// Goes on at a pace until what breaks is over.
async fn until_over(load: &mut Load<'_>, pace: Duration, over: &AtomicBool) {
    let mut pace = tokio::time::interval(pace);
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        load.publish(1).await;
    }
}

/// Calls of servers' own programs take seconds; all else goes on meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Waits until somebody connects anew, or has no reason to.
pub(crate) async fn connected_anew(relay: &Relay, before: Counts) {
    let anew = async || (relay.counts().connections > before.connections).then_some(());
    wait::within(Duration::from_secs(10), anew).await;
}

/// Waits until each worker has said this. What broke before in the same scenario may have made it say so too.
pub(crate) async fn workers_say(site: &Site, line: &str) {
    for name in WORKERS {
        wait::until(line, async || site.house.log(name).contains(line)).await;
    }
}

/// At most so many requests were under way when something broke.
pub(crate) fn in_flight(unknown: usize) -> Injected {
    Injected { unknown, time: true, ..Injected::default() }
}

/// Waits until so many more dispatches have ended.
pub(crate) async fn ends_come(site: &Site, ends: i64) {
    let look = connect(&site.house.ledger_url).await;
    let ended = async || {
        let sql = "select count(*) from dispatch where state not in ('queued', 'sending', 'sent')";
        look.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    let all = ended().await + ends;
    wait::until("codes go on", async || ended().await >= all).await;
}

/// Waits until a time is over, such as that of the codes that nobody could send.
pub(crate) async fn is_past(at: Timestamp) {
    let past = async || (otpost::domain::clock::now() > at).then_some(());
    wait::within(Duration::from_secs(120), past).await.expect("it is not so far away");
}
