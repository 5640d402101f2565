//! No code and no full number anywhere but in a carrier's request: everything runs with canary values, at the most
//! talkative log level, and the lot is searched.

mod support;

use std::time::Duration;

use otpost::api::{NewKey, Scope};
use otpost::app::{Roles, Start};
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
    for line in
        ["a dispatch changed its state", "a carrier did not take a message", "a message cannot be used"]
    {
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
        let token = house.keys.callback_token("c1", otpost::attempt::AttemptId { uid: d.order.uid, n: 1 });
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
