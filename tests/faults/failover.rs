//! Failover of the ledger: the primary dies under load, and its standby is promoted.

use std::time::Duration;

use crate::checker;
use crate::cluster::{Cluster, FRONT_END, WORKER};
use crate::load::Load;
use crate::seed::Seed;
use crate::support::deployment::Deployment;
use crate::support::deployment::stopped_server::services;
use crate::support::wait;
use crate::support::world::fresh_schema_at;
use crate::under_load::{JOBS, WORKERS, blocking, in_flight};

/// A primary and its standby. They are deleted on drop.
struct Pair {
    /// The URL that names both, and asks for the one that accepts writes.
    url: String,
}

impl Pair {
    fn synchronous() -> Self {
        Self { url: services(&["pair-up", "synchronous"]) }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        services(&["pair-down"]);
    }
}

mod long {
    use super::*;

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
        // Jobs arrive while there is no primary.
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        while !failing.is_finished() {
            pace.tick().await;
            load.publish(1).await;
        }
        println!("{}", failing.await.unwrap());
        for name in WORKERS {
            wait::until("it is ready again", async || cluster.ready(name).await.is_none()).await;
        }
        load.publish(JOBS).await;
        checker::settle(&cluster, &load.sent, Duration::from_secs(120)).await;
        checker::check(&cluster, &load.sent, in_flight(128)).await;
    }
}
