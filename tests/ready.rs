//! What a process says of its health: alive, ready, counted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use otpost::app::{App, Roles};
use serde_json::{Value, json};
use support::house::{FRONT_END, House};
use support::relay::Relay;
use support::wait;

/// What a process answers at its ops door.
struct Health<'a> {
    house: &'a House,
    app: &'a App,
}

impl Health<'_> {
    async fn get(&self, path: &str) -> (u16, String) {
        self.house.get(&format!("http://{}{path}", self.app.ops)).await
    }

    async fn ready(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Waits until these roles, and no others, are not ready; answers what each of them says.
    async fn until_only(&self, away: &[&str]) -> Vec<String> {
        let what = format!("not ready: {away:?}");
        let body = wait::answer(&what, async || {
            let (_, body) = self.ready("/readyz").await;
            let roles = body["roles"].as_object().unwrap();
            let told = roles.iter().filter(|(_, says)| **says != "ready").map(|(role, _)| role.as_str());
            (told.collect::<Vec<_>>() == away).then_some(body)
        });
        let body = body.await;
        // The whole and each part say the same, in status and in words.
        let code = |ready: bool| if ready { 200 } else { 503 };
        assert_eq!(body["ready"], away.is_empty(), "{body}");
        assert_eq!(self.get("/readyz").await.0, code(away.is_empty()));
        for role in ["api", "receipts", "worker"] {
            let well = !away.contains(&role);
            let (status, one) = self.ready(&format!("/readyz/{role}")).await;
            assert_eq!((status, &one["ready"]), (code(well), &json!(well)), "{role}: {one}");
            assert_eq!(one["roles"].as_object().unwrap().keys().collect::<Vec<_>>(), [role]);
        }
        assert_eq!(self.get("/livez").await, (200, "ok\n".to_owned()), "alive, whatever is away");
        away.iter().map(|role| body["roles"][role].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_says_what_is_away_and_is_ready_again_when_it_is_back() {
    let house = House::build(Duration::from_millis(20)).await;
    let ledger = Relay::start(house.database().await).await;
    let broker = Relay::start(house.broker()).await;
    let mut config = house.config(&["c1"]);
    config.ledger.url = Some(house.ledger_by(&ledger).into());
    let by_relay = house.amqp_url.replace(&house.broker().to_string(), &broker.addr().to_string());
    config.amqp.url = Some(by_relay.into());
    let app = house.start(config, Roles::ALL).await;
    let health = Health { house: &house, app: &app };
    health.until_only(&[]).await;
    let (status, said) = health.get("/readyz/janitor").await;
    assert_eq!((status, said.as_str()), (404, "this process does not have that role\n"));

    ledger.refuse(true);
    ledger.cut();
    let said = health.until_only(&["api", "receipts", "worker"]).await;
    assert_eq!(said, ["the ledger does not answer"; 3]);
    ledger.pass();
    health.until_only(&[]).await;

    // The doors need no broker to take jobs and receipts.
    broker.refuse(true);
    broker.cut();
    let said = health.until_only(&["worker"]).await;
    assert!(said[0].contains("RabbitMQ") && said[0].contains(' '), "a sentence: {said:?}");
    broker.pass();
    health.until_only(&[]).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_need_the_token_of_ops_and_health_does_not() {
    let house = House::build(Duration::from_millis(20)).await;
    let mut config = house.config(&["c1"]);
    config.ops.token = Some("a-token-of-ops".into());
    let app = house.start(config, FRONT_END).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |path: &str, shown: Option<&str>| {
        let asking = http.get(format!("http://{}{path}", app.ops));
        let asking = match shown {
            Some(shown) => asking.header("authorization", shown),
            None => asking,
        };
        let answer = asking.send().await.unwrap();
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
        let (status, how, said) = ask("/metrics", shown).await;
        assert_eq!((status, how.as_deref()), (401, Some("Bearer")), "{shown:?}");
        assert!(said.contains("ops.token") && !said.contains("# TYPE"), "it says what is missing: {said}");
    }
    let (status, _, metrics) = ask("/metrics", Some("Bearer a-token-of-ops")).await;
    assert!(status == 200 && metrics.contains("# TYPE otpost_workers"), "{status} {metrics}");
    for path in ["/livez", "/readyz", "/readyz/api"] {
        assert_eq!(ask(path, None).await.0, 200, "{path}");
    }
    // A role that another process has.
    assert_eq!(ask("/readyz/worker", None).await.0, 404);
    app.stop().await;
}
