//! Notices: messages without a code, with a quota of their own. The same on both ledgers.

use std::time::Duration;

use otpost::app::{App, Roles, Start};
use otpost::config::Config;
use otpost::domain::attempt::Reason;
use otpost::domain::channel::Channel;
use otpost::domain::dispatch::Dispatch;
use otpost::http::{NewKey, Scope};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::house::{House, in_seconds, job};
use crate::support::wait;

const TOKEN: &str = "c3RvcC10aGlzLXRva2VuLWlzLTMyLWJ5dGVzLWxvbmc";

/// A job for a notice.
fn notice(to: &str, more: Value) -> Value {
    let mut j = job(to, more);
    j.as_object_mut().unwrap().remove("code");
    j["template"] = json!("two_step_notice");
    j["params"] = json!({"about": "turned_off", "origin": "verify.shop.example", "token": TOKEN});
    j
}

/// A code of the two-step service.
fn two_step(to: &str, more: Value) -> Value {
    let mut j = job(to, more);
    j["template"] = json!("two_step");
    j["params"] = json!({"origin": "verify.shop.example"});
    j
}

fn id(job: &Value) -> Uuid {
    job["id"].as_str().unwrap().parse().unwrap()
}

/// Few codes, few notices, few calls.
fn tight(mut config: Config) -> Config {
    "Shop".clone_into(&mut config.messages.brand);
    config.limits.number = vec!["1/1h".parse().unwrap()];
    config.limits.notice = vec!["2/1h".parse().unwrap()];
    config.limits.channels = [(Channel::Voice, vec!["1/1h".parse().unwrap()])].into();
    config
}

/// Everything over HTTP, where jobs are read, refused, admitted and begun one after the other.
struct Ingress<'h> {
    house: &'h House,
    app: &'h App,
    key: String,
}

impl Ingress<'_> {
    async fn post(&self, job: &Value) -> (u16, Value) {
        let api = self.app.api.unwrap().to_string();
        self.house.post_bytes(&api, &self.key, job.to_string().into_bytes()).await
    }

    /// Posts a job that must end like this.
    async fn ends(&self, job: &Value, state: &str) -> Dispatch {
        let (status, body) = self.post(job).await;
        assert_eq!(status, 202, "{body}");
        let ended =
            async || self.app.ledger.find("default", id(job)).await.unwrap().filter(|d| d.state.is_final());
        let d = wait::answer("it ends", ended).await;
        assert_eq!(d.state.as_str(), state, "{d:?}");
        d
    }
}

/// Seen to fail: where a notice is counted as a code (`admission`), and where its calls are counted as a code's
/// (`channel_limit`).
async fn notices_are_sent_and_counted_apart(ingress: &Ingress<'_>) {
    let (to, called) = ("+447709000001", "+447709000002");
    let d = ingress.ends(&notice(to, json!({})), "delivered").await;
    assert_eq!((d.order.template.as_str(), d.code), ("two_step_notice", None));
    let got = &ingress.house.record("accepted", Some(to)).await[0];
    assert_eq!(
        got["body"],
        json!(format!(
            "Shop: Two-step verification was turned off for your account. Was it not you? https://verify.shop.example/stop/{TOKEN}"
        ))
    );
    assert!((285..=300).contains(&got["validity_s"].as_u64().unwrap()), "the remaining life: {got}");
    // A code, which takes the one place of codes, and finds it free.
    ingress.ends(&two_step(to, json!({})), "delivered").await;
    let got = &ingress.house.record("accepted", Some(to)).await[1];
    assert_eq!(
        got["body"],
        "Shop: 481516 is your code. It expires in 5 minutes. Nobody from Shop will ask you for it.\n\n@verify.shop.example #481516"
    );
    assert_eq!(ingress.post(&two_step(to, json!({}))).await.0, 429);
    // The second notice passes, the third does not.
    ingress.ends(&notice(to, json!({})), "delivered").await;
    let (status, problem) = ingress.post(&notice(to, json!({}))).await;
    assert_eq!((status, problem["reason"].as_str()), (429, Some("quota")), "{problem}");
    assert_eq!(ingress.house.accepted(to).await, 3);

    // By a call too.
    let call = json!({"channels": ["voice"]});
    ingress.ends(&notice(called, call.clone()), "delivered").await;
    let spoken = &ingress.house.record("accepted", Some(called)).await[0]["transcript"];
    assert!(spoken.as_str().unwrap().contains("Two-step verification was turned off"), "{spoken}");
    ingress.ends(&two_step(called, call.clone()), "delivered").await;
    let spoken = &ingress.house.record("accepted", Some(called)).await[1]["transcript"];
    assert_eq!(spoken.as_str().unwrap().matches("4, 8, 1, 5, 1, 6").count(), 3, "{spoken}");
    let d = ingress.ends(&notice(called, call), "limited").await;
    assert_eq!(d.reason, Some(Reason::VoiceQuota));
}

async fn a_code_where_there_must_be_none_and_none_where_there_must_be_one(ingress: &Ingress<'_>) {
    let to = "+447709000003";
    let mut with_code = notice(to, json!({}));
    with_code["code"] = json!("481516");
    let mut without = two_step(to, json!({}));
    without["code"] = Value::Null;
    for (job, rule) in [(with_code, "uses no code"), (without, "is missing")] {
        let (status, problem) = ingress.post(&job).await;
        assert_eq!((status, problem["field"].as_str()), (422, Some("code")), "{problem}");
        assert!(problem["rule"].as_str().unwrap().contains(rule), "{problem}");
        assert!(!problem.to_string().contains("481516"), "{problem}");
    }
    assert_eq!(ingress.house.accepted(to).await, 0);
}

async fn the_newest_notice_wins_and_feedback_on_one_changes_nothing(ingress: &Ingress<'_>) {
    let to = "+447709000004";
    let at =
        |second: u8| json!({"supersedes": "settings", "issued_at": format!("2026-01-01T00:00:{second:02}Z")});
    let newer = notice(to, at(2));
    ingress.ends(&newer, "delivered").await;
    let (status, problem) = ingress.post(&notice(to, at(1))).await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("https://otpost.io/problems/superseded")));
    for verified in [true, false] {
        let api = ingress.app.api.unwrap();
        let url = format!("http://{api}/v1/dispatches/{}/feedback", id(&newer));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let sent =
            http.post(url).bearer_auth(&ingress.key).body(json!({"verified": verified}).to_string()).send();
        assert_eq!(sent.await.unwrap().status(), 200, "{verified}");
    }
}

async fn all(ingress: &Ingress<'_>) {
    tokio::join!(
        notices_are_sent_and_counted_apart(ingress),
        a_code_where_there_must_be_none_and_none_where_there_must_be_one(ingress),
        the_newest_notice_wins_and_feedback_on_one_changes_nothing(ingress),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_over_http_and_postgres() {
    let house = House::build(Duration::from_millis(50)).await;
    let app = house.start(tight(house.config(&["c1"])), Roles::ALL).await;
    all(&Ingress { house: &house, app: &app, key: house.key.clone() }).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_over_http_and_sqlite() {
    let house = House::build(Duration::from_millis(50)).await;
    let mut config = tight(house.config(&["c1"]));
    config.amqp.url = None;
    config.ledger.url = Some(format!("sqlite:{}", house.files.0.join("ledger.db").display()).into());
    let how = Start { roles: Roles::ALL, migrate: true, wait: false };
    let app = otpost::app::start(config, house.keys.clone(), how).await.unwrap();
    let key = NewKey::make("default", &[Scope::Dispatch, Scope::Read, Scope::Act]);
    app.ledger.add_key(&key.row).await.unwrap();
    all(&Ingress { house: &house, app: &app, key: key.text }).await;
    app.stop().await;
}

/// By the broker, where a job is admitted with its first begin: plain, sealed, falling back to a call, and refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_over_amqp() {
    let house = House::build(Duration::from_millis(50)).await;
    let mut config = tight(house.config(&["c1"]));
    // A tenant's own rule wins.
    let tenant = otpost::config::TenantConfig {
        notice: Some(vec!["3/1h".parse().unwrap()]),
        ..otpost::config::TenantConfig::default()
    };
    config.tenants.insert("default".to_owned(), tenant);
    let app = house.start(config, Roles::ALL).await;
    let to = "+447709000005";
    let plain = house.publish(&notice(to, json!({}))).await;
    house.until_state(plain, "delivered").await;
    house.until_events(plain, &["sent 2", "delivered 4"]).await;

    let sealed = Uuid::new_v4();
    let expires_at = otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(200));
    let secret = json!({"to": to, "params": {"about": "paused"}, "client_ip": "203.0.113.7"}).to_string();
    let secret = house.keys.seal_job("default", sealed, expires_at, secret.as_bytes());
    let template = "two_step_notice";
    house
        .publish(&json!({"id": sealed, "expires_at": expires_at, "template": template, "sealed": secret}))
        .await;
    house.until_state(sealed, "delivered").await;
    let got = &house.record("accepted", Some(to)).await[1]["body"];
    assert!(got.as_str().unwrap().contains("paused after too many wrong codes"), "{got}");

    // The row is opened again for the second step.
    house.script(to, json!(["not_mobile"])).await;
    let both = house.publish(&notice(to, json!({"channels": ["sms", "voice"]}))).await;
    let d = house.until_state(both, "delivered").await;
    assert_eq!(d.attempts.len(), 2);
    let limited = house.publish(&notice(to, json!({}))).await;
    house.until_state(limited, "limited").await;
    let code = house.publish(&two_step(to, json!({}))).await;
    house.until_state(code, "delivered").await;

    let mut with_code = notice(to, json!({}));
    with_code["code"] = json!("481516");
    house.publish(&with_code).await;
    let (field, reason, _) = house.dead_letter().await;
    assert!(field == "code" && reason.contains("uses no code"), "{field}: {reason}");
    let mut odd = notice(to, json!({}));
    odd["params"]["origin"] = json!("https://verify.shop.example");
    house.publish(&odd).await;
    let (field, reason, _) = house.dead_letter().await;
    assert!(field == "params.origin" && !reason.contains("https"), "{field}: {reason}");
    app.stop().await;
}

/// The operator's rule is about all that a number gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_rule_counts_codes_and_notices_together() {
    let house = House::build(Duration::from_millis(50)).await;
    let mut config = house.config(&["c1"]);
    config.limits.operator = vec!["2/1h".parse().unwrap()];
    let app = house.start(config, Roles::ALL).await;
    let to = "+447709000006";
    let first = house.publish(&notice(to, json!({}))).await;
    house.until_state(first, "delivered").await;
    let second = house.publish(&two_step(to, json!({"expires_at": in_seconds(200)}))).await;
    house.until_state(second, "delivered").await;
    for third in [notice(to, json!({})), two_step(to, json!({}))] {
        let third = house.publish(&third).await;
        house.until_state(third, "limited").await;
    }
    assert_eq!(house.accepted(to).await, 2);
    app.stop().await;
}
