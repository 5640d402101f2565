//! Tests the programs of `docs/two-step-integrate.md` with a browser, results with `PyJWT`, and codes with pyotp.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod codes;
mod demo;
mod docs;
mod results;
mod shop;
#[path = "../browser/stack.rs"]
mod stack;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"))
}

/// A file of the repository.
fn checkout(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

/// Runs a program of this folder with JSON as input, and returns its JSON output.
fn python(program: &str, asked: &Json) -> Json {
    let mut command = Command::new(variable("OTPOST_TEST_PYTHON"));
    command.arg("-B").arg(checkout("two-step/tests/integrations").join(program));
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
