//! Health, readiness and metrics.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::time::Duration;

use otpost::app::{App, Roles};
use serde_json::{Value, json};
use support::deployment::{Deployment, FRONT_END, job};
use support::relay::Relay;
use support::wait;

/// The ops listener of a process.
struct Health<'a> {
    deployment: &'a Deployment,
    app: &'a App,
}

impl Health<'_> {
    async fn get(&self, path: &str) -> (u16, String) {
        self.deployment.get(&format!("http://{}{path}", self.app.ops)).await
    }

    async fn ready(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Waits until exactly these roles are not ready. Returns their reasons.
    async fn until_only(&self, away: &[&str]) -> Vec<String> {
        let what = format!("not ready: {away:?}");
        let body = wait::answer(&what, async || {
            let (_, body) = self.ready("/readyz").await;
            let roles = body["roles"].as_object().unwrap();
            let unready = roles.iter().filter(|(_, state)| **state != "ready").map(|(role, _)| role.as_str());
            (unready.collect::<Vec<_>>() == away).then_some(body)
        });
        let body = body.await;
        // /readyz and /readyz/ROLE agree in status and reason.
        let code = |ready: bool| if ready { 200 } else { 503 };
        assert_eq!(body["ready"], away.is_empty(), "{body}");
        assert_eq!(self.get("/readyz").await.0, code(away.is_empty()));
        for role in ["api", "receipts", "worker"] {
            let well = !away.contains(&role);
            let (status, one) = self.ready(&format!("/readyz/{role}")).await;
            assert_eq!((status, &one["ready"]), (code(well), &json!(well)), "{role}: {one}");
            assert_eq!(one["roles"].as_object().unwrap().keys().collect::<Vec<_>>(), [role]);
        }
        assert_eq!(self.get("/livez").await, (200, "ok\n".to_owned()), "alive during every outage");
        away.iter().map(|role| body["roles"][role].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_reports_an_outage_and_is_ready_after_it() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let ledger = Relay::start(deployment.database().await).await;
    let broker = Relay::start(deployment.broker()).await;
    let mut config = deployment.config(&["c1"]);
    config.ledger.url = Some(deployment.ledger_by(&ledger).into());
    let by_relay = deployment.amqp_url.replace(&deployment.broker().to_string(), &broker.addr().to_string());
    config.amqp.url = Some(by_relay.into());
    let app = deployment.start(config, Roles::ALL).await;
    let health = Health { deployment: &deployment, app: &app };
    health.until_only(&[]).await;
    let (status, text) = health.get("/readyz/janitor").await;
    assert_eq!((status, text.as_str()), (404, "this process does not have that role\n"));

    ledger.refuse(true);
    ledger.cut();
    let text = health.until_only(&["api", "receipts", "worker"]).await;
    assert_eq!(text, ["the ledger does not answer"; 3]);
    ledger.pass();
    health.until_only(&[]).await;

    // The listeners accept jobs and receipts without a broker.
    broker.refuse(true);
    broker.cut();
    let text = health.until_only(&["worker"]).await;
    assert!(text[0].contains("RabbitMQ") && text[0].contains(' '), "the reason is a sentence: {text:?}");
    broker.pass();
    health.until_only(&[]).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_need_the_ops_token_and_health_does_not() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    config.ops.token = Some("a-token-of-ops".into());
    let app = deployment.start(config, FRONT_END).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get_with = async |path: &str, shown: Option<&str>| {
        let request = http.get(format!("http://{}{path}", app.ops));
        let request = match shown {
            Some(shown) => request.header("authorization", shown),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let how = answer.headers().get("www-authenticate").map(|v| v.to_str().unwrap().to_owned());
        (answer.status().as_u16(), how, answer.text().await.unwrap())
    };
    for shown in [
        None,
        Some(""),
        Some("a-token-of-ops"),
        Some("Basic a-token-of-ops"),
        Some("Bearer "),
        Some("Bearer a-token-of-op"),
        Some("Bearer a-token-of-ops2"),
    ] {
        let (status, how, text) = get_with("/metrics", shown).await;
        assert_eq!((status, how.as_deref()), (401, Some("Bearer")), "{shown:?}");
        assert!(
            text.contains("ops.token") && !text.contains("# TYPE"),
            "the answer names the missing setting: {text}"
        );
    }
    let (status, _, metrics) = get_with("/metrics", Some("Bearer a-token-of-ops")).await;
    assert!(status == 200 && metrics.contains("# TYPE otpost_workers"), "{status} {metrics}");
    assert_eq!(get_with("/metrics", Some("bearer  a-token-of-ops")).await.0, 200);
    for path in ["/livez", "/readyz", "/readyz/api"] {
        assert_eq!(get_with(path, None).await.0, 200, "{path}");
    }
    // A role that this process does not have.
    assert_eq!(get_with("/readyz/worker", None).await.0, 404);
    app.stop().await;
}

/// The deletion of old rows takes longer than a statement may.
///
/// Fails if that counts as an outage of the ledger, so that no job is accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_housekeeping_leaves_the_process_ready() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let look = support::world::connect(&deployment.ledger_url).await;
    look.batch_execute(
        "insert into outbox (id, receiver, created_at, uids, events) values (gen_random_uuid(), 'webhook:gone',
           clock_timestamp() - interval '60 days', array[gen_random_uuid()], array['{}']);
         create function slow() returns trigger language plpgsql as
           $$ begin perform pg_sleep(10); return old; end $$;
         create trigger slow before delete on outbox for each row when (old.receiver = 'webhook:gone')
           execute function slow()",
    )
    .await
    .unwrap();
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let slow =
        "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like '%from outbox%'";
    let is_slow = async || look.query_one(slow, &[]).await.unwrap().get::<_, i64>(0) > 0;
    wait::until("the deletion waits", is_slow).await;
    let ready = format!("http://{}/readyz", app.ops);
    wait::until("the broker is connected", async || deployment.get(&ready).await.0 == 200).await;
    let mut jobs = 0;
    wait::throughout(Duration::from_secs(8), async || {
        jobs += 1;
        let body = job(&format!("+4477{:08}", 30_001_000 + jobs), json!({}));
        let posted = tokio::time::timeout(Duration::from_secs(4), deployment.post(&app, &body)).await;
        assert_eq!(posted.map(|(status, _)| status).ok(), Some(202), "job {jobs}");
        assert_eq!(deployment.get(&ready).await.0, 200);
    })
    .await;
    app.stop().await;
}
