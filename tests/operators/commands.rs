//! The commands of operators against a running otpost.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::office::{Office, id};
use crate::support::world::Backend;

struct Shell {
    url: String,
    key: String,
}

impl Shell {
    /// Runs a command. Returns its exit code, standard output and standard error.
    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_otpost"));
        command.args(args).env("OTPOST_URL", &self.url).env("OTPOST_KEY", &self.key).stdin(Stdio::null());
        let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
        (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
    }

    /// The same, and it must succeed. Returns its standard output.
    async fn done(&self, args: &[&str]) -> String {
        let (code, output, errors) = self.run(args).await;
        assert_eq!(code, 0, "{args:?}: {output} {errors}");
        output
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_works_in_a_shell() {
    let office = Office::open(Backend::Sqlite).await;
    let shell =
        Shell { url: format!("http://{}", office.app.api.unwrap()), key: office.operator_key.clone() };
    let to = "+447709001101";
    let (_, sent) = office.post(to).await;
    office.until_state(id(&sent), "delivered").await;
    let sent = id(&sent).to_string();

    // Carriers.
    let table = shell.done(&["carrier", "list"]).await;
    assert!(
        table.starts_with("CARRIER") && table.contains("c1       twilio   sms,voice  100     in use"),
        "{table}"
    );
    assert!(!table.contains('\x1b'), "no colours in a pipe");
    let said = shell.done(&["carrier", "pause", "c1", "--reason", "no receipts", "--for", "2h"]).await;
    assert_eq!(said, "The carrier is paused; within 2 s no worker sends to it.");
    let table = shell.done(&["carrier", "list"]).await;
    assert!(table.contains("paused until ") && table.contains(": no receipts (by key "), "{table}");
    let json: Value = serde_json::from_str(&shell.done(&["carrier", "list", "--json"]).await).unwrap();
    assert_eq!(json["carriers"][0]["pause"]["reason"], "no receipts");
    assert_eq!(shell.done(&["carrier", "resume", "c1"]).await, "The carrier is used again within 2 s.");
    assert_eq!(shell.done(&["carrier", "resume", "c1"]).await, "The carrier was not paused.");
    shell.done(&["carrier", "probe", "c1", "--reason", "fixed"]).await;

    // Blocks.
    shell.done(&["block", "add", "+447709001199", "--reason", "fraud"]).await;
    shell.done(&["block", "add", "--prefix", "+4479", "--reason", "fraud", "--for", "1d"]).await;
    let table = shell.done(&["block", "list"]).await;
    assert!(table.contains("prefix  +4479") && table.contains("number  +44••••••••99"), "{table}");
    shell.done(&["block", "remove", "--prefix", "+4479"]).await;
    shell.done(&["block", "remove", "+447709001199"]).await;
    assert_eq!(shell.done(&["block", "list"]).await, "Nothing is blocked by an operator.");

    // Dispatches.
    for args in [&["dispatch", "list"][..], &["dispatch", "list", "--number", to, "--since", "1h"]] {
        let table = shell.done(args).await;
        assert!(
            table.contains(&sent) && table.contains("+44••••••••01") && table.contains("delivered"),
            "{table}"
        );
    }
    let shown = shell.done(&["dispatch", "show", &sent]).await;
    assert!(shown.contains("receipt: delivered") && shown.contains("tenant     default"), "{shown}");
    let (code, _, errors) = shell.run(&["dispatch", "retry", &sent]).await;
    assert!(code == 1 && errors.contains("409: the dispatch has ended and its code is deleted"), "{errors}");
    let nobody = uuid::Uuid::new_v4().to_string();
    let (code, _, errors) = shell.run(&["dispatch", "cancel", &nobody]).await;
    assert!(code == 1 && errors.contains("no tenant has a dispatch with this id"), "{errors}");

    // Quotas, erasure, audit.
    let table = shell.done(&["quota", "show", to, "--tenant", "default"]).await;
    assert!(table.starts_with("+44••••••••01") && table.contains("1 of "), "{table}");
    shell.done(&["quota", "reset", to]).await;
    let said = shell.done(&["erase", to, "--reason", "a request"]).await;
    assert!(said.contains("1 dispatches were deleted"), "{said}");
    let json: Value = serde_json::from_str(&shell.done(&["erase", to, "--json"]).await).unwrap();
    assert_eq!(json, json!({"deleted": 0, "cancelled": 0}));
    let table = shell.done(&["audit", "--since", "1h"]).await;
    for act in ["carrier_pause", "carrier_probe", "block_add", "block_remove", "quota_reset", "erase"] {
        assert!(table.contains(act), "{act}: {table}");
    }
    assert!(!table.contains("7709001"), "{table}");

    // The settings in force and those of a file.
    let base = office.deployment.config_text(&["c1"], "http://127.0.0.1:0", "info");
    let file = office.deployment.write_config("other", &format!("{base}[limits]\nnumber = [\"1/10m\"]\n"));
    let diff = shell.done(&["config", "diff", "--config", file.to_str().unwrap()]).await;
    let limits =
        "limits.number  changes with a reload\n  running  [\"5/10m\", \"10/1d\"]\n  file     [\"1/10m\"]";
    assert!(
        diff.contains(limits) && diff.contains("ledger.url  needs a restart\n  running  secret "),
        "{diff}"
    );
    assert!(!diff.contains("postgres://") && !diff.contains("sqlite:"), "{diff}");
    assert_eq!(diff.matches("running").count(), 2, "{diff}");
    let json = shell.done(&["config", "diff", "--json", "--config", file.to_str().unwrap()]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["key"], &json[0]["needs_restart"]), (&json!("ledger.url"), &json!(true)), "{json}");

    // Errors say what to do.
    for (args, code, why) in [
        (&["carrier", "pause", "none", "--reason", "x"][..], 1, "otpost carrier list"),
        (&["carrier", "pause", "c1"], 2, "--reason"),
        (&["carrier", "pause", "a/b", "--reason", "x"], 2, "otpost carrier list"),
        (&["block", "add", "--reason", "x"], 2, "required"),
        (&["block", "add", "+447709001199", "--country", "GB", "--reason", "x"], 2, "cannot be used with"),
        (&["block", "add", "--country", "GB", "--reason", "x", "--for", "2"], 2, "such as 2h"),
        (&["quota", "show", "07709001199"], 1, "must be E.164"),
        (&["dispatch", "list", "--state", "x"], 2, "[possible values: queued, sending, sent, delivered,"),
        (&["dead", "list"], 2, "--config FILE"),
        (&["config", "diff"], 2, "--config FILE"),
    ] {
        let (got, _, errors) = shell.run(args).await;
        assert!(got == code && errors.contains(why), "{args:?}: {got} {errors}");
    }
    let tenant = Shell { key: office.tenant_key.clone(), ..shell };
    let (code, _, errors) = tenant.run(&["carrier", "list"]).await;
    assert!(code == 1 && errors.contains("otpost keys create --all-tenants --scope admin"), "{errors}");
    office.app.stop().await;
}

/// Fails if the list, the status or an answer does not say that the pause is for one country.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_pauses_a_carrier_in_one_country() {
    let office = Office::open(Backend::Sqlite).await;
    let shell =
        Shell { url: format!("http://{}", office.app.api.unwrap()), key: office.operator_key.clone() };
    let said = shell.done(&["carrier", "pause", "c1", "--country", "id", "--reason", "loses texts"]).await;
    assert_eq!(said, "The carrier is paused in this country; within 2 s it gets no message for it.");
    let table = shell.done(&["carrier", "list"]).await;
    let state = "in use; paused in ID until it is resumed: loses texts (by key ";
    assert!(table.contains(state), "{table}");
    let status = shell.done(&["status"]).await;
    assert!(status.contains("Paused: c1 in ID, \"loses texts\", until it is resumed"), "{status}");
    let resume = async |country| shell.done(&["carrier", "resume", "c1", "--country", country]).await;
    let said = "The carrier had no pause for this country alone; see: otpost carrier list";
    assert_eq!(resume("FR").await, said);
    assert_eq!(resume("ID").await, "The carrier's pause in this country ends within 2 s.");
    shell
        .done(&["carrier", "pause", "c1", "--country", "ID", "--reason", "loses texts", "--for", "2h"])
        .await;
    assert_eq!(shell.done(&["carrier", "resume", "c1"]).await, "The carrier is used again within 2 s.");
    let table = shell.done(&["carrier", "list"]).await;
    assert!(table.contains("in use") && !table.contains("paused"), "{table}");
    for (args, why) in [
        (&["carrier", "pause", "c1", "--country", "XX", "--reason", "x"][..], "as its ISO 3166 code"),
        (&["carrier", "resume", "c1", "--country", "UK"], "the United Kingdom is GB"),
    ] {
        let (code, _, errors) = shell.run(args).await;
        assert!(code == 1 && errors.contains(why), "{args:?}: {code} {errors}");
    }
    office.app.stop().await;
}
