//! No code and no full number appears outside of a carrier's request. The test runs everything with canary
//! values at the most verbose log level, and searches all output.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]
#![expect(clippy::too_many_lines, reason = "one run, in which everything happens")]

mod support;

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use otpost::app::{Roles, Start};
use otpost::domain::attempt::{AttemptId, Receipt, ReceiptStatus};
use otpost::http::{NewKey, Scope};
use serde_json::json;
use support::deployment::requests::signature;
use support::deployment::{Deployment, in_seconds, job};
use support::relay::Relay;
use support::wait;
use support::world::connect;
use tokio::sync::watch;

const CODE: &str = "Q7Z9X3W8";
const CODE_TWO: &str = "K4V6B2N5";

/// Adds the places where a canary was found.
fn search(place: &str, text: &[u8], found: &mut Vec<String>) {
    let has = |needle: &str| text.windows(needle.len()).any(|w| w == needle.as_bytes());
    let numbers = ["7709998877", "7709998866", "7709998855", "9998877", "9998866", "9998855"];
    for needle in [CODE, CODE_TWO, "Q, 7, Z, 9"].into_iter().chain(numbers) {
        if has(needle) {
            found.push(format!("{needle} in {place}"));
        }
    }
}

/// A webhook receiver that always fails, so that deliveries stay pending. Returns its address and the
/// received bodies.
async fn failing_webhook() -> (String, watch::Receiver<Vec<String>>) {
    let (sender, bodies) = watch::channel(vec![]);
    let take = post(async move |body: String| {
        sender.send_modify(|all| all.push(body));
        StatusCode::INTERNAL_SERVER_ERROR
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", take)).await });
    (url, bodies)
}

/// Fails if the mask hides no digits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_carrier_sees_codes_and_numbers() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let (plain, other, third) = ("+447709998877", "+447709998866", "+447709998855");
    let canary = |to: &str, more: serde_json::Value| {
        let mut j = job(to, json!({"code": CODE, "client_ip": "203.0.113.77"}));
        for (name, value) in more.as_object().unwrap() {
            j[name] = value.clone();
        }
        j
    };
    // A message that was redelivered too often is quarantined before it is read.
    let (suspects, receipts) = (deployment.copy_of("suspect").await, deployment.copy_of("receipt").await);
    let mut ids = vec![deployment.publish(&canary(third, json!({}))).await];
    deployment.redeliver_all("otpost.dispatch", 3).await;
    let (hook, webhook_bodies) = failing_webhook().await;
    let ledger = Relay::start(deployment.database().await).await;
    let _all = deployment.process_with("api,worker,receipts", "http://127.0.0.1:0", "trace", "all", |text| {
        let text = text.replace(&deployment.ledger_url, &deployment.ledger_by(&ledger));
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        format!(
            "{text}[webhooks]\nallow_private_targets = true\n\
             [tenants.default.webhook]\nurl = \"{hook}\"\nsecret = \"{secret}\"\n"
        )
    });
    let serving = deployment.serving("all").await;
    let address = |listener: &str| serving[listener].as_str().unwrap().to_owned();
    let api = address("api");

    // Over AMQP: a plain job with a fallback call, a sealed job, a conflict, and an unreadable job.
    deployment.script(plain, json!(["unavailable", "undelivered"])).await;
    let first = canary(plain, json!({"channels": ["sms", "voice"]}));
    ids.push(deployment.publish(&first).await);
    deployment.until_state(ids[1], "delivered").await;
    let id = uuid::Uuid::new_v4();
    let expires_at = otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(200));
    let secret = json!({"to": other, "code": CODE_TWO}).to_string();
    let sealed = deployment.keys.seal_job("default", id, expires_at, secret.as_bytes());
    ids.push(deployment.publish(&json!({"id": id, "expires_at": expires_at, "sealed": sealed})).await);
    deployment.until_state(id, "delivered").await;
    let mut conflict = first.clone();
    conflict["code"] = json!(CODE_TWO);
    deployment.publish(&conflict).await;
    for broken in [
        canary(plain, json!({"code": "Q7Z9X3W8 Q7Z9X3W8"})).to_string(),
        canary("07709998877", json!({})).to_string(),
        canary(plain, json!({CODE: CODE})).to_string(),
        format!("{{\"to\": \"{plain}\", \"code\": \"{CODE}\""),
        canary(plain, json!({"tags": {"a": "\u{0}Q7Z9X3W8"}})).to_string(),
        canary(plain, json!({"tenant": "nobody"})).to_string(),
        canary(plain, json!({"template": "nothing"})).to_string(),
    ] {
        deployment.publish_bytes("dispatch", broken.as_bytes()).await;
        let (status, problem) = deployment.post_bytes(&api, &deployment.key, broken.into_bytes()).await;
        assert!((400..500).contains(&status), "{status} {problem}");
        let mut found = vec![];
        search("a problem", problem.to_string().as_bytes(), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
    // Over HTTP: accepted, limited, refused and expired jobs.
    for _ in 0..6 {
        let j = canary(other, json!({}));
        let (status, body) = deployment.post_bytes(&api, &deployment.key, j.to_string().into_bytes()).await;
        assert!(status == 202 || status == 429, "{status} {body}");
        if status == 202 {
            ids.push(j["id"].as_str().unwrap().parse().unwrap());
        }
    }
    deployment.publish(&canary(other, json!({}))).await;
    deployment.publish(&canary(plain, json!({"expires_at": in_seconds(3)}))).await;
    // A receipt for an unknown attempt. It contains the number as the carrier writes it.
    let unknown = AttemptId { uid: uuid::Uuid::now_v7(), n: 1 };
    let token = deployment.keys.callback_token("c1", unknown);
    let url = format!("http://{}/v1/receipts/c1/{unknown}/{token}", address("receipts"));
    let signed = signature(&url, &format!("MessageSidSM1MessageStatusdeliveredTo{plain}"));
    let form = format!("MessageSid=SM1&MessageStatus=delivered&To=%2B{}", &plain[1..]);
    let (status, printed) =
        deployment.post_form(&url, &[("x-twilio-signature", &signed)], form.into_bytes()).await;
    assert_eq!(status, 204, "{printed}");
    // A receipt that arrives during a ledger outage.
    deployment.until_state(ids[0], "delivered").await;
    deployment.script(third, json!(["silent"])).await;
    let kept = deployment.publish(&canary(third, json!({}))).await;
    let d = deployment.until_state(kept, "sent").await;
    ledger.refuse(true);
    ledger.cut();
    deployment.receipt(d.attempts[0].details.message_id.as_deref().unwrap(), "delivered").await;
    deployment.until_waiting(&receipts, 1).await;
    ledger.pass();
    ids.push(kept);

    let mut found = vec![];
    for id in &ids {
        deployment.until(*id, "final", |d| d.state.is_final()).await;
        let url = format!("http://{api}/v1/dispatches/{id}");
        let timeline = wait::answer("a timeline", async || {
            let (status, body) = deployment.get(&url).await;
            (status == 200).then_some(body)
        });
        search("a timeline", timeline.await.as_bytes(), &mut found);
    }

    // The carrier received the canaries, so the search can find them.
    let mut at_the_carrier = vec![];
    for entry in deployment.record("accepted", None).await {
        search("the carrier", entry.to_string().as_bytes(), &mut at_the_carrier);
    }
    for needle in [CODE, CODE_TWO, "7709998877", "7709998866", "7709998855", "Q, 7, Z, 9"] {
        assert!(at_the_carrier.iter().any(|f| f.starts_with(needle)), "{needle}: {at_the_carrier:?}");
    }

    for _ in 0..8 {
        let (field, reason, body) = deployment.dead_letter().await;
        search("a dead letter's headers", format!("{field} {reason}").as_bytes(), &mut found);
        search("a dead letter", &body, &mut found);
    }
    for queue in [&suspects, &receipts] {
        let bodies = deployment.take_all(queue).await;
        assert!(!bodies.is_empty(), "{queue} received a message");
        for body in bodies {
            search(queue, &body, &mut found);
        }
    }
    let events = deployment.all_events();
    assert!(events.len() > ids.len(), "each dispatch has an event: {events:?}");
    for event in events {
        search("an event", event.to_string().as_bytes(), &mut found);
    }
    wait::until("a webhook gets all events", async || webhook_bodies.borrow().len() > ids.len()).await;
    for body in &*webhook_bodies.borrow() {
        search("a webhook's body", body.as_bytes(), &mut found);
    }
    // Acts and searches of an operator.
    let operator = NewKey::make("*", &[Scope::Admin]);
    deployment.ledger.add_key(&operator.row).await.unwrap();
    let bearer = format!("Bearer {}", operator.text);
    for (path, body, expected) in [
        ("blocks", json!({"number": plain, "reason": "a test"}), 200),
        ("blocks", json!({"number": "+4407709998877", "reason": "a test"}), 422),
        ("blocks", json!({"number": plain, "reason": "a test", CODE: CODE}), 422),
        ("quota/show", json!({"number": plain}), 200),
        ("quota/reset", json!({"number": other}), 200),
        ("operator/dispatches/search", json!({"number": plain}), 200),
        ("operator/dispatches/search", json!({"number": 7_709_998_877_u64}), 422),
        ("erase", json!({"number": third, "force": true}), 200),
        ("carriers/c1/probe", json!({}), 200),
        ("carriers/c1/pause", json!({"reason": "a test"}), 200),
    ] {
        let url = format!("http://{api}/v1/{path}");
        let body = body.to_string().into_bytes();
        let (status, answer) = deployment.post_form(&url, &[("authorization", &bearer)], body).await;
        assert_eq!(status, expected, "{path}: {answer}");
        search(path, answer.as_bytes(), &mut found);
    }
    let (status, metrics) = deployment.get(&format!("http://{}/metrics", address("ops"))).await;
    assert_eq!(status, 200, "{metrics}");
    search("metrics", metrics.as_bytes(), &mut found);
    let log = deployment.log("all");
    for line in [
        "dispatch state changed",
        "carrier did not accept a message",
        "message cannot be processed",
        "an operator acted",
        "the ledger is unreachable",
    ] {
        assert!(log.contains(line), "the log has the line: {line}");
    }
    search("the log", log.as_bytes(), &mut found);
    // An account whose receipts name only its own message ids.
    let d = deployment.ledger.find("default", ids[1]).await.unwrap().unwrap();
    deployment.ledger.store_message_id("c1", "SM1", AttemptId { uid: d.order.uid, n: 1 }).await.unwrap();
    let receipt = Receipt {
        status: ReceiptStatus::Delivered,
        reason: None,
        carrier_code: None,
        message_id: Some("SM2".to_owned()),
    };
    deployment.ledger.record_by_message_id("c1", "SM2", receipt).await.unwrap();
    let look = connect(&deployment.ledger_url).await;
    let sql = "select tablename::text from pg_tables where schemaname = current_schema()";
    let tables: Vec<String> = look.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(tables.len() >= 7, "{tables:?}");
    // Every five seconds.
    wait::until("counts and reports are stored", async || {
        let sql = "select exists (select from delivery_count) and exists (select from process_report)";
        look.query_one(sql, &[]).await.unwrap().get(0)
    })
    .await;
    for table in tables {
        let rows = look.query(&format!("select t::text from {table} t"), &[]).await.unwrap();
        // The table `trial` is only for test writes, so it stays empty. The events of `outbox` were searched as they were published.
        assert!(
            table == "outbox" || rows.is_empty() == (table == "trial"),
            "{table} holds rows while it is searched"
        );
        for row in rows {
            search(&table, row.get::<_, String>(0).as_bytes(), &mut found);
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Fails if the mask hides no digits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_ledgers_file_never_holds_a_secret() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let mut config = deployment.config(&["c1"]);
    config.amqp.url = None;
    let path = deployment.files.0.join("ledger.db");
    config.ledger.url = Some(format!("sqlite:{}", path.display()).into());
    let how = Start { roles: Roles::ALL, migrate: true, wait: false };
    let app = otpost::app::start(config, deployment.keys.clone(), how).await.unwrap();
    let key = NewKey::make("default", &[Scope::Dispatch, Scope::Read]);
    app.ledger.add_key(&key.row).await.unwrap();
    let api = app.api.unwrap().to_string();
    let to = "+447709998877";
    deployment.script(to, json!([{"outcome": "slow", "ms": 1000}, "deliver"])).await;
    let j = job(to, json!({"code": CODE, "channels": ["sms", "voice"]}));
    let (status, body) = deployment.post_bytes(&api, &key.text, j.to_string().into_bytes()).await;
    assert_eq!(status, 202, "{body}");
    let id = j["id"].as_str().unwrap().parse().unwrap();
    let find = async || app.ledger.find("default", id).await.unwrap().unwrap();
    let (mut found, mut looks) = (vec![], 0);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let d = find().await;
        let token = deployment
            .keys
            .callback_token("c1", otpost::domain::attempt::AttemptId { uid: d.order.uid, n: 1 });
        for end in ["", "-wal"] {
            let text = std::fs::read(format!("{}{end}", path.display())).unwrap_or_default();
            search("the file", &text, &mut found);
            for (what, secret) in [
                ("the key", key.text.as_str()),
                ("the token", &token),
                ("the root", &deployment.root.to_hex()),
            ] {
                if text.windows(secret.len()).any(|w| w == secret.as_bytes()) {
                    found.push(format!("{what} in the file"));
                }
            }
        }
        looks += 1;
        if d.state.is_final() {
            break;
        }
    }
    assert!(looks > 5, "the file was searched while it held the sealed code: {looks}");
    assert_eq!(found, Vec::<String>::new());
    // The search can find stored values: it finds the mask.
    let file =
        [std::fs::read(&path).unwrap(), std::fs::read(format!("{}-wal", path.display())).unwrap_or_default()];
    let mask = find().await.order.mask.clone();
    assert!(file.iter().any(|f| f.windows(mask.len()).any(|w| w == mask.as_bytes())), "{mask}");
    app.stop().await;
}
