//! F18, F4: the memory of a process does not grow with the number of phone numbers or of pending events.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use otpost::http::{NewKey, Scope};
use serde_json::json;

use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster};
use crate::load::{Kind, Sent};
use crate::seed::Seed;
use crate::support::deployment::job;
use crate::support::deployment::process::Process;
use crate::support::node::Alarm;
use crate::support::wait;
use crate::support::world::connect;

/// Number of parallel requests.
const PARALLEL_REQUESTS: usize = 32;
/// The rate limit per API key, so several keys are used.
const LIMITS: &str = "[limits]\ndoor_number = \"2/1d\"\ndoor_client = \"1000/1s\"\n";
/// Number of API keys.
const CLIENTS: u32 = 8;

/// Returns the current memory of a process.
fn memory_kb(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A client of the HTTP API. Each of its jobs has another number.
struct Caller {
    http: reqwest::Client,
    url: String,
    keys: Vec<String>,
    life: Duration,
    seed: Seed,
    serial: u32,
}

impl Caller {
    async fn new(cluster: &Cluster, life: Duration, seed: Seed) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let url = format!("http://{}/v1/dispatches", cluster.api);
        let mut keys = vec![];
        for _ in 0..CLIENTS {
            let key = NewKey::make("default", &[Scope::Dispatch]);
            cluster.deployment.ledger.add_key(&key.row).await.unwrap();
            keys.push(key.text);
        }
        Self { http, url, keys, life, seed, serial: 0 }
    }

    /// Returns a job for a number without a meaning for the mock carrier.
    fn next(&mut self) -> Sent {
        self.serial += 1;
        while (101..=126).contains(&(self.serial % 10_000)) {
            self.serial += 1;
        }
        let code =
            std::iter::repeat_with(|| char::from(b"BCDFGHJKLMNPQRSTVWXZ"[self.seed.below(20) as usize]));
        let at = otpost::domain::clock::now();
        Sent {
            id: uuid::Uuid::new_v4(),
            to: format!("+4477{:08}", 20_000_000 + self.serial),
            code: code.take(10).collect(),
            kind: Kind::Plain,
            at,
            expires_at: otpost::domain::clock::after(at, self.life),
            sign_in: None,
            newest: true,
        }
    }

    /// Posts a job and returns the status.
    fn post(&self, sent: &Sent) -> impl Future<Output = u16> + use<> {
        let more =
            json!({"id": sent.id, "code": sent.code, "expires_at": sent.expires_at, "fallback_after_s": 0});
        let body = job(&sent.to, more).to_string();
        let key = &self.keys[(self.serial % CLIENTS) as usize];
        let request = self.http.post(&self.url).bearer_auth(key).body(body);
        async move { request.send().await.unwrap().status().as_u16() }
    }

    /// Posts jobs in parallel while this holds. Each is accepted.
    async fn pour(&mut self, mut goes_on: impl FnMut(usize) -> bool) -> Vec<Sent> {
        let (mut all, mut requests) = (vec![], futures_util::stream::FuturesUnordered::new());
        loop {
            while requests.len() < PARALLEL_REQUESTS && goes_on(all.len()) {
                let sent = self.next();
                requests.push(self.post(&sent));
                all.push(sent);
            }
            match requests.next().await {
                Some(status) => assert_eq!(status, 202),
                None => return all,
            }
        }
    }
}

mod long {
    use super::*;

    /// Posts more numbers than the map of the HTTP API holds, for up to two minutes, each counted for a day.
    /// Requests for an earlier number are still answered.
    ///
    /// Fails if each received body stays in memory (35 MB over 167,000 numbers).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn very_many_numbers_do_not_grow_the_memory_of_the_http_api() {
        const FIRST: usize = 10_000;
        /// Capacity of the map in the HTTP API: `MAX_TRACKED_KEYS` in `src/http/flood.rs`.
        const MAP_CAPACITY: usize = 100_000;
        const MAX_GROWTH_KB: u64 = 20_000;
        let name = "very_many_numbers_do_not_grow_the_memory_of_the_http_api";
        let mut cluster = Cluster::build(Duration::from_millis(20)).await;
        cluster.extra_config += LIMITS;
        let api = cluster.start("api", "api").await;
        let mut caller = Caller::new(&cluster, Duration::from_secs(600), Seed::of(name)).await;
        let old = caller.pour(|posted| posted < FIRST).await.swap_remove(0);
        let before = memory_kb(&api);
        let end = Instant::now() + Duration::from_secs(120);
        let numbers = FIRST + caller.pour(|posted| posted < MAP_CAPACITY || Instant::now() < end).await.len();
        let grown = memory_kb(&api).saturating_sub(before);
        println!("{numbers} numbers: {before} kB after the first {FIRST}, then {grown} kB more");
        assert!(grown < MAX_GROWTH_KB, "memory grew by {grown} kB over {numbers} numbers");
        assert_eq!(caller.post(&old).await, 200, "its id is known");
        let newer = Sent { id: uuid::Uuid::new_v4(), ..old };
        assert_eq!(caller.post(&newer).await, 202, "its number has a free quota use");
    }

    /// The broker blocks publishers while thousands of codes arrive over HTTP and are delivered. Their events
    /// are pending in the ledger, not in memory, and are published after the alarm.
    ///
    /// Fails if each pending event stays in memory (17 MB instead of 5).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn pending_events_of_a_blocked_broker_are_not_held_in_memory() {
        // A burst, so that buffers and pools have grown before.
        const WARM: usize = 2_600;
        const JOBS: usize = 5_200;
        const PENDING: i64 = 10_000;
        const MAX_GROWTH_KB: u64 = 12_000;
        let name = "pending_events_of_a_blocked_broker_are_not_held_in_memory";
        let mut cluster = Cluster::build(Duration::from_millis(20)).await;
        cluster.extra_config += LIMITS;
        checker::listen(&cluster).await;
        let all = cluster.start("all", ALL).await;
        let mut caller = Caller::new(&cluster, Duration::from_secs(600), Seed::of(name)).await;
        let mut sent = caller.pour(|posted| posted < WARM).await;
        checker::settle(&cluster, &sent, Duration::from_secs(60)).await;
        let before = memory_kb(&all);

        let alarm = Alarm::Memory.on();
        sent.extend(caller.pour(|posted| posted < JOBS).await);
        let look = connect(&cluster.deployment.ledger_url).await;
        let sql = "select count(*) filter (where state = 'delivered'), 
                            (select coalesce(sum(jsonb_array_length(e::jsonb -> 'events')), 0)::bigint from outbox, unnest(events) e) from dispatch";
        let (mut pending, mut most) = (0, 0);
        let all_delivered = async || {
            let row = look.query_one(sql, &[]).await.unwrap();
            pending = row.get(1);
            most = memory_kb(&all).max(most);
            (row.get::<_, i64>(0) == i64::try_from(sent.len()).unwrap()).then_some(())
        };
        assert!(
            wait::within(Duration::from_secs(240), all_delivered).await.is_some(),
            "codes are still delivered"
        );
        // Wait for some scans for pending events.
        wait::throughout(Duration::from_secs(5), async || most = memory_kb(&all).max(most)).await;
        let grown = most.saturating_sub(before);
        println!("{pending} events pending: {before} kB before, {grown} kB more at most");
        assert!(pending > PENDING, "{pending} events are pending");
        assert!(grown < MAX_GROWTH_KB, "memory grew by {grown} kB over {pending} events");
        drop(alarm);

        checker::settle(&cluster, &sent, Duration::from_secs(240)).await;
        checker::check(&cluster, &sent, Injected::default()).await;
    }
}
