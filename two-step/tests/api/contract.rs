//! The committed contract is current and valid, and the server follows it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::server::Server;

/// Hooks with values that schemathesis cannot generate.
const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/schemathesis_hooks.py");

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/contracts/two-step.openapi.json")
}

fn python() -> String {
    std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test")
}

#[tokio::test]
async fn the_committed_contract_is_the_one_that_is_served() {
    let server = Server::start().await;
    let answer = server.send(None, &[], "GET", "/v1/openapi.json", String::new()).await;
    assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (200, "application/json"));
    let text = std::fs::read_to_string(committed()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), answer.body);
    let printed = Command::new(env!("CARGO_BIN_EXE_two-step")).arg("contracts").output().unwrap();
    assert_eq!(
        String::from_utf8(printed.stdout).unwrap(),
        text,
        "run: two-step contracts > {}",
        committed().display()
    );
}

#[test]
fn the_contract_is_openapi_3_1() {
    let program = "import json, sys\nfrom openapi_spec_validator import OpenAPIV31SpecValidator\n\
                   OpenAPIV31SpecValidator(json.load(open(sys.argv[1]))).validate()";
    let out = Command::new(python()).args(["-c", program, committed().to_str().unwrap()]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Runs for a limited time, on loopback only, with new random requests in each run. A failure shows the seed, and the
/// request as a curl command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_violation() {
    let server = Server::start().await;
    server.turn_on("u1", "07700 900123").await;
    let mut command = Command::new(python());
    command
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("http://{}/v1/openapi.json", server.address))
        .args(["--header", &format!("Authorization: Bearer {}", server.key)])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"])
        .args([
            "--checks",
            "response_schema_conformance,response_headers_conformance,negative_data_rejection",
        ])
        .args(["--phases", "examples,coverage,fuzzing", "--max-time", "20"])
        .args(["--generation-database", "none", "--request-timeout", "10"])
        .args(["--no-color", "--no-shrink", "--continue-on-failure"])
        .current_dir(std::env::temp_dir())
        .env("SCHEMATHESIS_HOOKS", HOOKS)
        .env("no_proxy", "*")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).replace(&server.key, "ts_…");
    println!("{said}");
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("23 selected / 23 total"), "all operations were called: {said}");
    let cases = said.lines().find_map(|line| line.trim().split_once(" generated, ")?.0.parse::<u32>().ok());
    assert!(cases.is_some_and(|n| n > 200), "too few requests: {cases:?}");
    let sql = "select count(*) from idempotency where answer_sealed is not null";
    let done = server.world.count(sql).await;
    assert!(done > 5, "only {done} requests with a key succeeded");
}
