//! A shell script as a producer, and the life cycle of API keys: the commands against the real broker and the
//! real ledger.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use otpost::app::Roles;
use serde_json::{Value, json};
use support::deployment::{Deployment, job};

/// Runs otpost with this standard input. Returns its exit code, standard output and standard error.
fn otpost(args: &[&str], config: &Path, input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_otpost"))
        .args(args)
        .env("OTPOST_CONFIG", config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may have exited by then.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// As in `otpost contracts openapi | head -1`.
///
/// Fails if a command panics when nobody reads its output any more.
#[test]
fn a_command_whose_reader_has_gone_ends_quietly() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otpost"));
    command.args(["contracts", "openapi"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert_eq!((out.status.code(), told.as_ref()), (Some(141), ""), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_seals_and_publishes_jobs_and_acts() {
    let deployment = Deployment::build(std::time::Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    config.dispatch.require_sealed = true;
    let senders = [(otpost::domain::channel::Channel::Sms, "+15005550099".to_owned())].into();
    let mut shop = otpost::config::TenantConfig::default();
    shop.senders.insert("c1".to_owned(), senders);
    config.tenants.insert("default".to_owned(), shop);
    let app = deployment.start(config, Roles::ALL).await;
    let file = deployment.config_file("shell");

    // `publish` seals the job with the configuration's root.
    let to = "+447706000001";
    let j = job(to, json!({}));
    let (code, printed, _) = otpost(&["publish", "--seal"], &file, &j.to_string());
    assert_eq!((code, printed.as_str()), (0, j["id"].as_str().unwrap()));
    deployment.until_state(printed.parse().unwrap(), "delivered").await;
    assert_eq!(
        deployment.record("accepted", Some(to)).await[0]["from"],
        "+15005550099",
        "the sender of the tenant"
    );

    // The job is sealed with only the tenant's key, and published unchanged.
    let to = "+447706000002";
    let j = job(to, json!({"tags": {"a": "b"}}));
    let (code, key, _) = otpost(&["keys", "tenant"], &file, "");
    assert_eq!(code, 0);
    let (code, sealed, _) = otpost(&["seal", "--tenant-key", &key], Path::new("/nowhere"), &j.to_string());
    let shown: Value = serde_json::from_str(&sealed).unwrap();
    assert!(
        code == 0 && shown["sealed"].is_string() && shown["to"].is_null() && shown["code"].is_null(),
        "{sealed}"
    );
    assert!(!sealed.contains("481516") && !sealed.contains("7706000002"), "{sealed}");
    deployment.script(to, json!([{"outcome": "throttle", "retry_after_s": 600}])).await;
    let (code, id, printed) = otpost(&["publish"], &file, &sealed);
    assert_eq!(code, 0, "{printed}");
    let act = json!({"id": id}).to_string();
    assert_eq!(otpost(&["publish", "--routing-key", "cancel"], &file, &act).0, 0);
    deployment.until_state(id.parse().unwrap(), "cancelled").await;

    // A notice has no code to seal.
    let to = "+447706000004";
    let mut j = job(to, json!({"template": "two_step_notice"}));
    j.as_object_mut().unwrap().remove("code");
    let (code, id, printed) = otpost(&["publish", "--seal"], &file, &j.to_string());
    assert_eq!(code, 0, "{printed}");
    deployment.until_state(id.parse().unwrap(), "delivered").await;
    let mut codeless = j.clone();
    codeless["template"] = Value::Null;

    // A job that cannot be published gives an error with the reason.
    for (args, input, expected) in [
        (&["publish"][..], "{", "is not a JSON object"),
        (&["publish", "--routing-key", "feedback"], &act, "verified: is missing"),
        (&["seal"], "{\"id\": \"x\"}", "id is missing or invalid"),
        (&["seal"], &codeless.to_string(), "it needs `to` and `code`"),
        (&["publish"], &codeless.to_string(), "code: is missing"),
        (&["seal", "--tenant-key", "t1.abc"], &j.to_string(), "64 hexadecimal digits"),
        (
            &["publish", "--amqp-url", "amqp://guest:guest@127.0.0.1:1/%2f"],
            &sealed,
            "RabbitMQ cannot be reached",
        ),
    ] {
        let (code, _, printed) = otpost(args, &file, input);
        assert!(code != 0 && printed.contains(expected), "{args:?}: {code} {printed}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_created_listed_and_revoked() {
    let deployment = Deployment::build(std::time::Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let file = deployment.config_file("keys");
    let (code, key, _) = otpost(&["keys", "create", "--scope", "read"], &file, "");
    assert_eq!(code, 0);
    let id = key.split('_').nth(1).unwrap();
    let (code, list, _) = otpost(&["keys", "list", "--json"], &file, "");
    let list: Value = serde_json::from_str(&list).unwrap();
    let ours = list.as_array().unwrap().iter().find(|k| k["id"] == id).unwrap();
    assert_eq!((code, &ours["scopes"], &ours["revoked_at"]), (0, &json!("read"), &Value::Null));
    assert!(!list.to_string().contains(&key), "a key is shown once");
    // An operator's key belongs to no tenant, and has no other scope.
    let (code, _, errors) = otpost(&["keys", "create", "--all-tenants"], &file, "");
    assert_eq!(code, 0, "{errors}");
    let (code, list, _) = otpost(&["keys", "list"], &file, "");
    assert!(code == 0 && list.contains("  (all tenants)    admin "), "{list}");
    for (args, why) in [
        (&["--all-tenants", "--scope", "read"][..], "has only the scope admin"),
        (&["--all-tenants", "--tenant", "shop"], "cannot be used with"),
        (&["--tenant", "*"], "has no section [tenants.*]"),
    ] {
        let (code, _, errors) = otpost(&[&["keys", "create"], args].concat(), &file, "");
        assert!(code == 2 && errors.contains(why), "{args:?}: {code} {errors}");
    }
    let (code, printed, _) = otpost(&["keys", "revoke", &key], &file, "");
    assert_eq!((code, printed.as_str()), (0, "The key is revoked."));
    let (code, _, printed) = otpost(&["keys", "revoke", id], &file, "");
    assert!(code == 1 && printed.contains("otpost keys list"), "{printed}");
    assert!(otpost(&["keys", "list"], &file, "").1.contains("revoked 2"));
    let body = job("+447706000003", json!({})).to_string().into_bytes();
    let (status, problem) = deployment.post_bytes(&app.api.unwrap().to_string(), &key, body).await;
    assert!(status == 401 && problem["detail"].as_str().unwrap().contains("revoked"), "{problem}");
    let (code, secret, _) = otpost(&["keys", "webhook"], &file, "");
    assert!(code == 0 && secret.starts_with("whsec_"), "{secret}");
    app.stop().await;
}
