//! Bad input gets a clear error that quotes no value. Other messages are not affected, and no message is
//! lost.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::process::Command;
use std::time::Duration;

use otpost::app::Roles;
use otpost::domain::attempt::{AttemptId, Reason, State};
use otpost::intake::envelope::Envelope;
use serde_json::{Value, json};
use support::deployment::requests::signature;
use support::deployment::{Deployment, in_seconds, job};
use support::wait;

fn with(mut j: Value, name: &str, value: Value) -> Value {
    j[name] = value;
    j
}

/// Asserts that a text contains no value of the bad jobs.
fn assert_quotes_nothing(text: &str) {
    for value in ["red", "48 15 16", "481516", "07700900123", "7702000001", "yesterday", "AAAA", "none"] {
        assert!(!text.contains(value), "{value} is quoted: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_jobs_are_refused_with_field_and_rule_and_valid_jobs_are_sent() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let to = "+447702000001";
    let unsealable =
        json!({"id": uuid::Uuid::new_v4(), "expires_at": in_seconds(100), "sealed": "v1.t1.AAAA"});
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (b"{\"id\": ".to_vec(), 400, "body"),
        (b"[]".to_vec(), 400, "body"),
        (vec![0xff, 0xfe, 0x00], 400, "body"),
        (with(job(to, json!({})), "colour", json!("red")).to_string().into_bytes(), 422, "colour"),
        (with(job(to, json!({})), "code", json!("48 15 16")).to_string().into_bytes(), 422, "code"),
        (job("07700900123", json!({})).to_string().into_bytes(), 422, "to"),
        (
            with(job(to, json!({})), "expires_at", json!("yesterday")).to_string().into_bytes(),
            422,
            "expires_at",
        ),
        (
            with(job(to, json!({})), "expires_at", in_seconds(7200)).to_string().into_bytes(),
            422,
            "expires_at",
        ),
        (with(job(to, json!({})), "tags", json!({"a": "b\u{0}"})).to_string().into_bytes(), 422, "tags"),
        (unsealable.to_string().into_bytes(), 422, "sealed"),
        (with(job(to, json!({})), "template", json!("none")).to_string().into_bytes(), 422, "template"),
    ];
    let api = app.api.unwrap().to_string();
    for (body, status, field) in &cases {
        let (got, problem) = deployment.post_bytes(&api, &deployment.key, body.clone()).await;
        assert_eq!((got, problem["field"].as_str()), (*status, Some(*field)), "{problem}");
        assert!(problem["rule"].as_str().is_some_and(|r| r.len() > 5), "{problem}");
        assert_quotes_nothing(&problem.to_string());
    }
    // The same jobs over AMQP, between valid jobs.
    let mut good = vec![];
    for (i, (body, _, field)) in cases.iter().enumerate() {
        good.push(deployment.publish(&job(&format!("+44770201{i:02}55"), json!({}))).await);
        deployment.publish_bytes("dispatch", body).await;
        let (dead, reason, _) = deployment.dead_letter().await;
        assert_eq!(dead, *field, "{reason}");
        assert_quotes_nothing(&reason);
    }
    for id in good {
        deployment.until_state(id, "delivered").await;
    }
    assert_eq!(
        (deployment.waiting("otpost.dispatch").await, deployment.waiting("otpost.dead").await),
        (0, 0)
    );

    // A body of 10 MB over HTTP and over AMQP.
    let huge = vec![b'x'; 10 * 1024 * 1024];
    let (status, problem) = deployment.post_bytes(&api, &deployment.key, huge.clone()).await;
    assert_eq!((status, problem["type"].as_str()), (413, Some("https://otpost.io/problems/too-large")));
    deployment.publish_bytes("dispatch", &huge).await;
    assert_eq!(deployment.dead_letter().await.0, "body");
    let after = deployment.publish(&job("+447702015599", json!({}))).await;
    deployment.until_state(after, "delivered").await;

    // Over HTTP a past expiry and an impossible number are error answers. Over AMQP they are final states.
    let past = with(job(to, json!({})), "expires_at", json!("2026-01-01T00:00:00Z"));
    assert_eq!(deployment.post(&app, &past).await.0, 422);
    let id = deployment.publish(&past).await;
    deployment.until_state(id, "expired").await;
    let impossible = job("+9991234567", json!({}));
    assert_eq!(deployment.post(&app, &impossible).await.0, 422);
    let id = deployment.publish(&impossible).await;
    deployment.until_state(id, "refused").await;
    deployment.until_events(id, &["refused 1"]).await;
    app.stop().await;
}

/// Valid seals of other jobs, and seals that were changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seal_is_accepted_only_unchanged_and_for_its_own_job() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let (to, id) = ("+447702000004", uuid::Uuid::new_v4());
    let at =
        |seconds| otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(seconds));
    let (expires_at, later) = (at(200), at(201));
    let secret = json!({"to": to, "code": "481516"}).to_string();
    let seal = |tenant, id, expires_at| deployment.keys.seal_job(tenant, id, expires_at, secret.as_bytes());
    let good = seal("default", id, expires_at);
    let changed = |at: usize| {
        let (head, text) = good.rsplit_once('.').unwrap();
        let mut bytes = BASE64.decode(text).unwrap();
        bytes[at] ^= 1;
        format!("{head}.{}", BASE64.encode(bytes))
    };
    for (what, sealed) in [
        ("for another expiry", seal("default", id, later)),
        ("for another id", seal("default", uuid::Uuid::new_v4(), expires_at)),
        ("for another tenant", seal("shop", id, expires_at)),
        ("a byte of the nonce changed", changed(0)),
        ("a byte of the text changed", changed(30)),
    ] {
        let body = json!({"id": id, "expires_at": expires_at, "sealed": sealed}).to_string();
        let assert_says_why = |field: &str, text: &str| {
            assert!(field == "sealed" && text.contains("does not open"), "{what}: {field} {text}");
            assert_quotes_nothing(text);
            let own = [&sealed[6..20], to, &id.to_string(), &expires_at.to_string()];
            assert!(own.iter().all(|value| !text.contains(*value)), "{what} is quoted: {text}");
        };
        let (status, problem) = deployment
            .post_bytes(&app.api.unwrap().to_string(), &deployment.key, body.clone().into_bytes())
            .await;
        assert_eq!(status, 422, "{what}: {problem}");
        assert_says_why(problem["field"].as_str().unwrap(), &problem.to_string());
        deployment.publish_bytes("dispatch", body.as_bytes()).await;
        let (field, reason, _) = deployment.dead_letter().await;
        assert_says_why(&field, &reason);
    }
    assert!(deployment.ledger.find("default", id).await.unwrap().is_none(), "a refused job leaves no row");
    // The seal of this job is accepted.
    let body = json!({"id": id, "expires_at": expires_at, "sealed": good}).to_string();
    deployment.publish_bytes("dispatch", body.as_bytes()).await;
    deployment.until_state(id, "delivered").await;
    assert_eq!(deployment.accepted(to).await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_needs_a_key_and_hides_other_tenants_ids() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    config.tenants.insert("shop".to_owned(), otpost::config::TenantConfig::default());
    let app = deployment.start(config, Roles::ALL).await;
    let api = app.api.unwrap().to_string();
    let j = job("+447702000002", json!({}));
    for key in ["", "otp_000000000000_x", "nonsense", &deployment.key[..deployment.key.len() - 1]] {
        let (status, problem) = deployment.post_bytes(&api, key, j.to_string().into_bytes()).await;
        assert_eq!(status, 401, "{problem}");
    }
    let reader = otpost::http::NewKey::make("default", &[otpost::http::Scope::Read]);
    deployment.ledger.add_key(&reader.row).await.unwrap();
    assert_eq!(deployment.post_bytes(&api, &reader.text, j.to_string().into_bytes()).await.0, 403);
    let shop =
        otpost::http::NewKey::make("shop", &[otpost::http::Scope::Read, otpost::http::Scope::Dispatch]);
    deployment.ledger.add_key(&shop.row).await.unwrap();
    assert_eq!(deployment.post(&app, &j).await.0, 202);
    let id: uuid::Uuid = j["id"].as_str().unwrap().parse().unwrap();
    deployment.until_state(id, "delivered").await;
    let url = format!("http://{api}/v1/dispatches/{id}");
    assert_eq!(deployment.get(&url).await.0, 200);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let foreign = http.get(&url).bearer_auth(&shop.text).send().await.unwrap();
    assert_eq!(foreign.status(), 404);
    // The same id in another tenant is another dispatch.
    assert_eq!(deployment.post_bytes(&api, &shop.text, j.to_string().into_bytes()).await.0, 202);
    // The job names a tenant other than the tenant of its key.
    let wrong = with(job("+447702000002", json!({})), "tenant", json!("shop"));
    assert_eq!(deployment.post(&app, &wrong).await.1["field"], "tenant");
    app.stop().await;
}

/// Fails if the token in the URL is not checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_need_token_and_signature() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1", "c2"]);
    config.tenants.insert("shop".to_owned(), otpost::config::TenantConfig::default());
    let app = deployment.start(config, Roles::ALL).await;
    let (to, of_shop) = ("+447702000003", "+447702000004");
    for silent in [to, of_shop] {
        deployment.script(silent, json!(["silent"])).await;
    }
    let id = deployment.publish(&job(to, json!({}))).await;
    let d = deployment.until_state(id, "sent").await;
    let of_shop = job(of_shop, json!({"tenant": "shop"}));
    deployment.publish(&of_shop).await;
    let find = async || {
        deployment.ledger.find("shop", of_shop["id"].as_str().unwrap().parse().unwrap()).await.unwrap()
    };
    let of_shop =
        wait::answer("the other tenant's is sent", async || find().await.filter(|d| d.state == State::Sent))
            .await;
    let attempt = AttemptId { uid: d.order.uid, n: 1 };
    let base = format!("http://{}/v1/receipts", app.receipts.unwrap());
    let token = deployment.keys.callback_token("c1", attempt);
    let body = b"MessageSid=SM1&MessageStatus=delivered".to_vec();
    let signed = [("x-twilio-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    for (url, headers, status) in [
        (format!("{base}/c1/{attempt}/{token}"), &signed[..], 403),
        (format!("{base}/c1/{attempt}/{token}"), &[][..], 403),
        (format!("{base}/c1/not-an-attempt/{token}"), &signed[..], 403),
    ] {
        let (got, text) = deployment.post_form(&url, headers, body.clone()).await;
        assert_eq!(got, status, "{url}: {text}");
    }
    // The signature is valid, so only the token is wrong. It is unknown, or belongs to another attempt, to
    // another tenant's dispatch, or to a second carrier whose account has the same secret.
    let second = deployment.keys.callback_token("c1", AttemptId { n: 2, ..attempt });
    let foreign = deployment.keys.callback_token("c1", AttemptId { uid: of_shop.order.uid, n: 1 });
    for (carrier, token, counted) in [
        ("c1", "wrong-token", 1),
        ("c1", second.as_str(), 2),
        ("c1", foreign.as_str(), 3),
        ("c2", token.as_str(), 1),
    ] {
        let url = format!("{base}/{carrier}/{attempt}/{token}");
        let signature = signature(&url, "MessageSidSM1MessageStatusdelivered");
        let (got, text) =
            deployment.post_form(&url, &[("x-twilio-signature", &signature)], body.clone()).await;
        assert_eq!(got, 403, "{url}: {text}");
        let (_, metrics) = deployment.get(&format!("http://{}/metrics", app.ops)).await;
        let line =
            format!("otpost_receipts_total{{carrier=\"{carrier}\",verdict=\"bad_token\"}} {counted}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let huge = vec![b'x'; 10 * 1024 * 1024];
    assert_eq!(deployment.post_form(&format!("{base}/c1/{attempt}/{token}"), &signed, huge).await.0, 413);
    let now = deployment.ledger.find("default", id).await.unwrap().unwrap();
    assert_eq!((now.state.as_str(), now.version), ("sent", d.version), "no receipt was recorded");
    // A receipt for an unknown attempt, with a valid token and signature, is stored and answered with 2xx.
    let unknown = AttemptId { uid: uuid::Uuid::now_v7(), n: 1 };
    let url = format!("{base}/c1/{unknown}/{}", deployment.keys.callback_token("c1", unknown));
    let signature = signature(&url, "MessageSidSM1MessageStatusdelivered");
    let (got, text) = deployment.post_form(&url, &[("x-twilio-signature", &signature)], body).await;
    assert_eq!(got, 204, "{text}");
    let look = support::world::connect(&deployment.ledger_url).await;
    let kept = look
        .query_one("select carrier, receipt->>'verdict' from stray_receipt where uid = $1", &[&unknown.uid])
        .await
        .unwrap();
    assert_eq!((kept.get::<_, &str>(0), kept.get::<_, &str>(1)), ("c1", "delivered"));
    let sid = d.attempts[0].details.message_id.clone().unwrap();
    deployment.receipt(&sid, "delivered").await;
    deployment.until_state(id, "delivered").await;
    app.stop().await;
}

fn otpost(args: &[&str]) -> (i32, String) {
    let out =
        Command::new(env!("CARGO_BIN_EXE_otpost")).args(args).env_remove("OTPOST_CONFIG").output().unwrap();
    let printed = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code().unwrap(), printed)
}

#[test]
fn a_misspelt_key_is_reported_with_its_line_and_exit_code_2() {
    let files = support::world::TempDir::new();
    let path = files.0.join("otpost.toml");
    let path_text = path.to_str().unwrap();
    std::fs::write(&path, "[carriers.main.twilio]\naccount_sid = \"ACx\"\nauth_tokn = \"SECRET-VALUE\"\n")
        .unwrap();
    for command in [&["config", "check", "--config", path_text][..], &["serve", "--config", path_text]] {
        let (code, printed) = otpost(command);
        assert_eq!(code, 2, "{printed}");
        assert!(printed.contains("line 3") && printed.contains("auth_tokn"), "{printed}");
        assert!(!printed.contains("SECRET-VALUE"), "{printed}");
    }
    std::fs::write(&path, "[worker]\nslots = 2\n").unwrap();
    let (code, printed) = otpost(&["config", "check", "--config", path_text]);
    assert_eq!((code, printed.contains("otpost keys root")), (2, true), "it names the next step: {printed}");
    let (code, printed) = otpost(&["config", "check", "--config", "/nowhere/otpost.toml"]);
    assert_eq!((code, printed.contains("cannot be read")), (2, true), "{printed}");
}

#[test]
fn risky_settings_are_reported() {
    use std::os::unix::fs::PermissionsExt;
    let files = support::world::TempDir::new();
    let path = files.0.join("otpost.toml");
    let path_text = path.to_str().unwrap();
    let carrier = "[keys]\nroot = \"ROOT\"\n[carriers.main.twilio]\naccount_sid = \"AC00000000000000000000000000000001\"\n\
                   auth_token = \"x\"\nfrom = \"+15005550006\"\n";
    let carrier = carrier.replace("ROOT", &otpost::seal::Root::random("k1").to_hex());
    std::fs::write(&path, &carrier).unwrap();
    let check = ["config", "check", "--config", path_text];
    for (mode, is_open) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (code, printed) = otpost(&check);
        let warning = "Warning: carriers.main.twilio.auth_token: every user of this machine can read";
        assert!(code == 0 && printed.contains(warning) == is_open, "{mode:o}: {code} {printed}");
    }
    let (code, printed) = otpost(&check);
    assert!(code == 0 && printed.contains("receipts.public_url is a loopback address, so main"), "{printed}");
    std::fs::write(&path, carrier + "[receipts]\npublic_url = \"https://localhost.example.com\"\n").unwrap();
    let (code, printed) = otpost(&check);
    assert!(code == 0 && !printed.contains("public_url"), "{printed}");

    // A notice in one language, and a code in another.
    let templates = files.0.join("templates");
    std::fs::create_dir(&templates).unwrap();
    std::fs::write(templates.join("login.en.sms.txt"), "{{ code }}").unwrap();
    std::fs::write(templates.join("login.de.sms.txt"), "Hallo").unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{good}[messages]\ntemplates_dir = \"templates\"\n")).unwrap();
    let (code, printed) = otpost(&check);
    let names = "login.en.sms.txt uses the code, and login.de.sms.txt does not";
    assert!(code == 2 && printed.contains(names), "{code} {printed}");
    // Brands that make every text UCS-2, with the character and its place.
    let brands = "[messages]\nbrand = \"Café\"\n[tenants.shop]\nbrand = \"Joe’s\"\n[tenants.plain]\nbrand = \"Plain\"\n";
    std::fs::write(&path, format!("{good}{brands}")).unwrap();
    let (code, printed) = otpost(&check);
    assert!(
        code == 0 && printed.contains("tenants.shop.brand has U+2019 (a curly quote; write ')"),
        "{code} {printed}"
    );
    assert!(
        !printed.contains("tenants.plain.brand") && !printed.contains("messages.brand"),
        "é is in GSM-7: {printed}"
    );
    // A text of a template outside GSM-7.
    std::fs::write(templates.join("login.de.sms.txt"), "Ihr Code — {{ code }}").unwrap();
    std::fs::write(&path, format!("{good}[messages]\ntemplates_dir = \"templates\"\n")).unwrap();
    let (code, printed) = otpost(&check);
    assert!(code == 0 && printed.contains("The text login.de has U+2014"), "{code} {printed}");
    assert!(!printed.contains("login.en has"), "{printed}");
    std::fs::write(&path, good).unwrap();

    // The URL of the ledger is empty, or its file does not exist.
    let empty = Command::new(env!("CARGO_BIN_EXE_otpost")).args(check).env("OTPOST_LEDGER_URL", "").output();
    let printed = String::from_utf8(empty.unwrap().stderr).unwrap();
    assert!(printed.contains("OTPOST_LEDGER_URL is set but empty"), "{printed}");
    let (code, printed) = otpost(&["keys", "list", "--config", path_text]);
    assert!(code == 1 && printed.contains("there is no ledger at"), "{printed}");
    assert!(!files.0.join("otpost.db").exists(), "a reading command creates no file");
}

/// Fails if a command prints a part of a password, or tries a server that the URL does not name.
#[test]
fn bad_urls_and_countries_are_refused_before_a_server_is_asked() {
    let files = support::world::TempDir::new();
    let path = files.0.join("otpost.toml");
    let path_text = path.to_str().unwrap();
    let root = otpost::seal::Root::random("k1").to_hex();
    let carrier = "[carriers.main.twilio]\naccount_sid = \"AC00000000000000000000000000000001\"\nauth_token = \"x\"\n\
                   from = \"+15005550006\"\n";
    for (more, why) in [
        ("[ledger]\nurl = \"postgres://otpost@db/otpost?sslmode=allow\"\n", "use disable, prefer, require"),
        ("[ledger]\nurl = \"postgres://otpost@db/otpost?pgbouncer=true\"\n", "pgbouncer"),
        ("[ledger]\nurl = \"postgres://otpost:s3cret@hidden@127.0.0.1:5432/otpost\"\n", "percent-encode"),
        ("[amqp]\nurl = \"amqp://guest:s3cret/hidden@127.0.0.1:5672/%2f\"\n", "percent-encode"),
        ("[numbers]\nblocked_countries = [\"uk\"]\n", "the United Kingdom is GB"),
    ] {
        std::fs::write(&path, format!("[keys]\nroot = \"{}\"\n{carrier}{more}", root.as_str())).unwrap();
        for command in [&["config", "check"][..], &["serve", "--no-wait"], &["migrate"]] {
            let (code, printed) = otpost(&[command, &["--config", path_text]].concat());
            assert!(code == 2 && printed.contains(why), "{command:?} {more}: {code} {printed}");
            let is_quoted = ["s3cret", "hidden"].iter().any(|part| printed.contains(part));
            assert!(!is_quoted, "{command:?}: {printed}");
        }
    }
}

#[test]
fn help_works_without_a_configuration() {
    for command in [&["--help"][..], &["serve", "--help"], &["send", "--help"], &["keys", "create", "--help"]]
    {
        let (code, printed) = otpost(command);
        assert_eq!(code, 0, "{printed}");
        assert!(printed.contains("Usage:"), "{printed}");
    }
    let (code, printed) = otpost(&["config", "print"]);
    assert_eq!((code, printed.as_str()), (0, include_str!("../config/otpost.toml")));
    let (code, printed) = otpost(&["migrate", "--print"]);
    assert_eq!((code, printed.contains("create table dispatch")), (0, true));
}

/// A receipt is recorded even if its texts cannot be stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_whose_details_cannot_be_stored_is_recorded_without_them() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let look = support::world::connect(&deployment.ledger_url).await;
    look.batch_execute("alter table dispatch add constraint no_code check (receipt_code is null)")
        .await
        .unwrap();
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let to = "+447702000021";
    deployment.script(to, json!([{"outcome": "undelivered", "error_code": 30003}])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    let d = deployment.until_state(id, "undelivered").await;
    let a = &d.attempts[0];
    assert_eq!(
        (a.receipt_reason.map(Reason::as_str), a.receipt_code.as_deref()),
        (Some("unreachable"), None)
    );
    app.stop().await;
}

/// The attempt has a number that the ledger cannot store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_cannot_be_recorded_is_refused_and_a_queued_one_is_dead_lettered() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let kept = deployment.copy_of("receipt").await;
    let attempt = AttemptId { uid: uuid::Uuid::now_v7(), n: 40_000 };
    let token = deployment.keys.callback_token("c1", attempt);
    let url = format!("http://{}/v1/receipts/c1/{attempt}/{token}", app.receipts.unwrap());
    let signature = signature(&url, "MessageSidSM1MessageStatusdelivered");
    let body = b"MessageSid=SM1&MessageStatus=delivered".to_vec();
    let (got, text) = deployment.post_form(&url, &[("x-twilio-signature", &signature)], body).await;
    assert_eq!(got, 400, "{text}");
    assert_eq!(deployment.waiting(&kept).await, 0, "a retry would fail again");

    let receipt =
        json!({"v": 1, "uid": attempt.uid, "n": attempt.n, "carrier": "c1", "verdict": "delivered"});
    let sealed = deployment.keys.seal_message("otpost.receipts", receipt.to_string().as_bytes());
    deployment.publish_bytes("receipt", sealed.as_bytes()).await;
    let (field, reason, body) = deployment.dead_letter().await;
    assert_eq!((field.as_str(), reason.as_str()), ("receipt", "cannot be stored (SQLSTATE 22003)"));
    let letter = Envelope::open(&deployment.keys, "otpost.dead", &body).unwrap();
    assert_eq!((letter.routing_key.as_str(), letter.body().as_slice()), ("receipt", sealed.as_bytes()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_cannot_be_stored_is_dead_lettered() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let look = support::world::connect(&deployment.ledger_url).await;
    look.batch_execute("alter table dispatch add constraint no_stop check (stop is null)").await.unwrap();
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let to = "+447702000022";
    deployment.script(to, json!(["silent"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    deployment.until_state(id, "sent").await;
    deployment.publish_bytes("cancel", json!({"id": id}).to_string().as_bytes()).await;
    let (field, reason, _) = deployment.dead_letter().await;
    assert_eq!((field.as_str(), reason.as_str()), ("body", "cannot be stored (SQLSTATE 23514 no_stop)"));
    app.stop().await;
}
