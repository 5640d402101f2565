//! `docs/integrate.md`: checks that the page shows the programs, and runs them in both languages against a
//! real broker.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use otpost::app::Roles;
use serde_json::json;
use support::deployment::Deployment;
use support::deployment::process::Process;
use support::node::rabbitmqctl;
use support::wait;
use tokio::sync::watch;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"))
}

fn checkout(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

#[test]
fn the_page_shows_the_tested_programs() {
    let page = std::fs::read_to_string(checkout("docs/integrate.md")).unwrap();
    assert!(page.contains(&format!("'{}'", PERMISSIONS.join("' '"))), "the permissions of the programs");
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned).collect()
    };
    for (language, file) in [("python", "examples/python/sign_in.py"), ("js", "examples/node/sign_in.js")] {
        let begins = format!("```{language}\n");
        let blocks = page.split(&begins).skip(1).map(|rest| rest.split("```").next().unwrap());
        let shown: Vec<String> = blocks.flat_map(lines).collect();
        let program = lines(&std::fs::read_to_string(checkout(file)).unwrap());
        assert_eq!(shown, program, "the {language} blocks of docs/integrate.md, in order, are {file}");
    }
}

/// A running program, with its standard input and its output.
struct Terminal {
    program: Process,
    lines: watch::Receiver<Vec<String>>,
}

/// The permissions that the page gives: configure, write, read.
const PERMISSIONS: [&str; 3] = ["^sign-in[.]", "^(otpost$|sign-in[.])", "^(otpost[.]events$|sign-in[.])"];

/// A broker user for the programs, with the permissions from the page.
struct Shop(String);

impl Shop {
    fn new(deployment: &Deployment) -> Self {
        let name = format!("shop-{}", uuid::Uuid::new_v4().simple());
        rabbitmqctl(&["add_user", &name, "secret"]);
        let vhost = deployment.amqp_url.rsplit_once('/').unwrap().1;
        rabbitmqctl(&["set_permissions", "-p", vhost, &name, PERMISSIONS[0], PERMISSIONS[1], PERMISSIONS[2]]);
        Self(name)
    }

    fn url(&self, deployment: &Deployment) -> String {
        let (_, place) = deployment.amqp_url.split_once('@').unwrap();
        format!("amqp://{}:secret@{place}", self.0)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        rabbitmqctl(&["delete_user", &self.0]);
    }
}

impl Terminal {
    fn start(mut command: Command, amqp_url: &str) -> Self {
        command.env("OTPOST_AMQP_URL", amqp_url).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Process(command.spawn().unwrap());
        let output = BufReader::new(program.0.stdout.take().unwrap());
        let (adding, lines) = watch::channel(vec![]);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                adding.send_modify(|all| all.push(line.trim().to_owned()));
            }
        });
        Self { program, lines }
    }

    fn enters(&mut self, line: &str) {
        writeln!(self.program.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until these lines have been printed, in any order, since the last call. Events may overtake the
    /// program's own lines.
    async fn prints(&mut self, expected: &[&str]) {
        let printed = self.lines.wait_for(|all| all.len() >= expected.len());
        let printed = tokio::time::timeout(Duration::from_secs(30), printed).await.map(|all| all.is_ok());
        assert_eq!(printed, Ok(true), "{:?}, not {expected:?}", self.lines.borrow());
        let mut printed = self.lines.borrow().clone();
        printed.sort();
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        expected.sort();
        assert_eq!(printed, expected);
    }

    async fn exits_with_success(mut self) {
        let ended = wait::answer("it ends", async || self.program.0.try_wait().unwrap()).await;
        assert!(ended.success(), "{ended}");
    }
}

fn python() -> Command {
    let mut command = Command::new(variable("OTPOST_TEST_PYTHON"));
    command.arg(checkout("examples/python/sign_in.py"));
    command
}

/// The folder with the packages is outside of the checkout.
fn node() -> Command {
    let program = PathBuf::from(variable("OTPOST_TEST_NODE")).join("sign_in.js");
    std::fs::copy(checkout("examples/node/sign_in.js"), &program).unwrap();
    let mut command = Command::new("node");
    command.arg(program);
    command
}

/// A silent text, then a call, another text after the broker closed all connections, a wrong code, a call on
/// request, and the right code.
async fn signs_in(
    deployment: &Deployment, shop: &Shop, mut command: Command, to: &str, tenant_key: Option<&str>,
) {
    deployment.script(to, json!(["silent", "deliver", "deliver", "deliver"])).await;
    match tenant_key {
        Some(key) => command.env("OTPOST_TENANT_KEY", key),
        None => command.env_remove("OTPOST_TENANT_KEY"),
    };
    command.arg(to);
    let mut terminal = Terminal::start(command, &shop.url(deployment));
    let mut expected = vec!["Type the code, or: again, call", "otpost: sent sms"];
    terminal.prints(&expected).await;
    terminal.enters("call");
    expected.extend(["otpost: sent voice", "otpost: delivered voice"]);
    terminal.prints(&expected).await;
    rabbitmqctl(&["close_all_user_connections", &shop.0, "a test"]);
    terminal.enters("again");
    expected.extend(["otpost: sent sms", "otpost: delivered sms"]);
    terminal.prints(&expected).await;
    terminal.enters("nonsense");
    expected.push("That is not the code");
    terminal.prints(&expected).await;
    terminal.enters("call");
    expected.extend(["otpost: sent voice", "otpost: delivered voice"]);
    terminal.prints(&expected).await;
    // All messages on the phone contain one code.
    let got = deployment.record("accepted", Some(to)).await;
    let channels: Vec<&str> = got.iter().map(|m| m["channel"].as_str().unwrap()).collect();
    assert_eq!(channels, ["sms", "voice", "sms", "voice"]);
    let code: String =
        got[0]["body"].as_str().unwrap().chars().filter(char::is_ascii_digit).take(6).collect();
    assert!(got[2]["body"].as_str().unwrap().contains(&code), "{got:?}");
    let spoken: Vec<String> = code.chars().map(String::from).collect();
    for call in [1, 3] {
        deployment
            .message(to, call, |call| call["transcript"].as_str().unwrap().contains(&spoken.join(", ")))
            .await;
    }
    terminal.enters(&code);
    expected.push("Signed in");
    terminal.prints(&expected).await;
    terminal.exits_with_success().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_signs_in_with_python_and_with_node_plain_and_sealed() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    // The programs use their own broker user, and only that user is accepted.
    let shop = Shop::new(&deployment);
    config.amqp.users.insert(shop.0.clone(), vec!["default".to_owned()]);
    let app = deployment.start(config, Roles::ALL).await;
    let key = deployment.root.tenant("default").to_text();
    // In sequence, because they consume one queue like processes of one service.
    signs_in(&deployment, &shop, python(), "+447707000001", Some(&key)).await;
    signs_in(&deployment, &shop, python(), "+447707000002", None).await;
    signs_in(&deployment, &shop, node(), "+447707000003", Some(&key)).await;
    signs_in(&deployment, &shop, node(), "+447707000004", None).await;
    assert_eq!(deployment.waiting("otpost.dead").await, 0);
    // Four sign-ins, each with one wrong and one right code.
    for act in ["verified", "not_verified"] {
        let counted = format!("otpost_acts_total{{act=\"{act}\",result=\"nothing\"}} 4");
        let is_counted =
            async || deployment.get(&format!("http://{}/metrics", app.ops)).await.1.contains(&counted);
        wait::until(&counted, is_counted).await;
    }
    app.stop().await;
}
