//! A service that starts while its ledger or its broker is away: it says so, answers at its doors, keeps carriers'
//! receipts, and goes on by itself when the ledger is there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use otpost::attempt::AttemptId;
use serde_json::{Value, json};
use support::house::asking::signature;
use support::house::{House, job};
use support::relay::Relay;
use support::wait;

/// Where PostgreSQL is, in a URL.
fn place(url: &str) -> SocketAddr {
    url.split_once('@').unwrap().1.split('/').next().unwrap().parse().unwrap()
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What is said by a process that does not want to wait.
fn gives_up(file: &Path) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_otpost"))
        .args(["serve", "--no-wait", "--config"])
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_wait_is_told_what_is_wrong_with_the_broker() {
    let house = House::build(Duration::from_millis(20)).await;
    let file = house.config_file("all");
    let right = std::fs::read_to_string(&file).unwrap();
    let (broker, nobody) = (house.broker().to_string(), free_port().to_string());
    for (wrong, what) in [
        (right.replace("guest:guest", "guest:guessed"), "check the user, the password"),
        (right.replace(&broker, &nobody), "cannot be reached"),
        (right.replace("/t-", "/no-"), "and the vhost"),
    ] {
        assert_ne!(wrong, right);
        std::fs::write(&file, wrong).unwrap();
        let said = gives_up(&file);
        assert!(said.contains("the broker is not usable") && said.contains(what), "{what}: {said}");
        assert!(!said.contains("guessed"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doors_are_open_while_the_ledger_is_waited_for() {
    let house = House::build(Duration::from_millis(20)).await;
    let relay = Relay::start(place(&house.ledger_url)).await;
    relay.refuse(true);
    let [api, receipts, ops] = [free_port(), free_port(), free_port()];
    let file = house.config_file("all");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut listens = [api, receipts, ops].into_iter();
    let text = text.replace(&place(&house.ledger_url).to_string(), &relay.addr().to_string());
    let text: Vec<String> = text
        .lines()
        .map(|line| match line {
            "listen = \"127.0.0.1:0\"" => format!("listen = \"{}\"", listens.next().unwrap()),
            line if line.starts_with("public_url") => format!("public_url = \"http://{receipts}\""),
            line => line.to_owned(),
        })
        .collect();
    std::fs::write(&file, text.join("\n")).unwrap();

    // Who does not want to wait is told what is wrong.
    let said = gives_up(&file);
    assert!(said.contains("the ledger is not usable") && said.contains(&relay.addr().to_string()), "{said}");

    let _all = house.run(&file, "api,worker,receipts", "all");
    let health = async |path: &str| {
        let (status, text) = house.get(&format!("http://{ops}{path}")).await;
        (status, serde_json::from_str::<Value>(&text).unwrap_or(json!(text)))
    };
    let waits = async || house.log("all").contains("waiting for the ledger");
    wait::until("it says that it waits", waits).await;
    assert_eq!(health("/livez").await, (200, json!("ok\n")));
    let (status, ready) = health("/readyz").await;
    assert_eq!((status, ready["roles"]["worker"].as_str()), (503, Some("waits for the ledger")), "{ready}");
    let (status, problem) = house
        .post_bytes(&api.to_string(), &house.key, job("+447708000001", json!({})).to_string().into())
        .await;
    assert_eq!((status, problem["retry_after_s"].as_u64()), (503, Some(1)), "{problem}");
    let id = house.publish(&job("+447708000002", json!({}))).await;
    // A receipt for an attempt of some other time is kept until it can be recorded.
    let attempt = AttemptId { uid: uuid::Uuid::now_v7(), n: 1 };
    let token = house.keys.callback_token("c1", attempt);
    let url = format!("http://{receipts}/v1/receipts/c1/{attempt}/{token}");
    let fields = "MessageSidSM1MessageStatusdelivered";
    let signed = [("x-twilio-signature", signature(&url, fields))];
    let signed: Vec<(&str, &str)> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = b"MessageSid=SM1&MessageStatus=delivered".to_vec();
    assert_eq!(house.post_form(&url, &signed, body).await.0, 204);
    assert_eq!((house.waiting("otpost.dispatch").await, house.accepted("+447708000002").await), (1, 0));

    relay.refuse(false);
    house.serving("all").await;
    house.until_state(id, "delivered").await;
    wait::until("ready", async || health("/readyz").await.0 == 200).await;
    let look = support::world::connect(&house.ledger_url).await;
    let strays = "select count(*) from stray_receipt where uid = $1";
    let kept = async || look.query_one(strays, &[&attempt.uid]).await.unwrap().get::<_, i64>(0) == 1;
    wait::until("the receipt is recorded", kept).await;
}
