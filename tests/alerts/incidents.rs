//! Prometheus scrapes two workers, and the shipped rules fire in scripted incidents. The page names the cause of each.
//!
//! The rules are those of `ops/prometheus`, with shorter times: each `for` is 2 s, each range is 12 s, and each offset is a minute. All
//! thresholds are the shipped ones.

use std::net::SocketAddr;
use std::time::Duration;

use lapin::BasicProperties;
use otpost::app::{App, Roles};
use otpost::config::Config;
use serde_json::{Value, json};

use crate::programs::{Prometheus, rules_folder};
use crate::support::deployment::{Deployment, WORKER, job};
use crate::support::relay::Relay;
use crate::support::wait;
use crate::support::world::{connect, fresh_schema, replaced_clock};

/// Time limit of each incident until its alert fires.
const FIRES_WITHIN: Duration = Duration::from_secs(45);

/// Numbers by what the mock carrier does with them. `{n}` stands for four digits.
const DELIVERED: &str = "+4477{n}0001";
const WITHOUT_RECEIPT: &str = "+4477{n}0104";
const UNAVAILABLE: &str = "+4477{n}0119";
/// Numbers of another country.
const REFUSED: &str = "+49151{n}0110";

/// The shipped rules with shorter times.
fn quick_rules() -> String {
    let shipped = std::fs::read_to_string(rules_folder().join("otpost.rules.yml")).unwrap();
    let lines = shipped.lines().map(|line| {
        if line.trim_start().starts_with("for: ") {
            let indent = line.len() - line.trim_start().len();
            return format!("{:indent$}for: 2s", "");
        }
        let line = ["[5m]", "[15m]", "[30m]"]
            .iter()
            .fold(line.to_owned(), |line, range| line.replace(range, "[12s]"));
        line.replace("offset 30m", "offset 1m")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Two workers with a carrier, a broker and a database whose connections can be disturbed.
struct Site {
    deployment: Deployment,
    apps: Vec<App>,
    broker: Relay,
    database: Relay,
    prometheus: Prometheus,
    numbers: u32,
}

impl Site {
    async fn start() -> Self {
        let url = replaced_clock(&fresh_schema().await);
        // The database's clock is the real one, moved by a value that the test sets.
        let clock = "create table moved (by interval not null); insert into moved values ('0');
            create function clock_timestamp() returns timestamptz language sql volatile
            as $$ select pg_catalog.clock_timestamp() + by from moved $$";
        connect(&url).await.batch_execute(clock).await.unwrap();
        let gateway =
            mock_gateway::Config { pace: Duration::from_millis(20), ..mock_gateway::Config::default() };
        let deployment = Deployment::with_ledger_at(url, gateway).await;
        let broker = Relay::start(deployment.broker()).await;
        let database = Relay::start(deployment.database().await).await;
        let text = deployment.config_text(&["c1"], "http://127.0.0.1:0", "warn");
        let text = text
            .replace(&deployment.ledger_url, &deployment.ledger_by(&database))
            .replace(&deployment.broker().to_string(), &broker.addr().to_string());
        let first = deployment.start(Config::parse(&text).unwrap(), Roles::ALL).await;
        let mut second = Config::parse(&text).unwrap();
        second.receipts.public_url = format!("http://{}", first.receipts.unwrap());
        let second = deployment.start(second, WORKER).await;
        deployment.until_consumers(2).await;
        let apps = vec![first, second];
        let targets: Vec<SocketAddr> = apps.iter().map(|app| app.ops).collect();
        let prometheus = Prometheus::start(&deployment.files.0, &quick_rules(), &targets).await;
        Self { deployment, apps, broker, database, prometheus, numbers: 0 }
    }

    /// Publishes this many jobs. `{n}` in the number becomes four digits that no other job has.
    async fn send(&mut self, jobs: u32, number: &str) {
        for _ in 0..jobs {
            self.numbers += 1;
            let to = number.replace("{n}", &(1000 + self.numbers).to_string());
            self.deployment.publish(&job(&to, json!({}))).await;
        }
    }

    /// Waits until an alert fires with this label. Jobs of the incident are sent until then.
    async fn fires(&mut self, alert: &str, label: (&str, &str), jobs: u32, number: &str) -> Value {
        let end = tokio::time::Instant::now() + FIRES_WITHIN;
        loop {
            let firing = self.prometheus.firing().await;
            let found =
                firing.iter().find(|a| a["labels"]["alertname"] == alert && a["labels"][label.0] == label.1);
            if let Some(found) = found {
                return found.clone();
            }
            assert!(tokio::time::Instant::now() < end, "{alert} does not fire; firing are {firing:#?}");
            self.send(jobs, number).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits until the page of the first process names a cause. Sends jobs of the incident until then.
    async fn page_names(&mut self, cause: &str, jobs: u32, number: &str) {
        let url = format!("http://{}/", self.apps[0].ops);
        let end = tokio::time::Instant::now() + 2 * FIRES_WITHIN;
        loop {
            let (status, page) = self.deployment.get(&url).await;
            assert_eq!(status, 200, "{page}");
            if page.contains(cause) {
                return;
            }
            let verdict = page.split("</section>").next().unwrap_or_default();
            assert!(tokio::time::Instant::now() < end, "the page does not name “{cause}”: {verdict}");
            self.send(jobs, number).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Publishes a job as if it had been published a minute ago.
    async fn send_old(&mut self) {
        self.numbers += 1;
        let old = u64::try_from(otpost::domain::clock::now().as_second() - 60).unwrap();
        let body = job(&format!("+4477065{:05}", self.numbers), json!({})).to_string();
        let properties = BasicProperties::default().with_timestamp(old);
        self.deployment.publish_with(properties, "dispatch", body.as_bytes()).await;
    }

    /// Waits until an alert no longer fires, while some good messages are sent.
    async fn ends(&mut self, alert: &str) {
        let end = tokio::time::Instant::now() + 2 * FIRES_WITHIN;
        while self.prometheus.firing().await.iter().any(|a| a["labels"]["alertname"] == alert) {
            assert!(tokio::time::Instant::now() < end, "{alert} does not end");
            self.send(2, DELIVERED).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Fails if a rule reads a metric that otpost does not set in this incident, or fires while all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_incident_fires_its_alert_and_a_quiet_time_fires_none() {
    let mut site = Site::start().await;
    let summary = |alert: &Value| alert["annotations"]["summary"].as_str().unwrap().to_owned();

    let consumed = async || {
        let consumers = site.prometheus.query("max(otpost_queue_consumers{queue=\"otpost.dispatch\"})").await;
        consumers.first().is_some_and(|(_, value)| *value >= 2.0)
    };
    wait::until("otpost has counted its consumers", consumed).await;
    for _ in 0..12 {
        site.send(3, DELIVERED).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(site.prometheus.firing().await, Vec::<Value>::new(), "all is well");
    }

    // The database's clock moves back, so that the machine's is ahead.
    let client = connect(&site.deployment.ledger_url).await;
    client.batch_execute("update moved set by = '-3 s'").await.unwrap();
    site.fires("OtpostClockOff", ("severity", "page"), 1, DELIVERED).await;
    site.page_names("A clock: a machine is 3.0 s ahead of the ledger", 1, DELIVERED).await;
    client.batch_execute("update moved set by = '0'").await.unwrap();
    site.ends("OtpostClockOff").await;

    let alert = site.fires("OtpostReceiptsMissing", ("carrier", "c1"), 8, WITHOUT_RECEIPT).await;
    assert_eq!(summary(&alert), "The carrier c1 sends too few receipts");
    site.page_names("have no receipts", 8, WITHOUT_RECEIPT).await;

    let alert = site.fires("OtpostCountryFailing", ("country", "DE"), 4, REFUSED).await;
    assert_eq!(summary(&alert), "Messages to DE do not arrive");
    site.page_names(" to DE through c1 fail", 4, REFUSED).await;

    // Each way of a statement takes 400 ms.
    site.database.delay(Duration::from_millis(400));
    site.fires("OtpostDatabaseSlow", ("operation", "check"), 0, "").await;
    site.page_names("The ledger is slow:", 1, DELIVERED).await;
    site.database.pass();

    site.broker.refuse(true);
    site.broker.cut();
    site.fires("OtpostBrokerAway", ("connection", "consuming"), 0, "").await;
    site.page_names("RabbitMQ:", 0, "").await;
    site.broker.pass();
    site.ends("OtpostBrokerAway").await;

    // Jobs were published a minute before a worker gets them.
    for _ in 0..10 {
        site.send_old().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    site.fires("OtpostJobsOld", ("severity", "page"), 0, "").await;
    // The page names old jobs after they have arrived for 40 s.
    for _ in 0..45 {
        site.send_old().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    site.page_names("jobs were older than 30 s when a worker got them", 0, "").await;

    let alert = site.fires("OtpostCarrierDown", ("carrier", "c1"), 4, UNAVAILABLE).await;
    assert_eq!(summary(&alert), "The carrier c1 accepts no messages (sms)");
    site.page_names("not accepted by the carrier", 4, UNAVAILABLE).await;
    site.fires("OtpostBreakerOpen", ("channel", "sms"), 1, UNAVAILABLE).await;

    // Without a database, workers do not consume.
    site.database.refuse(true);
    site.database.cut();
    site.fires("OtpostDatabaseAway", ("severity", "page"), 0, "").await;
    site.page_names("The ledger:", 0, "").await;
    site.send(600, DELIVERED).await;
    site.fires("OtpostQueueGrowing", ("queue", "otpost.dispatch"), 5, DELIVERED).await;
    site.database.pass();
    for app in site.apps {
        app.stop().await;
    }
}
