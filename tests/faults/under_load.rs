//! A whole site at work while something breaks under it.

use std::time::Duration;

use crate::breaking::set_read_only;
use crate::checker::{self, Injected};
use crate::load::Load;
use crate::resources::Holds;
use crate::seed::Seed;
use crate::site::{DOORS, Site, WORKER};
use crate::support::house::process::Process;
use crate::support::relay::{Counts, Relay};
use crate::support::wait;
use crate::support::world::database_url;

/// Jobs before and after what breaks.
pub(crate) const JOBS: usize = 40;
pub(crate) const WORKERS: [&str; 2] = ["a", "b"];

/// Relays in front of what otpost stands on.
pub(crate) struct Lines {
    pub(crate) ledger: Relay,
    pub(crate) broker: Relay,
    pub(crate) carrier: Relay,
}

/// A whole site under load. `breaks` breaks something and puts it right again, while jobs go on coming.
pub(crate) async fn under_load(
    name: &str, injected: Injected, breaks: impl AsyncFnOnce(&Site, &Lines, &mut [Process; 2]),
) {
    let going_on = async |load: &mut Load<'_>| load.publish(JOBS).await;
    under_this_load(name, going_on, injected, breaks).await;
}

/// The same, with jobs of one's own while something breaks.
pub(crate) async fn under_this_load(
    name: &str, going_on: impl AsyncFnOnce(&mut Load<'_>), injected: Injected,
    breaks: impl AsyncFnOnce(&Site, &Lines, &mut [Process; 2]),
) {
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
    let doors = site.start("doors", DOORS).await;
    for (at, relay) in [(ledger, &lines.ledger), (broker, &lines.broker), (carrier, &lines.carrier)] {
        site.instead.push((at.to_string(), relay.addr().to_string()));
    }
    let mut workers = [site.start(WORKERS[0], WORKER).await, site.start(WORKERS[1], WORKER).await];
    let mut load = Load::new(&site, Seed::of(name));
    load.publish_each_and(JOBS).await;
    let before = [&doors, &workers[0], &workers[1]].map(Holds::now);
    tokio::join!(going_on(&mut load), breaks(&site, &lines, &mut workers));
    load.publish(JOBS / 4).await;
    checker::settle(&site, &load.sent, Duration::from_secs(110)).await;
    checker::check(&site, &load.sent, injected).await;
    for held in before {
        held.come_back().await;
    }
}

/// Waits until somebody connects anew, or has no reason to.
pub(crate) async fn connected_anew(relay: &Relay, before: Counts) {
    let anew = async || (relay.counts().connections > before.connections).then_some(());
    wait::within(Duration::from_secs(10), anew).await;
}

/// Waits until each worker has said something that it had not said before.
pub(crate) async fn workers_say(site: &Site, line: &str) {
    for name in WORKERS {
        wait::until(line, async || site.house.log(name).contains(line)).await;
    }
}

/// At most so many requests were under way when something broke.
pub(crate) fn in_flight(unknown: usize) -> Injected {
    Injected { unknown, time: true, ..Injected::default() }
}

pub(crate) async fn a_while(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
