//! A shell script as a producer, and keys over their life: the commands, against the real broker and the real ledger.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use otpost::app::Roles;
use serde_json::{Value, json};
use support::house::{House, job};

/// Runs otpost with this on its standard input; answers exit code, standard output and standard error.
fn otpost(args: &[&str], config: &Path, input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_otpost"))
        .args(args)
        .env("OTPOST_CONFIG", config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read it may be gone by then.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_seals_and_publishes_jobs_and_acts() {
    let house = House::build(std::time::Duration::from_millis(20)).await;
    let mut config = house.config(&["c1"]);
    config.dispatch.require_sealed = true;
    let senders = [(otpost::domain::channel::Channel::Sms, "+15005550099".to_owned())].into();
    let mut shop = otpost::config::TenantConfig::default();
    shop.senders.insert("c1".to_owned(), senders);
    config.tenants.insert("default".to_owned(), shop);
    let app = house.start(config, Roles::ALL).await;
    let file = house.config_file("shell");

    // Sealed with the configuration's root, by publish itself.
    let to = "+447706000001";
    let j = job(to, json!({}));
    let (code, said, _) = otpost(&["publish", "--seal"], &file, &j.to_string());
    assert_eq!((code, said.as_str()), (0, j["id"].as_str().unwrap()));
    house.until_state(said.parse().unwrap(), "delivered").await;
    assert_eq!(
        house.record("accepted", Some(to)).await[0]["from"],
        "+15005550099",
        "the tenant's own sender"
    );

    // Sealed with the tenant's key alone, and published as it came.
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
    house.script(to, json!([{"outcome": "throttle", "retry_after_s": 600}])).await;
    let (code, id, said) = otpost(&["publish"], &file, &sealed);
    assert_eq!(code, 0, "{said}");
    let act = json!({"id": id}).to_string();
    assert_eq!(otpost(&["publish", "--routing-key", "cancel"], &file, &act).0, 0);
    house.until_state(id.parse().unwrap(), "cancelled").await;

    // A notice has no code to be sealed.
    let to = "+447706000004";
    let mut j = job(to, json!({"template": "two_step_notice"}));
    j.as_object_mut().unwrap().remove("code");
    let (code, id, said) = otpost(&["publish", "--seal"], &file, &j.to_string());
    assert_eq!(code, 0, "{said}");
    house.until_state(id.parse().unwrap(), "delivered").await;
    let mut codeless = j.clone();
    codeless["template"] = Value::Null;

    // What cannot be published says why.
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
        let (code, _, said) = otpost(args, &file, input);
        assert!(code != 0 && said.contains(expected), "{args:?}: {code} {said}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_made_listed_and_revoked() {
    let house = House::build(std::time::Duration::from_millis(20)).await;
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    let file = house.config_file("keys");
    let (code, key, _) = otpost(&["keys", "create", "--scope", "read"], &file, "");
    assert_eq!(code, 0);
    let id = key.split('_').nth(1).unwrap();
    let (code, list, _) = otpost(&["keys", "list", "--json"], &file, "");
    let list: Value = serde_json::from_str(&list).unwrap();
    let ours = list.as_array().unwrap().iter().find(|k| k["id"] == id).unwrap();
    assert_eq!((code, &ours["scopes"], &ours["revoked_at"]), (0, &json!("read"), &Value::Null));
    assert!(!list.to_string().contains(&key), "a key is shown once");
    let (code, said, _) = otpost(&["keys", "revoke", &key], &file, "");
    assert_eq!((code, said.as_str()), (0, "The key is revoked."));
    let (code, _, said) = otpost(&["keys", "revoke", id], &file, "");
    assert!(code == 1 && said.contains("otpost keys list"), "{said}");
    assert!(otpost(&["keys", "list"], &file, "").1.contains("revoked 2"));
    let body = job("+447706000003", json!({})).to_string().into_bytes();
    let (status, problem) = house.post_bytes(&app.api.unwrap().to_string(), &key, body).await;
    assert!(status == 401 && problem["detail"].as_str().unwrap().contains("revoked"), "{problem}");
    let (code, secret, _) = otpost(&["keys", "webhook"], &file, "");
    assert!(code == 0 && secret.starts_with("whsec_"), "{secret}");
    app.stop().await;
}
