//! `docs/integrate.md`: its programs are what it shows, and they work against the real broker, in both languages.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use otpost::app::Roles;
use serde_json::json;
use support::house::House;
use support::house::process::Process;
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
fn the_page_shows_the_programs_that_are_run() {
    let page = std::fs::read_to_string(checkout("docs/integrate.md")).unwrap();
    assert!(
        page.contains(&format!("'{}'", PERMISSIONS.join("' '"))),
        "the permissions that the programs are given"
    );
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

/// A program that signs somebody in, and whoever types at it.
struct Terminal {
    program: Process,
    lines: watch::Receiver<Vec<String>>,
}

/// Configure, write, read: as the page has them.
const PERMISSIONS: [&str; 3] = ["^sign-in[.]", "^(otpost$|sign-in[.])", "^(otpost[.]events$|sign-in[.])"];

/// A broker user of the programs' own, with what the page says that it needs.
struct Shop(String);

impl Shop {
    fn new(house: &House) -> Self {
        let name = format!("shop-{}", uuid::Uuid::new_v4().simple());
        rabbitmqctl(&["add_user", &name, "secret"]);
        let vhost = house.amqp_url.rsplit_once('/').unwrap().1;
        rabbitmqctl(&["set_permissions", "-p", vhost, &name, PERMISSIONS[0], PERMISSIONS[1], PERMISSIONS[2]]);
        Self(name)
    }

    fn url(&self, house: &House) -> String {
        let (_, place) = house.amqp_url.split_once('@').unwrap();
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
        let said = BufReader::new(program.0.stdout.take().unwrap());
        let (adding, lines) = watch::channel(vec![]);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                adding.send_modify(|all| all.push(line.trim().to_owned()));
            }
        });
        Self { program, lines }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.program.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until these lines were said, in any order, since the last time; events may overtake the program's own words.
    async fn says(&mut self, expected: &[&str]) {
        let came = self.lines.wait_for(|all| all.len() >= expected.len());
        let came = tokio::time::timeout(Duration::from_secs(30), came).await.map(|all| all.is_ok());
        assert_eq!(came, Ok(true), "{:?}, not {expected:?}", self.lines.borrow());
        let mut said = self.lines.borrow().clone();
        said.sort();
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        expected.sort();
        assert_eq!(said, expected);
    }

    async fn ends_well(mut self) {
        let ended = wait::answer("it ends", async || self.program.0.try_wait().unwrap()).await;
        assert!(ended.success(), "{ended}");
    }
}

fn python() -> Command {
    let mut command = Command::new(variable("OTPOST_TEST_PYTHON"));
    command.arg(checkout("examples/python/sign_in.py"));
    command
}

/// The folder with the packages is not the checkout's.
fn node() -> Command {
    let program = PathBuf::from(variable("OTPOST_TEST_NODE")).join("sign_in.js");
    std::fs::copy(checkout("examples/node/sign_in.js"), &program).unwrap();
    let mut command = Command::new("node");
    command.arg(program);
    command
}

/// A text that says nothing of itself, a call instead, another text after the broker closed all connections, a wrong code,
/// a call of its own, the right code.
async fn signs_in(house: &House, shop: &Shop, mut command: Command, to: &str, tenant_key: Option<&str>) {
    house.script(to, json!(["silent", "deliver", "deliver", "deliver"])).await;
    match tenant_key {
        Some(key) => command.env("OTPOST_TENANT_KEY", key),
        None => command.env_remove("OTPOST_TENANT_KEY"),
    };
    command.arg(to);
    let mut terminal = Terminal::start(command, &shop.url(house));
    let mut said = vec!["Type the code, or: again, call", "otpost: sent sms"];
    terminal.says(&said).await;
    terminal.types("call");
    said.extend(["otpost: sent voice", "otpost: delivered voice"]);
    terminal.says(&said).await;
    rabbitmqctl(&["close_all_user_connections", &shop.0, "a test"]);
    terminal.types("again");
    said.extend(["otpost: sent sms", "otpost: delivered sms"]);
    terminal.says(&said).await;
    terminal.types("nonsense");
    said.push("That is not the code");
    terminal.says(&said).await;
    terminal.types("call");
    said.extend(["otpost: sent voice", "otpost: delivered voice"]);
    terminal.says(&said).await;
    // What the phone got: one code, whichever message brought it.
    let got = house.record("accepted", Some(to)).await;
    let channels: Vec<&str> = got.iter().map(|m| m["channel"].as_str().unwrap()).collect();
    assert_eq!(channels, ["sms", "voice", "sms", "voice"]);
    let code: String =
        got[0]["body"].as_str().unwrap().chars().filter(char::is_ascii_digit).take(6).collect();
    assert!(got[2]["body"].as_str().unwrap().contains(&code), "{got:?}");
    let spoken: Vec<String> = code.chars().map(String::from).collect();
    for call in [&got[1], &got[3]] {
        assert!(call["transcript"].as_str().unwrap().contains(&spoken.join(", ")), "{spoken:?} {call}");
    }
    terminal.types(&code);
    said.push("Signed in");
    terminal.says(&said).await;
    terminal.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_signs_in_with_python_and_with_node_plain_and_sealed() {
    let house = House::build(Duration::from_millis(20)).await;
    let mut config = house.config(&["c1"]);
    // The programs name the broker's user, and only with its name they are let in.
    let shop = Shop::new(&house);
    config.amqp.users.insert(shop.0.clone(), vec!["default".to_owned()]);
    let app = house.start(config, Roles::ALL).await;
    let key = house.root.tenant("default").to_text();
    // One after the other: they listen at one queue, as processes of one service do.
    signs_in(&house, &shop, python(), "+447707000001", Some(&key)).await;
    signs_in(&house, &shop, python(), "+447707000002", None).await;
    signs_in(&house, &shop, node(), "+447707000003", Some(&key)).await;
    signs_in(&house, &shop, node(), "+447707000004", None).await;
    assert_eq!(house.waiting("otpost.dead").await, 0);
    // Four sign-ins, in each one code that was wrong and one that was right.
    for act in ["verified", "not_verified"] {
        let counted = format!("otpost_acts_total{{act=\"{act}\",result=\"nothing\"}} 4");
        let heard = async || house.get(&format!("http://{}/metrics", app.ops)).await.1.contains(&counted);
        wait::until(&counted, heard).await;
    }
    app.stop().await;
}
