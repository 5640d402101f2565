//! `otpost doctor` against a running deployment: each check passes, and each fault is named with its remedy.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lapin::options::QueueDeleteOptions;
use otpost::app::{App, Roles};
use serde_json::Value;
use support::deployment::{Deployment, amqp};
use support::wait;

/// Runs the command. Returns its exit code and what it found: each check with its problem.
async fn doctor(file: &Path) -> (i32, Vec<(String, Option<String>)>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otpost"));
    command.args(["doctor", "--json", "--config"]).arg(file).stdin(Stdio::null());
    let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let printed: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let checks = printed["checks"].as_array().unwrap().iter();
    let found: Vec<_> =
        checks.map(|check| (text(&check["what"]).unwrap(), text(&check["problem"]))).collect();
    assert_eq!(printed["ok"] == true, found.iter().all(|(_, problem)| problem.is_none()));
    (out.status.code().unwrap(), found)
}

struct Site {
    deployment: Deployment,
    app: App,
    text: String,
}

impl Site {
    async fn start() -> Self {
        let deployment = Deployment::build(Duration::from_millis(20)).await;
        let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
        let text = deployment.config_text(&["c1"], &format!("http://{}", app.receipts.unwrap()), "info");
        let site = Self { deployment, app, text };
        let reported = async || !site.app.ledger.process_reports().await.unwrap().is_empty();
        wait::until("the process has reported", reported).await;
        site
    }

    /// Returns the problems that the command finds in a changed configuration.
    async fn problems(&self, from: &str, to: &str) -> Vec<(String, String)> {
        assert!(self.text.contains(from), "{from} is in the configuration");
        let file = self.deployment.write_config("doctor", &self.text.replace(from, to));
        let (code, found) = doctor(&file).await;
        let wrong: Vec<_> = found.into_iter().filter_map(|(what, problem)| Some((what, problem?))).collect();
        assert_eq!(code, i32::from(!wrong.is_empty()), "{wrong:?}");
        wrong
    }
}

/// Fails if `config check --connect` does not look at each server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_check_connects_to_each_server() {
    let site = Site::start().await;
    let (broker, database) =
        (site.deployment.broker().to_string(), site.deployment.database().await.to_string());
    let gateway = site.deployment.gateway.addr().to_string();
    for (from, problem) in [
        ("", ""),
        (broker.as_str(), "broker: "),
        (database.as_str(), "ledger: "),
        (gateway.as_str(), "carrier c1: "),
    ] {
        let nobody = support::ports::reserve().to_string();
        let text = if from.is_empty() { site.text.clone() } else { site.text.replace(from, &nobody) };
        assert_eq!(text == site.text, from.is_empty());
        let file = site.deployment.write_config("check", &text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_otpost"));
        command.args(["config", "check", "--connect", "--config"]).arg(&file).stdin(Stdio::null());
        let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let printed = String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(i32::from(!problem.is_empty())), "{printed}");
        for server in ["broker: ", "ledger: ", "carrier c1: "] {
            let line = printed.lines().find_map(|line| line.strip_prefix(server)).unwrap_or_default();
            assert_eq!(line == "ok", server != problem, "{server}{line}");
            assert!(!line.is_empty(), "{printed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_is_named_with_its_remedy() {
    let site = Site::start().await;
    let file = site.deployment.write_config("doctor", &site.text);
    let (code, found) = doctor(&file).await;
    assert_eq!(code, 0, "{found:?}");
    let checks: Vec<&str> = found.iter().map(|(what, _)| what.as_str()).collect();
    let callback = format!("receipts.public_url, http://{}, from this machine", site.app.receipts.unwrap());
    let expected = [
        "configuration",
        "ledger, its schema and rights",
        "clock of this machine",
        "running processes",
        "RabbitMQ, its exchanges and queues",
        "carrier c1, its address and credentials",
        &callback,
    ];
    assert_eq!(checks, expected);

    let gateway = format!("http://{}", site.deployment.gateway.addr());
    let ops = format!("http://{}", site.app.ops);
    let receipts = format!("http://{}", site.app.receipts.unwrap());
    let token = mock_gateway::Config::default().auth_token;
    for (from, to, check, remedy) in [
        (
            token.as_str(),
            "another",
            "carrier c1",
            "it refuses the credentials (401); check them in carriers.c1",
        ),
        (&gateway, &ops, "carrier c1", "does not come from the carrier's API; check carriers.c1.base_url"),
        (
            &gateway,
            "http://127.0.0.1:1",
            "carrier c1",
            "does not answer; check base_url, the network, proxy and ca_file",
        ),
        (&receipts, &ops, "receipts.public_url", "something else than otpost answers there"),
        (&receipts, "http://127.0.0.1:1", "receipts.public_url", "start a process with the role receipts"),
        ("from = \"+15005550006\"", "from = \"\"", "configuration", "from is empty"),
    ] {
        let wrong = site.problems(from, to).await;
        let is_named =
            |(what, problem): &(String, String)| what.starts_with(check) && problem.contains(remedy);
        assert!(wrong.len() == 1 && is_named(&wrong[0]), "{to} for {from}: {wrong:?}");
    }

    // A running worker would declare the queue again.
    site.app.stop().await;
    let connection = amqp(&site.deployment.amqp_url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.queue_delete("otpost.dead".into(), QueueDeleteOptions::default()).await.unwrap();
    let file = site.deployment.write_config("doctor", &site.text);
    let (_, found) = doctor(&file).await;
    let problem = |of: &str| found.iter().find(|(what, _)| what.starts_with(of)).unwrap().1.clone().unwrap();
    assert_eq!(problem("running processes"), "no worker runs; start one: otpost serve --roles worker");
    assert!(problem("RabbitMQ").contains("otpost.dead"), "{found:?}");
}
