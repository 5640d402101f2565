//! No code and no full number anywhere but in a carrier's request: everything runs with canary values, at the most
//! talkative log level, and the lot is searched.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
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
use support::house::asking::signature;
use support::house::{House, in_seconds, job};
use support::relay::Relay;
use support::wait;
use support::world::connect;
use tokio::sync::watch;

const CODE: &str = "Q7Z9X3W8";
const CODE_TWO: &str = "K4V6B2N5";

/// Where a canary was found.
fn search(place: &str, text: &[u8], found: &mut Vec<String>) {
    let has = |needle: &str| text.windows(needle.len()).any(|w| w == needle.as_bytes());
    let numbers = ["7709998877", "7709998866", "7709998855", "9998877", "9998866", "9998855"];
    for needle in [CODE, CODE_TWO, "Q, 7, Z, 9"].into_iter().chain(numbers) {
        if has(needle) {
            found.push(format!("{needle} in {place}"));
        }
    }
}

/// A webhook that takes nothing, so that what it is told is kept and tried again; answers where it is, and what it is told.
async fn failing_webhook() -> (String, watch::Receiver<Vec<String>>) {
    let (told, heard) = watch::channel(vec![]);
    let take = post(async move |body: String| {
        told.send_modify(|all| all.push(body));
        StatusCode::INTERNAL_SERVER_ERROR
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", take)).await });
    (url, heard)
}

/// Seen to fail: with a mask that hides nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_code_and_no_number_is_anywhere_but_at_the_carrier() {
    let house = House::build(Duration::from_millis(50)).await;
    let (plain, other, third) = ("+447709998877", "+447709998866", "+447709998855");
    let canary = |to: &str, more: serde_json::Value| {
        let mut j = job(to, json!({"code": CODE, "client_ip": "203.0.113.77"}));
        for (name, value) in more.as_object().unwrap() {
            j[name] = value.clone();
        }
        j
    };
    // One that came back too often is set aside before it is read.
    let (suspects, receipts) = (house.copy_of("suspect").await, house.copy_of("receipt").await);
    let mut ids = vec![house.publish(&canary(third, json!({}))).await];
    house.die_with_all_of("otpost.dispatch", 3).await;
    let (hook, hooked) = failing_webhook().await;
    let ledger = Relay::start(house.database().await).await;
    let _all = house.process_with("api,worker,receipts", "http://127.0.0.1:0", "trace", "all", |text| {
        let text = text.replace(&house.ledger_url, &house.ledger_by(&ledger));
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        format!(
            "{text}[webhooks]\nallow_private_targets = true\n\
             [tenants.default.webhook]\nurl = \"{hook}\"\nsecret = \"{secret}\"\n"
        )
    });
    let serving = house.serving("all").await;
    let address = |door: &str| serving[door].as_str().unwrap().to_owned();
    let api = address("api");

    // By AMQP: plain, falling back to a call; sealed; a conflict; what cannot be read.
    house.script(plain, json!(["unavailable", "undelivered"])).await;
    let first = canary(plain, json!({"channels": ["sms", "voice"]}));
    ids.push(house.publish(&first).await);
    house.until_state(ids[1], "delivered").await;
    let id = uuid::Uuid::new_v4();
    let expires_at = otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(200));
    let secret = json!({"to": other, "code": CODE_TWO}).to_string();
    let sealed = house.keys.seal_job("default", id, expires_at, secret.as_bytes());
    ids.push(house.publish(&json!({"id": id, "expires_at": expires_at, "sealed": sealed})).await);
    house.until_state(id, "delivered").await;
    let mut conflict = first.clone();
    conflict["code"] = json!(CODE_TWO);
    house.publish(&conflict).await;
    for broken in [
        canary(plain, json!({"code": "Q7Z9X3W8 Q7Z9X3W8"})).to_string(),
        canary("07709998877", json!({})).to_string(),
        canary(plain, json!({CODE: CODE})).to_string(),
        format!("{{\"to\": \"{plain}\", \"code\": \"{CODE}\""),
        canary(plain, json!({"tags": {"a": "\u{0}Q7Z9X3W8"}})).to_string(),
        canary(plain, json!({"tenant": "nobody"})).to_string(),
        canary(plain, json!({"template": "nothing"})).to_string(),
    ] {
        house.publish_bytes("dispatch", broken.as_bytes()).await;
        let (status, problem) = house.post_bytes(&api, &house.key, broken.into_bytes()).await;
        assert!((400..500).contains(&status), "{status} {problem}");
        let mut found = vec![];
        search("a problem", problem.to_string().as_bytes(), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
    // Over HTTP: accepted, limited, refused, expired.
    for _ in 0..6 {
        let j = canary(other, json!({}));
        let (status, body) = house.post_bytes(&api, &house.key, j.to_string().into_bytes()).await;
        assert!(status == 202 || status == 429, "{status} {body}");
        if status == 202 {
            ids.push(j["id"].as_str().unwrap().parse().unwrap());
        }
    }
    house.publish(&canary(other, json!({}))).await;
    house.publish(&canary(plain, json!({"expires_at": in_seconds(3)}))).await;
    // A receipt for nobody, with the number in it as the carrier writes it.
    let stranger = AttemptId { uid: uuid::Uuid::now_v7(), n: 1 };
    let token = house.keys.callback_token("c1", stranger);
    let url = format!("http://{}/v1/receipts/c1/{stranger}/{token}", address("receipts"));
    let signed = signature(&url, &format!("MessageSidSM1MessageStatusdeliveredTo{plain}"));
    let form = format!("MessageSid=SM1&MessageStatus=delivered&To=%2B{}", &plain[1..]);
    let (status, said) = house.post_form(&url, &[("x-twilio-signature", &signed)], form.into_bytes()).await;
    assert_eq!(status, 204, "{said}");
    // One that comes while the ledger is away.
    house.until_state(ids[0], "delivered").await;
    house.script(third, json!(["silent"])).await;
    let kept = house.publish(&canary(third, json!({}))).await;
    let d = house.until_state(kept, "sent").await;
    ledger.refuse(true);
    ledger.cut();
    house.receipt(d.attempts[0].details.message_id.as_deref().unwrap(), "delivered").await;
    house.until_waiting(&receipts, 1).await;
    ledger.pass();
    ids.push(kept);

    let mut found = vec![];
    for id in &ids {
        house.until(*id, "final", |d| d.state.is_final()).await;
        let url = format!("http://{api}/v1/dispatches/{id}");
        let timeline = wait::answer("a timeline", async || {
            let (status, body) = house.get(&url).await;
            (status == 200).then_some(body)
        });
        search("a timeline", timeline.await.as_bytes(), &mut found);
    }

    // The carrier did get them; so the search would find what it looks for.
    let mut at_the_carrier = vec![];
    for entry in house.record("accepted", None).await {
        search("the carrier", entry.to_string().as_bytes(), &mut at_the_carrier);
    }
    for needle in [CODE, CODE_TWO, "7709998877", "7709998866", "7709998855", "Q, 7, Z, 9"] {
        assert!(at_the_carrier.iter().any(|f| f.starts_with(needle)), "{needle}: {at_the_carrier:?}");
    }

    for _ in 0..8 {
        let (field, reason, body) = house.dead_letter().await;
        search("a dead letter's headers", format!("{field} {reason}").as_bytes(), &mut found);
        search("a dead letter", &body, &mut found);
    }
    for queue in [&suspects, &receipts] {
        let bodies = house.take_all(queue).await;
        assert!(!bodies.is_empty(), "something went to {queue}");
        for body in bodies {
            search(queue, &body, &mut found);
        }
    }
    let events = house.all_events();
    assert!(events.len() > ids.len(), "each was told of: {events:?}");
    for event in events {
        search("an event", event.to_string().as_bytes(), &mut found);
    }
    wait::until("a webhook is told", async || hooked.borrow().len() > ids.len()).await;
    for body in &*hooked.borrow() {
        search("what a webhook is told", body.as_bytes(), &mut found);
    }
    let (status, metrics) = house.get(&format!("http://{}/metrics", address("ops"))).await;
    assert_eq!(status, 200, "{metrics}");
    search("metrics", metrics.as_bytes(), &mut found);
    let log = house.log("all");
    for line in [
        "dispatch state changed",
        "carrier did not accept a message",
        "message cannot be processed",
        "the ledger is unreachable",
    ] {
        assert!(log.contains(line), "the log speaks of what happened: {line}");
    }
    search("the log", log.as_bytes(), &mut found);
    // An account that reports by its own message ids alone.
    let d = house.ledger.find("default", ids[0]).await.unwrap().unwrap();
    house.ledger.store_message_id("c1", "SM1", AttemptId { uid: d.order.uid, n: 1 }).await.unwrap();
    let receipt = Receipt {
        status: ReceiptStatus::Delivered,
        reason: None,
        carrier_code: None,
        message_id: Some("SM2".to_owned()),
    };
    house.ledger.record_by_reference("c1", "SM2", receipt).await.unwrap();
    let look = connect(&house.ledger_url).await;
    let sql = "select tablename::text from pg_tables where schemaname = current_schema()";
    let tables: Vec<String> = look.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(tables.len() >= 7, "{tables:?}");
    for table in tables {
        let rows = look.query(&format!("select t::text from {table} t"), &[]).await.unwrap();
        // Where writing is tried, nothing stays.
        assert_eq!(rows.is_empty(), table == "trial", "{table} holds rows while it is searched");
        for row in rows {
            search(&table, row.get::<_, String>(0).as_bytes(), &mut found);
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Seen to fail: with a mask that hides nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_ledgers_file_holds_no_secret_from_beginning_to_end() {
    let house = House::build(Duration::from_millis(50)).await;
    let mut config = house.config(&["c1"]);
    config.amqp.url = None;
    let path = house.files.0.join("ledger.db");
    config.ledger.url = Some(format!("sqlite:{}", path.display()).into());
    let how = Start { roles: Roles::ALL, migrate: true, wait: false };
    let app = otpost::app::start(config, house.keys.clone(), how).await.unwrap();
    let key = NewKey::make("default", &[Scope::Dispatch, Scope::Read]);
    app.ledger.add_key(&key.row).await.unwrap();
    let api = app.api.unwrap().to_string();
    let to = "+447709998877";
    house.script(to, json!([{"outcome": "slow", "ms": 1000}, "deliver"])).await;
    let j = job(to, json!({"code": CODE, "channels": ["sms", "voice"]}));
    let (status, body) = house.post_bytes(&api, &key.text, j.to_string().into_bytes()).await;
    assert_eq!(status, 202, "{body}");
    let id = j["id"].as_str().unwrap().parse().unwrap();
    let find = async || app.ledger.find("default", id).await.unwrap().unwrap();
    let (mut found, mut looks) = (vec![], 0);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let d = find().await;
        let token =
            house.keys.callback_token("c1", otpost::domain::attempt::AttemptId { uid: d.order.uid, n: 1 });
        for end in ["", "-wal"] {
            let text = std::fs::read(format!("{}{end}", path.display())).unwrap_or_default();
            search("the file", &text, &mut found);
            for (what, secret) in
                [("the key", key.text.as_str()), ("the token", &token), ("the root", &house.root.to_hex())]
            {
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
    assert!(looks > 5, "it was looked at while the code was sealed in it: {looks}");
    assert_eq!(found, Vec::<String>::new());
    // The search would find what is there: the mask is.
    let file =
        [std::fs::read(&path).unwrap(), std::fs::read(format!("{}-wal", path.display())).unwrap_or_default()];
    let mask = find().await.order.mask;
    assert!(file.iter().any(|f| f.windows(mask.len()).any(|w| w == mask.as_bytes())), "{mask}");
    app.stop().await;
}
