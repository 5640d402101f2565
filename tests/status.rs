//! The status of a running deployment: over the API, as a page, and in the command.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::time::Duration;

use otpost::app::{App, Roles};
use otpost::http::{NewKey, Scope};
use serde_json::{Value, json};
use support::deployment::{Deployment, FRONT_END, WORKER, job};
use support::wait;

/// A worker and a front end, and an operator's key.
async fn start(deployment: &Deployment) -> (App, App, String) {
    let operator = NewKey::make("*", &[Scope::Admin]);
    deployment.ledger.add_key(&operator.row).await.unwrap();
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let worker = deployment.start(deployment.config_behind(&front_end), WORKER).await;
    (front_end, worker, operator.text)
}

async fn status(front_end: &App, key: &str, query: &str) -> (u16, Value) {
    get(front_end, key, &format!("/v1/status{query}")).await
}

async fn get(front_end: &App, key: &str, path: &str) -> (u16, Value) {
    let url = format!("http://{}{path}", front_end.api.unwrap());
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(url)
        .bearer_auth(key)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn until(front_end: &App, key: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait::answer(what, async || {
        let (code, body) = status(front_end, key, "").await;
        assert_eq!(code, 200, "{body}");
        Some(body).filter(&holds)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_counts_what_became_of_codes_and_names_the_cause() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (front_end, worker, key) = start(&deployment).await;
    let mut ids = vec![];
    for n in 0..20 {
        ids.push(deployment.publish(&job(&format!("+4477010010{n:02}"), json!({}))).await);
    }
    for id in &ids {
        deployment.until_state(*id, "delivered").await;
    }
    let (code, answer) = deployment.act(&front_end, ids[0], "feedback", &json!({"verified": true})).await;
    assert!(code < 300, "{answer}");
    let counted = until(&front_end, &key, "20 delivered, one verified", |status| {
        let recent = &status["all"]["last_15_min"];
        recent["delivered"] == 20 && recent["verified"] == 1
    })
    .await;
    let recent = &counted["carriers"][0]["last_15_min"];
    assert_eq!((&counted["carriers"][0]["name"], &recent["attempts"]), (&json!("c1"), &json!(20)));
    assert_eq!(counted["countries"][0]["name"], "GB");
    assert_eq!(recent["delivered_within_10_s"], 20);
    assert!(recent["handset_p50_s"].as_f64().unwrap() < 10.0);
    assert_eq!(counted["findings"], json!([]));
    let mut roles: Vec<_> =
        counted["processes"].as_array().unwrap().iter().map(|p| p["roles"].to_string()).collect();
    roles.sort();
    assert_eq!(roles, [r#"["api","receipts"]"#, r#"["worker"]"#]);
    let (_, none) = status(&front_end, &key, "?country=de").await;
    assert_eq!(none["all"]["last_15_min"]["attempts"], 0);

    // Texts to France do not arrive, and others do.
    for n in 0..25 {
        let to = format!("+3360000{n:04}");
        deployment.script(&to, json!([{"outcome": "undelivered", "error_code": 30003}])).await;
        deployment.publish(&job(&to, json!({}))).await;
        deployment.publish(&job(&format!("+4477010011{n:02}"), json!({}))).await;
    }
    let failing = until(&front_end, &key, "a finding", |status| status["findings"] != json!([])).await;
    let finding = &failing["findings"][0];
    assert_eq!(
        (&finding["country"], &finding["symptom"]),
        (&json!("FR"), &json!("undelivered")),
        "{finding}"
    );
    assert!(finding["text"].as_str().unwrap().contains("to FR through c1 fail since "), "{finding}");
    assert_eq!(finding["carrier"], "c1", "the only one: {finding}");
    let failure = &failing["failures"][0];
    let expected =
        json!({"carrier": "c1", "channel": "sms", "country": "FR", "what": "undelivered", "code": "30003"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&failure[name], value, "{failure}");
    }
    assert!(failure["count"].as_u64().unwrap() >= 6, "{failure}");
    let (_, other) = status(&front_end, &key, "?country=GB").await;
    assert_eq!(other["failures"], json!([]), "no text to GB failed: {other}");
    let pages: Vec<_> = failing["processes"].as_array().unwrap().iter().map(|p| p["ops"].clone()).collect();
    assert!(pages.contains(&json!(front_end.ops)) && pages.contains(&json!(worker.ops)), "{pages:?}");
    let (_, page) = deployment.get(&format!("http://{}/", front_end.ops)).await;
    assert!(
        page.contains("to FR through c1 fail since") && page.contains("/?carrier=c1&amp;country=FR"),
        "{page}"
    );
    assert!(page.contains("Recent failures (5 to 10 minutes)") && page.contains("<td>30003</td>"), "{page}");
    // The link of the sentence leads to the messages.
    let (_, page) = deployment.get(&format!("http://{}/?carrier=c1&country=FR", front_end.ops)).await;
    assert_eq!(page.matches("undelivered (").count(), 20, "{page}");
    assert!(
        page.contains("<td>30003</td>") && page.contains("<td>+33") && !page.contains("<td>+44"),
        "{page}"
    );
    assert!(!page.contains("+33600000"), "numbers are masked: {page}");
    // Each message has a page with its timeline, and a way back.
    let link = page
        .split("href=\"")
        .find_map(|rest| rest.split('"').next().filter(|l| l.starts_with("/dispatches/")));
    let path = link.unwrap().replace("&amp;", "&");
    let (code, page) = deployment.get(&format!("http://{}{path}", front_end.ops)).await;
    assert_eq!(code, 200, "{page}");
    for expected in [
        "undelivered (",
        "sms at c1",
        "answer: accepted",
        "receipt: undelivered",
        "30003",
        "the code expires",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(page.contains("href=\"/?carrier=c1&amp;country=FR\"") && !page.contains("+33600000"), "{page}");
    for unknown in ["default/0192f0c1-2222-4333-8444-555566667777", "default/x"] {
        assert_eq!(deployment.get(&format!("http://{}/dispatches/{unknown}", front_end.ops)).await.0, 404);
    }
    worker.stop().await;
    front_end.stop().await;
}

/// Fails if codes that wait because an operator paused their only carrier look as if all were well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_carriers_are_the_verdict_and_open_breakers_are_listed() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (front_end, worker, key) = start(&deployment).await;
    let act = async |act: &str, body: Value| {
        let url = format!("http://{}/v1/carriers/c1/{act}", front_end.api.unwrap());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        assert_eq!(client.post(url).bearer_auth(&key).json(&body).send().await.unwrap().status(), 200);
    };
    act("pause", json!({"reason": "a test"})).await;
    let of_carriers = |status: &Value| {
        let findings = status["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["part"] == "carriers").cloned()
    };
    let paused = until(&front_end, &key, "a finding", |status| of_carriers(status).is_some()).await;
    let finding = of_carriers(&paused).unwrap();
    let text = finding["text"].as_str().unwrap();
    let what = "Carriers: operators have paused all of them for sms and for voice (since ";
    assert!(text.starts_with(what) && text.contains("otpost carrier resume NAME"), "{text}");
    act("resume", json!({})).await;
    until(&front_end, &key, "no finding", |status| of_carriers(status).is_none()).await;
    // The carrier refuses the account: its circuit breakers are open, and the list of carriers has them.
    deployment.script("+447701000301", json!(["unauthorized"])).await;
    deployment.publish(&job("+447701000301", json!({}))).await;
    wait::until("both circuit breakers are open", async || {
        let (_, list) = get(&front_end, &key, "/v1/carriers").await;
        let open = list["carriers"][0]["open_breakers"].as_array().cloned().unwrap_or_default();
        open.iter().map(|open| open["channel"].clone()).collect::<Vec<_>>() == ["sms", "voice"]
    })
    .await;
    worker.stop().await;
    front_end.stop().await;
}

/// Fails if a tenant can read the numbers of all tenants.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_operator_reads_the_status() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (front_end, worker, operator) = start(&deployment).await;
    let tenant = NewKey::make("default", &[Scope::Admin]);
    deployment.ledger.add_key(&tenant.row).await.unwrap();
    assert_eq!(status(&front_end, &tenant.text, "").await.0, 403);
    assert_eq!(status(&front_end, &deployment.key, "").await.0, 403);
    assert_eq!(status(&front_end, "otp_x_y", "").await.0, 401);
    let (code, problem) = status(&front_end, &operator, "?carier=c1").await;
    assert_eq!((code, problem["type"].as_str().unwrap().ends_with("/invalid")), (400, true), "{problem}");
    worker.stop().await;
    front_end.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_needs_the_token_and_a_local_name() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let open = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let mut config = deployment.config(&["c1"]);
    config.ops.token = Some("secret".into());
    let closed = deployment.start(config, FRONT_END).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = |app: &App, path: &str| client.get(format!("http://{}{path}", app.ops));
    let code = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(code(get(&open, "/")).await, 200);
    assert_eq!(code(get(&open, "/").header("host", "evil.example")).await, 403);
    assert_eq!(code(get(&open, "/").header("host", "localhost:8082")).await, 200);
    assert_eq!(code(get(&closed, "/")).await, 401);
    assert_eq!(code(get(&closed, "/live")).await, 401);
    assert_eq!(code(get(&closed, "/dispatches/default/0192f0c1-2222-4333-8444-555566667777")).await, 401);
    assert_eq!(code(get(&closed, "/").basic_auth("ops", Some("wrong"))).await, 401);
    for request in
        [get(&closed, "/").basic_auth("ops", Some("secret")), get(&closed, "/").bearer_auth("secret")]
    {
        assert_eq!(code(request.header("host", "otpost.example")).await, 200);
    }
    let page = get(&open, "/").send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let mut live = get(&open, "/live").send().await.unwrap();
    let first = String::from_utf8(live.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.starts_with("data: <header>"), "{first}");
    open.stop().await;
    closed.stop().await;
}

/// Fails if the last numbers, or an empty page, look as if all were well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_ledger_is_the_verdict() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let relay = support::relay::Relay::start(deployment.database().await).await;
    let mut config = deployment.config(&["c1"]);
    config.ledger.url = Some(deployment.ledger_by(&relay).into());
    let all = deployment.start(config, Roles::ALL).await;
    let page = async || deployment.get(&format!("http://{}/", all.ops)).await.1;
    assert!(page().await.contains("Nothing was sent during the last 15 minutes."));
    relay.refuse(true);
    relay.cut();
    wait::until("the page names the ledger", async || {
        page().await.contains("The ledger: does not answer (since")
    })
    .await;
    relay.refuse(false);
    wait::until("the page is fine again", async || {
        page().await.contains("Nothing was sent during the last 15 minutes.")
    })
    .await;
    all.stop().await;
}
