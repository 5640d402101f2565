//! Everything on one machine: `otpost dev`, and the commands that find it automatically.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::deployment::process::Process;
use support::wait;
use support::world::TempDir;
use uuid::Uuid;

/// A command of a user without a configuration, whose state is in this folder.
fn otpost(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otpost"));
    for name in ["OTPOST_CONFIG", "OTPOST_URL", "OTPOST_KEY"] {
        command.env_remove(name);
    }
    command.args(args).env("XDG_STATE_HOME", home).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command with this standard input. Returns its exit code, standard output and standard error.
fn run(home: &Path, args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = otpost(home, args).stdin(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may have exited by then.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// Starts `otpost dev` on free ports. Returns its JSON output.
fn dev(home: &Path, more: &[&str]) -> (Process, Value) {
    let args = [&["dev", "--json", "--port", "0", "--gateway-port", "0", "--ops-port", "0"], more].concat();
    let mut process =
        Process(otpost(home, &args).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let status = serde_json::from_str(&line).unwrap_or_else(|e| panic!("it does not run: {e} {line}"));
    (process, status)
}

/// Returns the messages that reached a phone.
async fn on_the_phone(dev: &Value, to: &str) -> Vec<Value> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (phones, to) = (dev["phones"].as_str().unwrap(), to.trim_start_matches('+'));
    let page = http.get(format!("{phones}/api/accepted?after=0&limit=100&to={to}")).send().await.unwrap();
    page.json::<Value>().await.unwrap()["entries"].as_array().unwrap().clone()
}

/// Fails if the second process replaces the state file of the first, which is then not found any more.
async fn a_second_one_is_used_while_it_runs(home: &Path, id: &str) {
    let other = home.join("other");
    let (mut second, _) = dev(home, &["--data", other.to_str().unwrap()]);
    let (code, _, errors) = run(home, &["show", id], "");
    assert!(code == 1 && errors.starts_with("otpost: 404: "), "the second one does not know it: {errors}");
    second.signal("TERM");
    let ended = wait::within(Duration::from_secs(20), async || second.0.try_wait().unwrap()).await;
    assert_eq!(ended.expect("it ends").code(), Some(0));
    assert_eq!(run(home, &["show", id], "").0, 0);
    // One that was killed leaves its file, which is not used.
    let (mut killed, _) = dev(home, &["--data", other.to_str().unwrap()]);
    killed.signal("KILL");
    killed.0.wait().unwrap();
    assert_eq!(run(home, &["show", id], "").0, 0);
}

fn files_are_private(home: &Path, state: &Path) {
    let files = ["root", "key", "operator-key", "dev.db"].map(|file| home.join("otpost").join(file));
    for secret in files.iter().map(PathBuf::as_path).chain([state]) {
        let mode = std::fs::metadata(secret).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{} is readable only for its user", secret.display());
    }
}

/// They find it also beside an exported key of the tenant.
fn commands_of_operators_find_their_key(home: &Path, tenant_key: &str) {
    let (code, table, errors) = run(home, &["carrier", "list"], "");
    assert!(code == 0 && table.contains("mock"), "{code} {errors}");
    for args in [&["carrier", "list", "--key", tenant_key][..], &["status"], &["status", "--json"]] {
        let (code, _, errors) = run(home, args, "");
        assert_eq!(code, 0, "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_are_sent_and_shown_on_one_machine() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let home = TempDir::new();
    let home = home.0.as_path();
    let (code, _, errors) = run(home, &["send", "+447707000001"], "");
    assert!(code == 2 && errors.contains("no running otpost dev was found: start one"), "{code} {errors}");
    for (args, why) in [
        (&["--key", "otp_x"][..], "no running otpost dev was found"),
        (&["--url", "http://127.0.0.1:9"], "a URL needs a key"),
        (&["--url", "127.0.0.1:9", "--key", "otp_x"], "--url must begin with http://"),
        (&["--url", "http://127.0.0.1:9?x=1", "--key", "otp_x"], "--url has a query"),
    ] {
        let (code, _, errors) = run(home, &[&["send", "+447707000001"], args].concat(), "");
        assert!(code == 2 && errors.contains(why), "{code} {errors}");
    }
    let (mut process, dev_said) = dev(home, &[]);
    let port = dev_said["api"].as_str().unwrap().rsplit(':').next().unwrap();
    let state = home.join(format!("otpost/dev-{port}.json"));
    files_are_private(home, &state);

    // A sample text, with progress messages.
    let to = "+447707000001";
    let (code, output, errors) = run(home, &["send", to], "");
    assert!(code == 0 && output.contains("delivered"), "{code} {output} {errors}");
    let sample = errors.split("A sample code: ").nth(1).unwrap()[..6].to_owned();
    assert!(
        errors.contains("; waiting until "),
        "the message names the receipt and the time limit: {errors}"
    );
    assert!(
        errors.ends_with("\ndelivered: sms at mock accepted and delivered"),
        "each state is printed: {errors}"
    );
    let texts = on_the_phone(&dev_said, to).await;
    assert_eq!(texts.len(), 1);
    assert!(texts[0]["body"].as_str().unwrap().contains(&sample), "{sample} is in {}", texts[0]);

    // With a given code, the code reaches the phone and is not printed.
    let (to, own) = ("+447707000002", "730914");
    let (code, output, errors) = run(home, &["send", to, "--code", "--json"], &format!("{own}\n"));
    assert_eq!((code, errors.as_str()), (0, ""));
    let timeline: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&timeline["state"], &timeline["final"]), (&"delivered".into(), &true.into()), "{output}");
    assert!(!output.contains(own) && !output.contains("7707000002"), "{output}");
    let texts = on_the_phone(&dev_said, to).await;
    assert_eq!(texts.len(), 1);
    assert!(texts[0]["body"].as_str().unwrap().contains(own), "{own} is in {}", texts[0]);

    commands_of_operators_find_their_key(home, dev_said["key"].as_str().unwrap());

    // The timeline in both forms, and an error for an unknown id.
    let id = timeline["id"].as_str().unwrap();
    let (code, shown, _) = run(home, &["show", id, "--json"], "");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &shown), (0, &timeline));
    let (code, shown, _) = run(home, &["show", id], "");
    assert!(code == 0 && shown.contains(id) && shown.contains("receipt: delivered"), "{shown}");
    assert!(!shown.contains(own) && !shown.contains("7707000002"), "{shown}");
    let (code, _, errors) = run(home, &["show", &Uuid::new_v4().to_string()], "");
    assert!(code == 1 && errors.starts_with("otpost: 404: "), "{code} {errors}");

    // Failed and refused dispatches give exit code 1.
    let (code, output, _) = run(home, &["send", "+447707000012", "--json", "--channel", "fax"], "");
    assert_eq!((code, output.as_str()), (2, ""));
    let (code, _, errors) = run(home, &["send", "07707000013"], "");
    assert!(code == 1 && errors.contains("422: "), "{code} {errors}");
    // These last four digits belong to a landline.
    let (code, output, _) = run(home, &["send", "+447707000111", "--json"], "");
    let timeline: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, &timeline["state"]), (1, &"failed".into()), "{output}");

    // The output names a language without a template. A 0 after the country code gets a hint.
    let (code, shown, _) = run(home, &["send", "+447707000021", "--locale", "dee"], "");
    assert!(code == 0 && shown.contains("en: there is no template in dee"), "{code} {shown}");
    let (code, _, errors) = run(home, &["send", "+4407707000022"], "");
    assert!(code == 1 && errors.contains("leave out the 0 after the country code"), "{code} {errors}");
    // The timeline keeps a bad receipt that a later one corrects.
    let both = ["send", "+447707000118", "--channel", "sms", "--channel", "voice"];
    let (code, shown, _) = run(home, &both, "");
    let corrected = "receipt: undelivered (unreachable), carrier's code 30003; corrected by a later one";
    assert!(code == 0 && shown.contains(corrected), "{code} {shown}");

    // A key is created while the server runs.
    let config = home.join("beside.toml");
    let db = home.join("otpost/dev.db");
    std::fs::write(&config, format!("[ledger]\nurl = \"sqlite:{}\"\n", db.display())).unwrap();
    let config = config.to_str().unwrap();
    let (code, key, errors) = run(home, &["keys", "create", "--scope", "read", "--config", config], "");
    assert_eq!(code, 0, "{errors}");
    let url = dev_said["api"].as_str().unwrap();
    let url = if url.starts_with("http") { url.to_owned() } else { format!("http://{url}") };
    let (code, _, errors) = run(home, &["show", id, "--url", &url, "--key", &key], "");
    assert_eq!(code, 0, "{errors}");

    // Another process on the same folder is refused, and the first one continues.
    let before = std::fs::read(&state).unwrap();
    let (code, _, errors) = run(home, &["dev", "--port", "0", "--gateway-port", "0"], "");
    assert!(code == 1 && errors.contains("is in use by another otpost; stop that one"), "{code} {errors}");
    let port = dev_said["phones"].as_str().unwrap().rsplit_once(':').unwrap().1;
    let (code, _, errors) = run(home, &["dev", "--port", "0", "--gateway-port", port], "");
    assert!(code == 1 && errors.contains("choose another with --gateway-port"), "{code} {errors}");
    assert_eq!(std::fs::read(&state).unwrap(), before);
    assert_eq!(run(home, &["show", id], "").0, 0);

    a_second_one_is_used_while_it_runs(home, id).await;

    // After SIGTERM it exits with 0, and its state file is deleted.
    process.signal("TERM");
    let ended = wait::within(Duration::from_secs(20), async || process.0.try_wait().unwrap()).await;
    assert_eq!(ended.expect("it ends").code(), Some(0));
    assert!(!state.exists());
    assert_eq!(run(home, &["show", id], "").0, 2);

    // The next process has the earlier dispatches and the same key.
    let (_process, again) = dev(home, &[]);
    assert_eq!((&again["key"], &again["operator_key"]), (&dev_said["key"], &dev_said["operator_key"]));
    let (code, shown, _) = run(home, &["show", id, "--json"], "");
    assert_eq!(
        (code, serde_json::from_str::<Value>(&shown).unwrap()["state"].as_str()),
        (0, Some("delivered"))
    );
}
