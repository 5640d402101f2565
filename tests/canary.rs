//! No code and no full number anywhere but in a carrier's request: everything runs with canary values, at the most
//! talkative log level, and the lot is searched.

mod support;

use std::time::Duration;

use serde_json::json;
use support::house::{House, in_seconds, job};
use support::world::connect;

const CODE: &str = "Q7Z9X3W8";
const CODE_TWO: &str = "K4V6B2N5";

/// Where a canary was found.
fn search(place: &str, text: &[u8], found: &mut Vec<String>) {
    let has = |needle: &str| text.windows(needle.len()).any(|w| w == needle.as_bytes());
    for needle in [CODE, CODE_TWO, "7709998877", "7709998866", "Q. 7. Z. 9", "9998877", "9998866"] {
        if has(needle) {
            found.push(format!("{needle} in {place}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_code_and_no_number_is_anywhere_but_at_the_carrier() {
    let house = House::build(Duration::from_millis(50)).await;
    let _all = house.process("api,worker,receipts", "http://127.0.0.1:0", "trace", "all");
    let serving = house.serving("all").await;
    let api = serving["api"].as_str().unwrap().to_owned();
    let (plain, other) = ("+447709998877", "+447709998866");

    let mut ids = vec![];
    house.script(plain, json!(["unavailable", "undelivered"])).await;
    let canary = |to: &str, more: serde_json::Value| {
        let mut j = job(to, json!({"code": CODE, "client_ip": "203.0.113.77"}));
        for (name, value) in more.as_object().unwrap() {
            j[name] = value.clone();
        }
        j
    };
    // By AMQP: plain, falling back to a call; sealed; a conflict; what cannot be read.
    let first = canary(plain, json!({"channels": ["sms", "voice"]}));
    ids.push(house.publish(&first).await);
    house.until_state(ids[0], "delivered").await;
    let id = uuid::Uuid::new_v4();
    let expires_at = otpost::clock::after(otpost::clock::now(), Duration::from_secs(200));
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
    let mut found = vec![];
    for id in &ids {
        house.until(*id, "final", |d| d.state.is_final()).await;
        let url = format!("http://{api}/v1/dispatches/{id}");
        search("a story", house.get(&url).await.1.as_bytes(), &mut found);
    }

    // The carrier did get them; so the search would find what it looks for.
    let mut at_the_carrier = vec![];
    for entry in house.record("accepted", None).await {
        search("the carrier", entry.to_string().as_bytes(), &mut at_the_carrier);
    }
    for needle in [CODE, CODE_TWO, "7709998877", "7709998866", "Q. 7. Z. 9"] {
        assert!(at_the_carrier.iter().any(|f| f.starts_with(needle)), "{needle}: {at_the_carrier:?}");
    }

    for _ in 0..8 {
        let (field, reason, body) = house.dead_letter().await;
        search("a dead letter's headers", format!("{field} {reason}").as_bytes(), &mut found);
        search("a dead letter", &body, &mut found);
    }
    for event in house.all_events() {
        search("an event", event.to_string().as_bytes(), &mut found);
    }
    let ops = serving["ops"].as_str().unwrap();
    search("metrics", house.get(&format!("http://{ops}/metrics")).await.1.as_bytes(), &mut found);
    let log = house.log("all");
    for line in ["a dispatch changed its state", "a carrier did not take a message", "a message is no job"] {
        assert!(log.contains(line), "the log speaks of what happened: {line}");
    }
    search("the log", log.as_bytes(), &mut found);
    let look = connect(&house.ledger_url).await;
    for table in ["dispatch", "attempt", "quota", "stray_receipt", "worker", "api_key"] {
        let rows = look.query(&format!("select t::text from {table} t"), &[]).await.unwrap();
        for row in rows {
            search(table, row.get::<_, String>(0).as_bytes(), &mut found);
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_ledgers_file_holds_no_code_and_no_number() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let world = support::world::World::free(support::world::Backend::Sqlite).await;
    let keys = otpost::seal::Keys::ephemeral();
    let templates = std::sync::Arc::new(otpost::message::Templates::load(None).unwrap());
    let admitter = otpost::admit::Admitter::new(keys, otpost::config::Config::default(), templates, true);
    let body = job("+447709998877", json!({"code": CODE})).to_string();
    let now = otpost::clock::now();
    let read = admitter.decode(body.as_bytes(), None, now).unwrap();
    let admission = admitter.admission(&read, otpost::admit::Door::Http, None, now);
    world.ledger.admit(admission).await.unwrap();
    let path = world.url.strip_prefix("sqlite:").unwrap();
    let mut found = vec![];
    for end in ["", "-wal"] {
        search("the file", &std::fs::read(format!("{path}{end}")).unwrap_or_default(), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}
