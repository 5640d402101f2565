//! Starts while the ledger or the broker is unreachable. The service reports the outage, answers over HTTP,
//! queues carriers' receipts, and continues when the ledger answers.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use otpost::app::Roles;
use otpost::domain::attempt::AttemptId;
use otpost::domain::clock::Clock;
use serde_json::{Value, json};
use support::deployment::requests::signature;
use support::deployment::{Deployment, job};
use support::ports;
use support::relay::Relay;
use support::wait;
use support::world::{connect, fresh_schema, ledger_at};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The address of the server in a URL.
fn place(url: &str) -> SocketAddr {
    url.split_once('@').unwrap().1.split('/').next().unwrap().parse().unwrap()
}

/// Returns standard error of a process with --no-wait.
fn gives_up(file: &Path) -> String {
    ends(file, &["--no-wait"])
}

/// Returns standard error of a process that ends by itself.
fn ends(file: &Path, more: &[&str]) -> String {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_otpost"));
    let out = serve.args(["serve", "--config"]).arg(file).args(more).output().unwrap();
    let printed = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{printed}");
    printed
}

/// Fails if the broker is not checked before the start, so that the process does not exit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_reports_the_brokers_problem() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let file = deployment.config_file("all");
    let right = std::fs::read_to_string(&file).unwrap();
    let (broker, nobody) = (deployment.broker().to_string(), ports::reserve().to_string());
    // A label has at most 63 characters, so no name server is asked.
    let unknown = format!("{}.invalid:5672", "x".repeat(64));
    for (wrong, what) in [
        (right.replace("guest:guest", "guest:guessed"), "check the user and the password"),
        (right.replace(&broker, &nobody), "cannot be reached"),
        (right.replace(&broker, &unknown), "(the name of the host cannot be resolved)"),
        (right.replace("/t-", "/no-"), "the vhost in it does not exist"),
    ] {
        assert_ne!(wrong, right);
        std::fs::write(&file, wrong).unwrap();
        let printed = gives_up(&file);
        assert!(printed.contains("the broker is not usable") && printed.contains(what), "{what}: {printed}");
        assert!(!printed.contains("guessed"), "{printed}");
    }
}

/// Fails if the listeners open only after the ledger has answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_answer_while_the_process_waits_for_the_ledger() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let relay = Relay::start(place(&deployment.ledger_url)).await;
    relay.refuse(true);
    let [api, receipts, ops] = [ports::reserve(), ports::reserve(), ports::reserve()];
    let file = deployment.config_file("all");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut listens = [api, receipts, ops].into_iter();
    let text = text.replace(&place(&deployment.ledger_url).to_string(), &relay.addr().to_string());
    let text: Vec<String> = text
        .lines()
        .map(|line| match line {
            "listen = \"127.0.0.1:0\"" => format!("listen = \"{}\"", listens.next().unwrap()),
            line if line.starts_with("public_url") => format!("public_url = \"http://{receipts}\""),
            line => line.to_owned(),
        })
        .collect();
    std::fs::write(&file, text.join("\n")).unwrap();

    // A process with --no-wait reports the problem.
    let printed = gives_up(&file);
    assert!(
        printed.contains("the ledger is not usable") && printed.contains(&relay.addr().to_string()),
        "{printed}"
    );

    let _all = deployment.run(&file, "api,worker,receipts", "all");
    let health = async |path: &str| {
        let (status, text) = deployment.get(&format!("http://{ops}{path}")).await;
        (status, serde_json::from_str::<Value>(&text).unwrap_or(json!(text)))
    };
    let waits = async || deployment.log("all").contains("waiting for the ledger");
    wait::until("it reports that it waits", waits).await;
    assert_eq!(health("/livez").await, (200, json!("ok\n")));
    let (status, ready) = health("/readyz").await;
    assert_eq!((status, ready["roles"]["worker"].as_str()), (503, Some("waits for the ledger")), "{ready}");
    let (status, problem) = deployment
        .post_bytes(&api.to_string(), &deployment.key, job("+447708000001", json!({})).to_string().into())
        .await;
    assert_eq!((status, problem["retry_after_s"].as_u64()), (503, Some(1)), "{problem}");
    let id = deployment.publish(&job("+447708000002", json!({}))).await;
    // A receipt for an earlier attempt is stored until it can be recorded.
    let attempt = AttemptId { uid: uuid::Uuid::now_v7(), n: 1 };
    let token = deployment.keys.callback_token("c1", attempt);
    let url = format!("http://{receipts}/v1/receipts/c1/{attempt}/{token}");
    let fields = "MessageSidSM1MessageStatusdelivered";
    let signed = [("x-twilio-signature", signature(&url, fields))];
    let signed: Vec<(&str, &str)> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = b"MessageSid=SM1&MessageStatus=delivered".to_vec();
    assert_eq!(deployment.post_form(&url, &signed, body).await.0, 204);
    assert_eq!(
        (deployment.waiting("otpost.dispatch").await, deployment.accepted("+447708000002").await),
        (1, 0)
    );

    relay.refuse(false);
    deployment.serving("all").await;
    deployment.until_state(id, "delivered").await;
    wait::until("ready", async || health("/readyz").await.0 == 200).await;
    let look = support::world::connect(&deployment.ledger_url).await;
    let strays = "select count(*) from stray_receipt where uid = $1";
    let kept = async || look.query_one(strays, &[&attempt.uid]).await.unwrap().get::<_, i64>(0) == 1;
    wait::until("the receipt is recorded", kept).await;
}

/// An unreachable broker, then one that refuses the login: the process waits and logs the reason.
///
/// Fails if an unreachable broker is not logged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_waits_for_the_broker_with_a_clear_log_line() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let relay = Relay::start(deployment.broker()).await;
    relay.refuse(true);
    let file = deployment.config_file("all");
    let right = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, right.replace(&deployment.broker().to_string(), &relay.addr().to_string()))
        .unwrap();
    let _all = deployment.run(&file, "api,worker,receipts", "all");
    let serves = deployment.serving("all").await;
    let (api, ops) = (serves["api"].as_str().unwrap(), serves["ops"].as_str().unwrap());
    // The text in parentheses depends on the system: the connection was closed or reset.
    let clear =
        ["RabbitMQ cannot be reached (", "); check that it runs and that amqp.url names its host and port"];
    let is_clear = |text: &str| clear.iter().all(|part| text.contains(part));
    wait::until("it is in the log", async || is_clear(&deployment.log("all"))).await;
    let ready = async || deployment.get(&format!("http://{ops}/readyz")).await;
    let (status, body) = ready().await;
    assert!(status == 503 && is_clear(&body), "{status} {body}");
    // Codes are still sent.
    let early = job("+447708000003", json!({}));
    let (status, answer) = deployment.post_bytes(api, &deployment.key, early.to_string().into()).await;
    assert_eq!(status, 202, "{answer}");
    deployment.until_state(early["id"].as_str().unwrap().parse().unwrap(), "sent").await;
    relay.refuse(false);
    wait::until("ready", async || ready().await.0 == 200).await;
    let late = deployment.publish(&job("+447708000004", json!({}))).await;
    deployment.until_state(late, "sent").await;

    std::fs::write(&file, right.replace("guest:guest", "guest:guessed")).unwrap();
    let mut locked_out = deployment.run(&file, "worker", "locked out");
    let clear = "RabbitMQ rejects the login in amqp.url (403); check the user and the password in it";
    wait::until("it is in the log", async || deployment.log("locked out").contains(clear)).await;
    assert!(locked_out.0.try_wait().unwrap().is_none(), "it waits");
    assert!(!deployment.log("locked out").contains("guessed"), "{}", deployment.log("locked out"));
}

/// A server that answers like PostgreSQL after a wrong password.
async fn locked_out() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = vec![0; 1024];
            // A client that requests TLS gets the answer that there is none.
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

/// Waiting would not help, so the process names the remedy and exits.
///
/// Fails if a missing database counts as an unreachable ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_at_the_ledger_ends_the_process_with_a_remedy() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let file = deployment.config_file("all");
    let right = std::fs::read_to_string(&file).unwrap();
    let there = place(&deployment.ledger_url).to_string();
    let (database, user) = (format!("{there}/otpost"), "postgres://otpost@");
    let cases = [
        (right.replace(&database, &format!("{there}/nowhere")), "the database in ledger.url does not exist"),
        (right.replace(user, "postgres://nobody@"), "PostgreSQL rejects the login (SQLSTATE 28000)"),
        (
            right
                .replace(&there, &locked_out().await.to_string())
                .replace(user, "postgres://otpost:guessed@"),
            "PostgreSQL rejects the login (SQLSTATE 28P01)",
        ),
    ];
    for (wrong, clear) in cases {
        assert_ne!(wrong, right);
        std::fs::write(&file, wrong).unwrap();
        for more in [&["--no-wait"][..], &[]] {
            let printed = ends(&file, more);
            let clear = format!("the ledger is not usable: {clear}");
            assert!(printed.contains(&clear), "{clear} {more:?}: {printed}");
            assert!(!printed.contains("guessed") && !printed.contains("failed for"), "{printed}");
        }
    }
}

/// The service's user has rights on rows only, as in docs/operate.md.
///
/// Fails if `serve` needs another right, at its start, for a code, or after an outage of the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_runs_with_rights_on_rows_only() {
    let owner = fresh_schema().await;
    ledger_at(&owner, Clock::System).migrate().await.unwrap();
    let (schema, role) =
        (owner.rsplit_once("%3D").unwrap().1, format!("r_{}", uuid::Uuid::now_v7().simple()));
    let admin = connect(&owner).await;
    let grants = format!(
        "create role {role} login password 'secret'; grant usage on schema {schema} to {role};
         grant select, insert, update, delete on all tables in schema {schema} to {role}"
    );
    admin.batch_execute(&grants).await.unwrap();
    let url = format!("postgres://{role}:secret@{}", owner.split_once('@').unwrap().1);
    let deployment = Deployment::with_migrated_ledger(url, mock_gateway::Config::default()).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let before = deployment.publish(&job("+447702000301", json!({}))).await;
    deployment.until_state(before, "delivered").await;
    let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'");
    admin.batch_execute(&end).await.unwrap();
    let after = deployment.publish(&job("+447702000302", json!({}))).await;
    deployment.until_state(after, "delivered").await;
    app.stop().await;
    drop(deployment);
    admin.batch_execute(&format!("drop owned by {role} cascade; drop role {role}")).await.unwrap();
}
