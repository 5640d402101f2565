//! Notices: messages without a code, with their own quota. The same tests run on both ledgers.

use std::time::Duration;

use otpost::app::{App, Roles, Start};
use otpost::config::Config;
use otpost::domain::attempt::Reason;
use otpost::domain::channel::Channel;
use otpost::domain::dispatch::Dispatch;
use otpost::http::{NewKey, Scope};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::deployment::{Deployment, in_seconds, job};
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

/// Sets low limits for codes, notices and calls.
fn tight(mut config: Config) -> Config {
    "Shop".clone_into(&mut config.messages.brand);
    config.limits.number = vec!["1/1h".parse().unwrap()];
    config.limits.notice = vec!["2/1h".parse().unwrap()];
    config.limits.channels = [(Channel::Voice, vec!["1/1h".parse().unwrap()])].into();
    config
}

/// Uses HTTP, where jobs are parsed, refused, admitted and begun in sequence.
struct Ingress<'h> {
    deployment: &'h Deployment,
    app: &'h App,
    key: String,
}

impl Ingress<'_> {
    async fn post(&self, job: &Value) -> (u16, Value) {
        let api = self.app.api.unwrap().to_string();
        self.deployment.post_bytes(&api, &self.key, job.to_string().into_bytes()).await
    }

    /// Posts a job and asserts its final state.
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

/// Fails if a notice is counted as a code (`admission`), and if its calls are counted as a code's
/// (`channel_limit`).
async fn notices_are_sent_and_counted_separately(ingress: &Ingress<'_>) {
    let (to, called) = ("+447709000001", "+447709000002");
    let d = ingress.ends(&notice(to, json!({})), "delivered").await;
    assert_eq!((d.order.template.as_str(), d.code), ("two_step_notice", None));
    let got = &ingress.deployment.record("accepted", Some(to)).await[0];
    assert_eq!(
        got["body"],
        json!(format!(
            "Shop: Two-step verification was turned off for your account. Not you? https://verify.shop.example/stop/{TOKEN}"
        ))
    );
    assert!((285..=300).contains(&got["validity_s"].as_u64().unwrap()), "the remaining life: {got}");
    // A code uses the single place of the codes' quota, which is still free.
    ingress.ends(&two_step(to, json!({})), "delivered").await;
    let got = &ingress.deployment.record("accepted", Some(to)).await[1];
    assert_eq!(
        got["body"],
        "Shop: 481516 is your code. It expires in 5 minutes. Nobody from Shop will ask you for it.\n\n@verify.shop.example #481516"
    );
    assert_eq!(ingress.post(&two_step(to, json!({}))).await.0, 429);
    // The second notice is admitted, the third is not.
    ingress.ends(&notice(to, json!({})), "delivered").await;
    let (status, problem) = ingress.post(&notice(to, json!({}))).await;
    assert_eq!((status, problem["reason"].as_str()), (429, Some("quota")), "{problem}");
    assert_eq!(ingress.deployment.accepted(to).await, 3);

    // Also with a call.
    let call = json!({"channels": ["voice"]});
    ingress.ends(&notice(called, call.clone()), "delivered").await;
    let spoken = &ingress.deployment.record("accepted", Some(called)).await[0]["transcript"];
    assert!(spoken.as_str().unwrap().contains("Two-step verification was turned off"), "{spoken}");
    assert!(!spoken.as_str().unwrap().contains("key"), "a notice asks for no key: {spoken}");
    ingress.ends(&two_step(called, call.clone()), "delivered").await;
    let is_spoken = |spoken: &str| spoken.contains("4, 8, 1, 5, 1, 6");
    let spoken = ingress.deployment.transcript(called, 1, is_spoken).await;
    assert_eq!(spoken.matches("4, 8, 1, 5, 1, 6").count(), 3, "{spoken}");
    let d = ingress.ends(&notice(called, call), "limited").await;
    assert_eq!(d.reason, Some(Reason::VoiceQuota));
}

async fn a_notice_with_a_code_and_a_code_job_without_one_are_refused(ingress: &Ingress<'_>) {
    let to = "+447709000003";
    let mut with_code = notice(to, json!({}));
    with_code["code"] = json!("481516");
    let mut without = two_step(to, json!({}));
    without["code"] = Value::Null;
    for (job, rule) in [(with_code, "must be absent"), (without, "is missing")] {
        let (status, problem) = ingress.post(&job).await;
        assert_eq!((status, problem["field"].as_str()), (422, Some("code")), "{problem}");
        assert!(problem["rule"].as_str().unwrap().contains(rule), "{problem}");
        assert!(!problem.to_string().contains("481516"), "{problem}");
    }
    assert_eq!(ingress.deployment.accepted(to).await, 0);
}

async fn a_newer_notice_supersedes_and_feedback_on_a_notice_changes_nothing(ingress: &Ingress<'_>) {
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
        notices_are_sent_and_counted_separately(ingress),
        a_notice_with_a_code_and_a_code_job_without_one_are_refused(ingress),
        a_newer_notice_supersedes_and_feedback_on_a_notice_changes_nothing(ingress),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_over_http_and_postgres() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let app = deployment.start(tight(deployment.config(&["c1"])), Roles::ALL).await;
    all(&Ingress { deployment: &deployment, app: &app, key: deployment.key.clone() }).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_over_http_and_sqlite() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let mut config = tight(deployment.config(&["c1"]));
    config.amqp.url = None;
    config.ledger.url = Some(format!("sqlite:{}", deployment.files.0.join("ledger.db").display()).into());
    let how = Start { roles: Roles::ALL, migrate: true, wait: false };
    let app = otpost::app::start(config, deployment.keys.clone(), how).await.unwrap();
    let key = NewKey::make("default", &[Scope::Dispatch, Scope::Read, Scope::Act]);
    app.ledger.add_key(&key.row).await.unwrap();
    all(&Ingress { deployment: &deployment, app: &app, key: key.text }).await;
    app.stop().await;
}

/// Over AMQP, where a job is admitted with its first begin: plain, sealed, with a fallback call, and refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_over_amqp() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let mut config = tight(deployment.config(&["c1"]));
    // The tenant's own rule takes precedence.
    let tenant = otpost::config::TenantConfig {
        notice: Some(vec!["3/1h".parse().unwrap()]),
        ..otpost::config::TenantConfig::default()
    };
    config.tenants.insert("default".to_owned(), tenant);
    let app = deployment.start(config, Roles::ALL).await;
    let to = "+447709000005";
    let plain = deployment.publish(&notice(to, json!({}))).await;
    deployment.until_state(plain, "delivered").await;
    deployment.until_events(plain, &["sent 2", "delivered 4"]).await;

    let sealed = Uuid::new_v4();
    let expires_at = otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(200));
    let secret = json!({"to": to, "params": {"about": "paused"}, "client_ip": "203.0.113.7"}).to_string();
    let secret = deployment.keys.seal_job("default", sealed, expires_at, secret.as_bytes());
    let template = "two_step_notice";
    deployment
        .publish(&json!({"id": sealed, "expires_at": expires_at, "template": template, "sealed": secret}))
        .await;
    deployment.until_state(sealed, "delivered").await;
    let got = &deployment.record("accepted", Some(to)).await[1]["body"];
    assert!(got.as_str().unwrap().contains("paused after too many wrong codes"), "{got}");

    // The sealed values of the row are decrypted again for the second step.
    deployment.script(to, json!(["not_mobile"])).await;
    let both = deployment.publish(&notice(to, json!({"channels": ["sms", "voice"]}))).await;
    let d = deployment.until_state(both, "delivered").await;
    assert_eq!(d.attempts.len(), 2);
    let limited = deployment.publish(&notice(to, json!({}))).await;
    deployment.until_state(limited, "limited").await;
    let code = deployment.publish(&two_step(to, json!({}))).await;
    deployment.until_state(code, "delivered").await;

    let mut with_code = notice(to, json!({}));
    with_code["code"] = json!("481516");
    deployment.publish(&with_code).await;
    let (field, reason, _) = deployment.dead_letter().await;
    assert!(field == "code" && reason.contains("must be absent"), "{field}: {reason}");
    let mut odd = notice(to, json!({}));
    odd["params"]["origin"] = json!("https://verify.shop.example");
    deployment.publish(&odd).await;
    let (field, reason, _) = deployment.dead_letter().await;
    assert!(field == "params.origin" && !reason.contains("https"), "{field}: {reason}");
    app.stop().await;
}

/// The operator's rule counts all messages to a number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_rule_counts_codes_and_notices_together() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let mut config = deployment.config(&["c1"]);
    config.limits.operator = vec!["2/1h".parse().unwrap()];
    let app = deployment.start(config, Roles::ALL).await;
    let to = "+447709000006";
    let first = deployment.publish(&notice(to, json!({}))).await;
    deployment.until_state(first, "delivered").await;
    let second = deployment.publish(&two_step(to, json!({"expires_at": in_seconds(200)}))).await;
    deployment.until_state(second, "delivered").await;
    for third in [notice(to, json!({})), two_step(to, json!({}))] {
        let third = deployment.publish(&third).await;
        deployment.until_state(third, "limited").await;
    }
    assert_eq!(deployment.accepted(to).await, 2);
    app.stop().await;
}
