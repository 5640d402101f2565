//! Bad input gets a clear error that quotes no value; nothing else is disturbed, and nothing is lost.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;
use std::time::Duration;

use otpost::app::Roles;
use otpost::domain::attempt::{AttemptId, Reason, State};
use otpost::intake::envelope::Envelope;
use serde_json::{Value, json};
use support::house::asking::signature;
use support::house::{House, in_seconds, job};
use support::wait;

fn with(mut j: Value, name: &str, value: Value) -> Value {
    j[name] = value;
    j
}

/// None of the values of the bad jobs.
fn assert_quotes_nothing(text: &str) {
    for value in ["red", "48 15 16", "481516", "07700900123", "7702000001", "yesterday", "AAAA", "none"] {
        assert!(!text.contains(value), "{value} is quoted: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_jobs_are_answered_with_field_and_rule_and_their_neighbours_pass() {
    let house = House::build(Duration::from_millis(20)).await;
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
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
        let (got, problem) = house.post_bytes(&api, &house.key, body.clone()).await;
        assert_eq!((got, problem["field"].as_str()), (*status, Some(*field)), "{problem}");
        assert!(problem["rule"].as_str().is_some_and(|r| r.len() > 5), "{problem}");
        assert_quotes_nothing(&problem.to_string());
    }
    // The same over AMQP, between good neighbours.
    let mut good = vec![];
    for (i, (body, _, field)) in cases.iter().enumerate() {
        good.push(house.publish(&job(&format!("+44770201{i:02}55"), json!({}))).await);
        house.publish_bytes("dispatch", body).await;
        let (dead, reason, _) = house.dead_letter().await;
        assert_eq!(dead, *field, "{reason}");
        assert_quotes_nothing(&reason);
    }
    for id in good {
        house.until_state(id, "delivered").await;
    }
    assert_eq!((house.waiting("otpost.dispatch").await, house.waiting("otpost.dead").await), (0, 0));

    // A body of 10 MB; over AMQP too.
    let huge = vec![b'x'; 10 * 1024 * 1024];
    let (status, problem) = house.post_bytes(&api, &house.key, huge.clone()).await;
    assert_eq!((status, problem["type"].as_str()), (413, Some("https://otpost.io/problems/too-large")));
    house.publish_bytes("dispatch", &huge).await;
    assert_eq!(house.dead_letter().await.0, "body");
    let after = house.publish(&job("+447702015599", json!({}))).await;
    house.until_state(after, "delivered").await;

    // Over HTTP a past expiry and an impossible number are answers, over AMQP they are final states.
    let past = with(job(to, json!({})), "expires_at", json!("2026-01-01T00:00:00Z"));
    assert_eq!(house.post(&app, &past).await.0, 422);
    let id = house.publish(&past).await;
    house.until_state(id, "expired").await;
    let impossible = job("+9991234567", json!({}));
    assert_eq!(house.post(&app, &impossible).await.0, 422);
    let id = house.publish(&impossible).await;
    house.until_state(id, "refused").await;
    house.until_events(id, &["refused 1"]).await;
    app.stop().await;
}

/// Real seals, each of them good for another job or changed on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seal_opens_only_for_its_own_job_and_unchanged() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let house = House::build(Duration::from_millis(20)).await;
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    let (to, id) = ("+447702000004", uuid::Uuid::new_v4());
    let at =
        |seconds| otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(seconds));
    let (expires_at, later) = (at(200), at(201));
    let secret = json!({"to": to, "code": "481516"}).to_string();
    let seal = |tenant, id, expires_at| house.keys.seal_job(tenant, id, expires_at, secret.as_bytes());
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
        let (status, problem) =
            house.post_bytes(&app.api.unwrap().to_string(), &house.key, body.clone().into_bytes()).await;
        assert_eq!(status, 422, "{what}: {problem}");
        assert_says_why(problem["field"].as_str().unwrap(), &problem.to_string());
        house.publish_bytes("dispatch", body.as_bytes()).await;
        let (field, reason, _) = house.dead_letter().await;
        assert_says_why(&field, &reason);
    }
    assert!(house.ledger.find("default", id).await.unwrap().is_none(), "none of them left anything");
    // The one that was made for it.
    let body = json!({"id": id, "expires_at": expires_at, "sealed": good}).to_string();
    house.publish_bytes("dispatch", body.as_bytes()).await;
    house.until_state(id, "delivered").await;
    assert_eq!(house.accepted(to).await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_needed_and_other_tenants_ids_are_unknown() {
    let house = House::build(Duration::from_millis(20)).await;
    let mut config = house.config(&["c1"]);
    config.tenants.insert("shop".to_owned(), otpost::config::TenantConfig::default());
    let app = house.start(config, Roles::ALL).await;
    let api = app.api.unwrap().to_string();
    let j = job("+447702000002", json!({}));
    for key in ["", "otp_000000000000_x", "nonsense", &house.key[..house.key.len() - 1]] {
        let (status, problem) = house.post_bytes(&api, key, j.to_string().into_bytes()).await;
        assert_eq!(status, 401, "{problem}");
    }
    let reader = otpost::http::NewKey::make("default", &[otpost::http::Scope::Read]);
    house.ledger.add_key(&reader.row).await.unwrap();
    assert_eq!(house.post_bytes(&api, &reader.text, j.to_string().into_bytes()).await.0, 403);
    let shop =
        otpost::http::NewKey::make("shop", &[otpost::http::Scope::Read, otpost::http::Scope::Dispatch]);
    house.ledger.add_key(&shop.row).await.unwrap();
    assert_eq!(house.post(&app, &j).await.0, 202);
    let id: uuid::Uuid = j["id"].as_str().unwrap().parse().unwrap();
    house.until_state(id, "delivered").await;
    let url = format!("http://{api}/v1/dispatches/{id}");
    assert_eq!(house.get(&url).await.0, 200);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let foreign = http.get(&url).bearer_auth(&shop.text).send().await.unwrap();
    assert_eq!(foreign.status(), 404);
    // The same id under another tenant is another dispatch.
    assert_eq!(house.post_bytes(&api, &shop.text, j.to_string().into_bytes()).await.0, 202);
    // A job that names another tenant than its key's.
    let wrong = with(job("+447702000002", json!({})), "tenant", json!("shop"));
    assert_eq!(house.post(&app, &wrong).await.1["field"], "tenant");
    app.stop().await;
}

/// Seen to fail: where the token in the URL is not looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_are_believed_only_with_token_and_signature() {
    let house = House::build(Duration::from_millis(20)).await;
    let mut config = house.config(&["c1", "c2"]);
    config.tenants.insert("shop".to_owned(), otpost::config::TenantConfig::default());
    let app = house.start(config, Roles::ALL).await;
    let (to, of_shop) = ("+447702000003", "+447702000004");
    for silent in [to, of_shop] {
        house.script(silent, json!(["silent"])).await;
    }
    let id = house.publish(&job(to, json!({}))).await;
    let d = house.until_state(id, "sent").await;
    let of_shop = job(of_shop, json!({"tenant": "shop"}));
    house.publish(&of_shop).await;
    let find =
        async || house.ledger.find("shop", of_shop["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    let of_shop =
        wait::answer("the other tenant's is sent", async || find().await.filter(|d| d.state == State::Sent))
            .await;
    let attempt = AttemptId { uid: d.order.uid, n: 1 };
    let door = format!("http://{}/v1/receipts", app.receipts.unwrap());
    let token = house.keys.callback_token("c1", attempt);
    let body = b"MessageSid=SM1&MessageStatus=delivered".to_vec();
    let signed = [("x-twilio-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    for (url, headers, status) in [
        (format!("{door}/c1/{attempt}/{token}"), &signed[..], 403),
        (format!("{door}/c1/{attempt}/{token}"), &[][..], 403),
        (format!("{door}/c1/not-an-attempt/{token}"), &signed[..], 403),
    ] {
        let (got, text) = house.post_form(&url, headers, body.clone()).await;
        assert_eq!(got, status, "{url}: {text}");
    }
    // Well signed, so that the token alone is wrong: nobody's, another attempt's, another tenant's dispatch's, and the other
    // carrier's, whose account signs with the same secret.
    let second = house.keys.callback_token("c1", AttemptId { n: 2, ..attempt });
    let foreign = house.keys.callback_token("c1", AttemptId { uid: of_shop.order.uid, n: 1 });
    for (carrier, token, counted) in [
        ("c1", "wrong-token", 1),
        ("c1", second.as_str(), 2),
        ("c1", foreign.as_str(), 3),
        ("c2", token.as_str(), 1),
    ] {
        let url = format!("{door}/{carrier}/{attempt}/{token}");
        let signature = signature(&url, "MessageSidSM1MessageStatusdelivered");
        let (got, text) = house.post_form(&url, &[("x-twilio-signature", &signature)], body.clone()).await;
        assert_eq!(got, 403, "{url}: {text}");
        let (_, metrics) = house.get(&format!("http://{}/metrics", app.ops)).await;
        let line =
            format!("otpost_receipts_total{{carrier=\"{carrier}\",verdict=\"bad_token\"}} {counted}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let huge = vec![b'x'; 10 * 1024 * 1024];
    assert_eq!(house.post_form(&format!("{door}/c1/{attempt}/{token}"), &signed, huge).await.0, 413);
    let now = house.ledger.find("default", id).await.unwrap().unwrap();
    assert_eq!((now.state.as_str(), now.version), ("sent", d.version), "nothing was recorded");
    // An attempt that nobody knows, with a good token and signature, is kept and answered 2xx.
    let stranger = AttemptId { uid: uuid::Uuid::now_v7(), n: 1 };
    let url = format!("{door}/c1/{stranger}/{}", house.keys.callback_token("c1", stranger));
    let signature = signature(&url, "MessageSidSM1MessageStatusdelivered");
    let (got, text) = house.post_form(&url, &[("x-twilio-signature", &signature)], body).await;
    assert_eq!(got, 204, "{text}");
    let look = support::world::connect(&house.ledger_url).await;
    let kept = look
        .query_one("select carrier, receipt->>'verdict' from stray_receipt where uid = $1", &[&stranger.uid])
        .await
        .unwrap();
    assert_eq!((kept.get::<_, &str>(0), kept.get::<_, &str>(1)), ("c1", "delivered"));
    let sid = d.attempts[0].details.message_id.clone().unwrap();
    house.receipt(&sid, "delivered").await;
    house.until_state(id, "delivered").await;
    app.stop().await;
}

fn otpost(args: &[&str]) -> (i32, String) {
    let out =
        Command::new(env!("CARGO_BIN_EXE_otpost")).args(args).env_remove("OTPOST_CONFIG").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code().unwrap(), said)
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_exit_code_is_two() {
    let files = support::world::TempDir::new();
    let path = files.0.join("otpost.toml");
    let path_text = path.to_str().unwrap();
    std::fs::write(&path, "[carriers.main.twilio]\naccount_sid = \"ACx\"\nauth_tokn = \"SECRET-VALUE\"\n")
        .unwrap();
    for command in [&["config", "check", "--config", path_text][..], &["serve", "--config", path_text]] {
        let (code, said) = otpost(command);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("line 3") && said.contains("auth_tokn"), "{said}");
        assert!(!said.contains("SECRET-VALUE"), "{said}");
    }
    std::fs::write(&path, "[worker]\nslots = 2\n").unwrap();
    let (code, said) = otpost(&["config", "check", "--config", path_text]);
    assert_eq!((code, said.contains("otpost keys root")), (2, true), "it says what to do next: {said}");
    let (code, said) = otpost(&["config", "check", "--config", "/nowhere/otpost.toml"]);
    assert_eq!((code, said.contains("cannot be read")), (2, true), "{said}");
}

#[test]
fn what_would_quietly_be_something_else_is_said() {
    let files = support::world::TempDir::new();
    let path = files.0.join("otpost.toml");
    let path_text = path.to_str().unwrap();
    let carrier = "[keys]\nroot = \"ROOT\"\n[carriers.main.twilio]\naccount_sid = \"AC00000000000000000000000000000001\"\n\
                   auth_token = \"x\"\nfrom = \"+15005550006\"\n";
    let carrier = carrier.replace("ROOT", &otpost::seal::Root::random("k1").to_hex());
    std::fs::write(&path, &carrier).unwrap();
    let check = ["config", "check", "--config", path_text];
    let (code, said) = otpost(&check);
    assert!(code == 0 && said.contains("receipts.public_url is on this machine: main"), "{said}");
    std::fs::write(&path, carrier + "[receipts]\npublic_url = \"https://localhost.example.com\"\n").unwrap();
    let (code, said) = otpost(&check);
    assert!(code == 0 && !said.contains("public_url"), "{said}");

    // A notice in one language and a code in another.
    let templates = files.0.join("templates");
    std::fs::create_dir(&templates).unwrap();
    std::fs::write(templates.join("login.en.sms.txt"), "{{ code }}").unwrap();
    std::fs::write(templates.join("login.de.sms.txt"), "Hallo").unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{good}[messages]\ntemplates_dir = \"templates\"\n")).unwrap();
    let (code, said) = otpost(&check);
    let names = "login.en.sms.txt uses the code, and login.de.sms.txt does not";
    assert!(code == 2 && said.contains(names), "{code} {said}");
    std::fs::write(&path, good).unwrap();

    // Another ledger than was meant, and one that nobody has made.
    let empty = Command::new(env!("CARGO_BIN_EXE_otpost")).args(check).env("OTPOST_LEDGER_URL", "").output();
    let said = String::from_utf8(empty.unwrap().stderr).unwrap();
    assert!(said.contains("OTPOST_LEDGER_URL is set, and empty"), "{said}");
    let (code, said) = otpost(&["keys", "list", "--config", path_text]);
    assert!(code == 1 && said.contains("there is no ledger at"), "{said}");
    assert!(!files.0.join("otpost.db").exists(), "whoever asks makes none");
}

#[test]
fn help_is_there_for_strangers() {
    for command in [&["--help"][..], &["serve", "--help"], &["send", "--help"], &["keys", "create", "--help"]]
    {
        let (code, said) = otpost(command);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("Usage:"), "{said}");
    }
    let (code, said) = otpost(&["config", "print"]);
    assert_eq!((code, said.as_str()), (0, include_str!("../config/otpost.toml")));
    let (code, said) = otpost(&["migrate", "--print"]);
    assert_eq!((code, said.contains("create table dispatch")), (0, true));
}

/// The carrier's own words are the least of a receipt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_whose_details_cannot_be_kept_is_recorded_without_them() {
    let house = House::build(Duration::from_millis(20)).await;
    let look = support::world::connect(&house.ledger_url).await;
    look.batch_execute("alter table dispatch add constraint no_code check (receipt_code is null)")
        .await
        .unwrap();
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    let to = "+447702000021";
    house.script(to, json!([{"outcome": "undelivered", "error_code": 30003}])).await;
    let id = house.publish(&job(to, json!({}))).await;
    let d = house.until_state(id, "undelivered").await;
    let a = &d.attempts[0];
    assert_eq!(
        (a.receipt_reason.map(Reason::as_str), a.receipt_code.as_deref()),
        (Some("unreachable"), None)
    );
    app.stop().await;
}

/// An attempt with a number that no ledger can hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_cannot_be_recorded_is_not_taken_and_a_kept_one_becomes_a_dead_letter() {
    let house = House::build(Duration::from_millis(20)).await;
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    let kept = house.copy_of("receipt").await;
    let attempt = AttemptId { uid: uuid::Uuid::now_v7(), n: 40_000 };
    let token = house.keys.callback_token("c1", attempt);
    let url = format!("http://{}/v1/receipts/c1/{attempt}/{token}", app.receipts.unwrap());
    let signature = signature(&url, "MessageSidSM1MessageStatusdelivered");
    let body = b"MessageSid=SM1&MessageStatus=delivered".to_vec();
    let (got, text) = house.post_form(&url, &[("x-twilio-signature", &signature)], body).await;
    assert_eq!(got, 400, "{text}");
    assert_eq!(house.waiting(&kept).await, 0, "it would be no better later");

    let receipt =
        json!({"v": 1, "uid": attempt.uid, "n": attempt.n, "carrier": "c1", "verdict": "delivered"});
    let sealed = house.keys.seal_message("otpost.receipts", receipt.to_string().as_bytes());
    house.publish_bytes("receipt", sealed.as_bytes()).await;
    let (field, reason, body) = house.dead_letter().await;
    assert_eq!((field.as_str(), reason.as_str()), ("receipt", "cannot be kept (SQLSTATE 22003)"));
    let letter = Envelope::open(&house.keys, "otpost.dead", &body).unwrap();
    assert_eq!((letter.routing_key.as_str(), letter.body().as_slice()), ("receipt", sealed.as_bytes()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_cannot_be_kept_becomes_a_dead_letter() {
    let house = House::build(Duration::from_millis(20)).await;
    let look = support::world::connect(&house.ledger_url).await;
    look.batch_execute("alter table dispatch add constraint no_stop check (stop is null)").await.unwrap();
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    let to = "+447702000022";
    house.script(to, json!(["silent"])).await;
    let id = house.publish(&job(to, json!({}))).await;
    house.until_state(id, "sent").await;
    house.publish_bytes("cancel", json!({"id": id}).to_string().as_bytes()).await;
    let (field, reason, _) = house.dead_letter().await;
    assert_eq!((field.as_str(), reason.as_str()), ("body", "cannot be kept (SQLSTATE 23514 no_stop)"));
    app.stop().await;
}
