//! A service that starts while its ledger or its broker is away: it says so, answers over HTTP, keeps carriers'
//! receipts, and goes on by itself when the ledger is there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use otpost::domain::attempt::AttemptId;
use serde_json::{Value, json};
use support::house::asking::signature;
use support::house::{House, job};
use support::relay::Relay;
use support::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where PostgreSQL is, in a URL.
fn place(url: &str) -> SocketAddr {
    url.split_once('@').unwrap().1.split('/').next().unwrap().parse().unwrap()
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What is said by a process that does not want to wait.
fn gives_up(file: &Path) -> String {
    ends(file, &["--no-wait"])
}

/// What is said by a process that ends by itself.
fn ends(file: &Path, more: &[&str]) -> String {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_otpost"));
    let out = serve.args(["serve", "--config"]).arg(file).args(more).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    said
}

/// Seen to fail: where the broker is not asked before the start (nobody gives up).
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

/// Seen to fail: where the doors open only when the ledger answers.
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

/// A broker that is away, then one that lets nobody in: it is waited for, and who looks is told why.
///
/// Seen to fail: where a broker that is down is not logged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_waited_for_with_a_clear_line() {
    let house = House::build(Duration::from_millis(20)).await;
    let relay = Relay::start(house.broker()).await;
    relay.refuse(true);
    let file = house.config_file("all");
    let right = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, right.replace(&house.broker().to_string(), &relay.addr().to_string())).unwrap();
    let _all = house.run(&file, "api,worker,receipts", "all");
    let serves = house.serving("all").await;
    let (api, ops) = (serves["api"].as_str().unwrap(), serves["ops"].as_str().unwrap());
    // In the parentheses: the other side ended it, or it was reset, as the system has it.
    let clear =
        ["RabbitMQ cannot be reached (", "); check that it runs and that amqp.url names its host and port"];
    let is_clear = |text: &str| clear.iter().all(|part| text.contains(part));
    wait::until("it says so in its log", async || is_clear(&house.log("all"))).await;
    let ready = async || house.get(&format!("http://{ops}/readyz")).await;
    let (status, body) = ready().await;
    assert!(status == 503 && is_clear(&body), "{status} {body}");
    // Codes go on.
    let early = job("+447708000003", json!({}));
    let (status, answer) = house.post_bytes(api, &house.key, early.to_string().into()).await;
    assert_eq!(status, 202, "{answer}");
    house.until_state(early["id"].as_str().unwrap().parse().unwrap(), "sent").await;
    relay.refuse(false);
    wait::until("ready", async || ready().await.0 == 200).await;
    let late = house.publish(&job("+447708000004", json!({}))).await;
    house.until_state(late, "sent").await;

    std::fs::write(&file, right.replace("guest:guest", "guest:guessed")).unwrap();
    let mut locked_out = house.run(&file, "worker", "locked out");
    let clear =
        "RabbitMQ rejects the login in amqp.url (403); check the user, the password and the vhost in it";
    wait::until("it says so in its log", async || house.log("locked out").contains(clear)).await;
    assert!(locked_out.0.try_wait().unwrap().is_none(), "it waits");
    assert!(!house.log("locked out").contains("guessed"), "{}", house.log("locked out"));
}

/// A server that answers whoever comes as PostgreSQL does where the password is wrong.
async fn locked_out() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = vec![0; 1024];
            // Who asks for TLS first is told that there is none.
            while stream.read(&mut hello).await.is_ok_and(|read| read == 8) {
                let _ = stream.write_all(b"N").await;
            }
            let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"otpost\"\0\0";
            let length = u32::try_from(4 + fields.len()).unwrap();
            let _ = stream.write_all(&[&b"E"[..], &length.to_be_bytes(), fields].concat()).await;
        }
    });
    addr
}

/// Waiting would be of no use: it says what to do, and ends.
///
/// Seen to fail: where a missing database counts as a ledger that is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_by_the_ledger_is_told_what_to_do() {
    let house = House::build(Duration::from_millis(20)).await;
    let file = house.config_file("all");
    let right = std::fs::read_to_string(&file).unwrap();
    let there = place(&house.ledger_url).to_string();
    let (database, user) = (format!("{there}/otpost"), "postgres://otpost@");
    let cases = [
        (right.replace(&database, &format!("{there}/nowhere")), "3D000"),
        (right.replace(user, "postgres://nobody@"), "28000"),
        (
            right
                .replace(&there, &locked_out().await.to_string())
                .replace(user, "postgres://otpost:guessed@"),
            "28P01",
        ),
    ];
    for (wrong, state) in cases {
        assert_ne!(wrong, right);
        std::fs::write(&file, wrong).unwrap();
        for more in [&["--no-wait"][..], &[]] {
            let said = ends(&file, more);
            let clear = format!(
                "the ledger is not usable: PostgreSQL rejects the login (SQLSTATE {state}); check user, password and database \
                 in ledger.url"
            );
            assert!(said.contains(&clear), "{state} {more:?}: {said}");
            assert!(!said.contains("guessed") && !said.contains("failed for"), "{said}");
        }
    }
}
