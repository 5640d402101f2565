//! The demo prints the variables for an external back end.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running demo. It ends with the test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_demo_prints_what_a_back_end_needs() {
    let return_url = "http://127.0.0.1:5000/2fa";
    let mut command = Command::new(env!("CARGO_BIN_EXE_two-step"));
    command.args(["demo", "--port", "0", "--return-url", return_url]).stdout(Stdio::piped());
    let mut demo = Demo(command.spawn().unwrap());
    // The demo exits if its output is not read.
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let exports = lines.by_ref().filter_map(|l| l.trim().strip_prefix("export ").map(str::to_owned));
    let exports: Vec<String> = exports.take(3).collect();
    let value = |name: &str| {
        let found = exports.iter().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{name} is not among {exports:?}")).to_owned()
    };
    #[expect(clippy::disallowed_methods, reason = "connects to a process of this test")]
    let client = reqwest::Client::new();
    let wanted = serde_json::json!({
        "user": "u-1", "purpose": "settings", "return_url": return_url, "password_at": two_step::clock::machine_now(),
    });
    let opening = client.post(format!("{}/v1/sessions", value("TWO_STEP_API"))).json(&wanted);
    let opened = opening.bearer_auth(value("TWO_STEP_KEY")).send().await.unwrap();
    assert_eq!(opened.status(), 201);
    let opened: serde_json::Value = opened.json().await.unwrap();
    assert!(opened["url"].as_str().unwrap().starts_with(&format!("{}/s/", value("TWO_STEP_URL"))));
}
