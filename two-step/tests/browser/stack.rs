//! The demo as a process with its own servers, for one test.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Time-out of a scenario.
const WALK: Duration = Duration::from_secs(150);
/// Time for the demo to stop by itself.
const STOP: Duration = Duration::from_secs(10);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"))
}

fn rabbitmqctl(arguments: &[&str]) -> bool {
    let done =
        Command::new(variable("OTPOST_TEST_RABBITMQCTL")).args(arguments).stdout(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

/// A running demo.
pub(crate) struct Stack {
    pub(crate) demo: Child,
    /// The JSON that the demo printed: its URLs and a bearer key.
    pub(crate) urls: String,
    vhost: String,
}

impl Drop for Stack {
    /// The demo deletes its folder when it is asked to stop.
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.demo.id().to_string()).status();
        let until = Instant::now() + STOP;
        while asked.is_ok() && matches!(self.demo.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.demo.kill();
        let _ = self.demo.wait();
        let _ = rabbitmqctl(&["delete_vhost", &self.vhost]);
    }
}

impl Stack {
    /// Starts a demo with fresh schemas, its own virtual host, and further options.
    pub(crate) async fn start(options: &[String]) -> Self {
        let id = Uuid::new_v4().simple();
        let vhost = format!("browser-{id}");
        for arguments in
            [vec!["add_vhost", &vhost], vec!["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"]]
        {
            assert!(rabbitmqctl(&arguments), "rabbitmqctl {arguments:?}");
        }
        let amqp = variable("OTPOST_TEST_AMQP_URL");
        let broker = format!("{}/{vhost}", amqp.rsplit_once('/').expect("the URL ends with a vhost").0);
        let (database, ledger) = (schema(&format!("b_{id}")).await, schema(&format!("o_{id}")).await);
        let mut demo = Command::new(env!("CARGO_BIN_EXE_two-step"))
            .args(["demo", "--json", "--port", "0", "--gap", "1"])
            .args(["--database", &database, "--ledger", &ledger, "--broker", &broker])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let mut urls = String::new();
        let read = BufReader::new(demo.stdout.take().expect("its output is piped")).read_line(&mut urls);
        assert!(read.is_ok_and(|bytes| bytes > 0), "the demo ended before it printed its URLs");
        Self { demo, urls, vhost }
    }

    /// Runs a scenario, a path below `tests/`. Fails with its output.
    pub(crate) fn run_scenario(&self, scenario: &str, variables: &[(&str, String)]) {
        let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
        let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("two-step-pages");
        std::fs::create_dir_all(&kept).expect("a folder for screenshots");
        let mut node = Command::new("node")
            .arg(tests.join(format!("{scenario}.cjs")))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("STACK", &self.urls)
            .env("SHOTS", kept)
            .env("NODE_PATH", format!("{}/node_modules", variable("TWO_STEP_TEST_NODE")))
            .spawn()
            .expect("node runs");
        let until = Instant::now() + WALK;
        let status = loop {
            match node.try_wait().expect("node can be waited for") {
                Some(status) => break status,
                None if Instant::now() > until => {
                    let _ = node.kill();
                    panic!("{scenario} did not end in time");
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        assert!(status.success(), "{scenario}: see its output");
    }
}

/// Creates a schema and returns its URL.
async fn schema(name: &str) -> String {
    let url = variable("OTPOST_TEST_DATABASE_URL");
    let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client.batch_execute(&format!("create schema {name}")).await.expect("a fresh schema");
    format!("{url}?options=-csearch_path%3D{name}")
}
