//! Blocks, dispatches, quotas, keys and the audit over the API, on both databases.

use std::time::Duration;

use otpost::http::contracts::Contract;
use serde_json::{Value, json};

use crate::office::{Office, id};
use crate::support::deployment::job;
use crate::support::wait;
use crate::support::world::Backend;

macro_rules! on_both_databases {
    ($($name:ident)+) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(Backend::Postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name(Backend::Sqlite).await;
            }
        }
    )+};
}

on_both_databases! {
    a_block_refuses_jobs_at_both_doors
    dispatches_of_all_tenants_are_found_cancelled_and_retried
    quotas_are_shown_and_reset
    carriers_are_listed_and_paused
    a_carrier_is_paused_in_one_country
}

async fn a_block_refuses_jobs_at_both_doors(backend: Backend) {
    let office = Office::open(backend).await;
    // The blocked number is spelt in another way than the jobs' number: both reach one handset.
    let (number, spelt, neighbour) = ("+5491155550150", "+541155550150", "+5491155550151");
    let under_way = "+5491155550152";
    office.deployment.script(under_way, json!(["silent"])).await;
    let (status, sent) = office.post(under_way).await;
    assert_eq!(status, 202, "{sent}");
    office.until_state(id(&sent), "sent").await;
    for body in [
        json!({"number": spelt, "reason": "toll fraud", "for_s": 3600}),
        json!({"number": under_way, "reason": "toll fraud"}),
        json!({"prefix": "+4479", "reason": "toll fraud"}),
        json!({"country": "fr", "reason": "toll fraud"}),
    ] {
        office.done("POST", "/v1/blocks", &body).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (to, reason) in [
        (number, "operator_block"),
        (spelt, "operator_block"),
        ("+447911123456", "operator_block"),
        ("+33612345678", "country"),
    ] {
        let (status, problem) = office.post(to).await;
        assert_eq!((status, &problem["reason"]), (422, &json!(reason)), "{problem}");
        let published = office.deployment.publish(&job(to, json!({}))).await;
        office.until_state(published, "refused").await;
        let d = office.app.ledger.find("default", published).await.unwrap().unwrap();
        assert_eq!(d.reason.unwrap().as_str(), reason);
        office.deployment.until_events(published, &["refused 1"]).await;
        assert_eq!(office.deployment.record("requests", Some(to)).await.len(), 0);
    }
    assert_eq!(office.post(neighbour).await.0, 202);
    // What is under way goes on.
    let message = office.deployment.message(under_way, 0, |_| true).await;
    office.deployment.receipt(message["sid"].as_str().unwrap(), "delivered").await;
    office.until_state(id(&sent), "delivered").await;

    let blocks = office.done("GET", "/v1/blocks", &Value::Null).await;
    let blocks = blocks["blocks"].as_array().unwrap();
    let mut shown: Vec<String> = blocks.iter().map(|b| format!("{} {}", b["kind"], b["value"])).collect();
    shown.sort_unstable();
    let mask = "\"number\" \"+54•••••••••50\"".replace("•••••••••", &"•".repeat(spelt.len() - 5));
    let other = format!("\"number\" \"+54{}52\"", "•".repeat(under_way.len() - 5));
    let mut expected = vec![mask, other, "\"prefix\" \"+4479\"".to_owned(), "\"country\" \"FR\"".to_owned()];
    expected.sort_unstable();
    assert_eq!(shown, expected);
    let of_number = blocks.iter().find(|b| b["until"].is_string()).unwrap();
    assert_eq!((&of_number["reason"], &of_number["by"]), (&json!("toll fraud"), &json!(office.operator)));

    for body in [json!({"number": number}), json!({"prefix": "+4479"}), json!({"country": "FR"})] {
        assert_eq!(office.done("POST", "/v1/blocks/remove", &body).await["changed"], true, "{body}");
        assert_eq!(office.done("POST", "/v1/blocks/remove", &body).await["changed"], false, "{body}");
    }
    wait::until("the block ends", async || office.post(number).await.0 == 202).await;
    for (body, field) in [
        (json!({"number": "+4407700900123", "reason": "x"}), "number"),
        (json!({"number": "07700900123", "reason": "x"}), "number"),
        (json!({"prefix": "4479", "reason": "x"}), "prefix"),
        (json!({"prefix": "+4477009001", "reason": "x"}), "prefix"),
        (json!({"country": "UK", "reason": "x"}), "country"),
        (json!({"country": "XX", "reason": "x"}), "country"),
        (json!({"country": "GB", "reason": ""}), "reason"),
        (json!({"country": "GB", "reason": "a\nb"}), "reason"),
        (json!({"country": "GB", "reason": format!(" {}", "x".repeat(200))}), "reason"),
        (json!({"country": "GB", "reason": "x", "for_s": 0}), "for_s"),
    ] {
        let (status, problem) = office.act("POST", "/v1/blocks", &body).await;
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{body}: {problem}");
    }
    for body in [
        json!({"reason": "x"}),
        json!({"country": "GB"}),
        json!({"country": "GB", "prefix": "+44", "reason": "x"}),
        json!({"country": "GB", "reason": "x", "forever": true}),
    ] {
        assert_eq!(office.act("POST", "/v1/blocks", &body).await.0, 422, "{body}");
    }
    let acts: Vec<String> = office.audit().await.into_iter().map(|(act, _)| act).collect();
    assert_eq!(acts, [["block_add"; 4].as_slice(), ["block_remove"; 3].as_slice()].concat());
    office.app.stop().await;
}

async fn dispatches_of_all_tenants_are_found_cancelled_and_retried(backend: Backend) {
    let office = Office::open(backend).await;
    let (done, waits) = ("+447709001001", "+447709001002");
    let (_, delivered) = office.post(done).await;
    office.until_state(id(&delivered), "delivered").await;
    // Without the only carrier, a dispatch waits.
    office.done("POST", "/v1/carriers/c1/pause", &json!({"reason": "a test"})).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let shop = job(waits, json!({"tenant": "shop"}));
    let waiting = office.deployment.publish(&shop).await;
    wait::until("it waits", async || {
        let d = office.app.ledger.find("shop", waiting).await.unwrap();
        d.is_some_and(|d| d.snoozed_until.is_some())
    })
    .await;

    let search = async |body: Value| {
        let answer = office.done("POST", "/v1/operator/dispatches/search", &body).await;
        assert!(!answer.to_string().contains("7709001"), "numbers are masked: {answer}");
        let found = answer["dispatches"].as_array().unwrap().clone();
        found.iter().map(|d| d["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (first, second) = (id(&delivered).to_string(), waiting.to_string());
    assert_eq!(search(json!({})).await, [second.clone(), first.clone()]);
    assert_eq!(search(json!({"limit": 1})).await, std::slice::from_ref(&second));
    for body in [
        json!({"number": done}),
        json!({"id": first}),
        json!({"state": "delivered"}),
        json!({"tenant": "default"}),
    ] {
        assert_eq!(search(body.clone()).await, std::slice::from_ref(&first), "{body}");
    }
    for body in
        [json!({"id": second, "tenant": "shop"}), json!({"state": "queued"}), json!({"number": waits})]
    {
        assert_eq!(search(body.clone()).await, std::slice::from_ref(&second), "{body}");
    }
    assert_eq!(search(json!({"to": "2026-01-01T00:00:00Z"})).await, Vec::<String>::new());
    for body in [
        json!({"limit": 0}),
        json!({"limit": 201}),
        json!({"state": "x"}),
        json!({"number": done, "id": first}),
    ] {
        let (status, problem) = office.act("POST", "/v1/operator/dispatches/search", &body).await;
        assert_eq!(status, 422, "{body}: {problem}");
    }

    let uid = async |tenant: &str, id| office.app.ledger.find(tenant, id).await.unwrap().unwrap().order.uid;
    let (ended, waiting_uid) = (uid("default", id(&delivered)).await, uid("shop", waiting).await);
    let path = |uid: &uuid::Uuid, act: &str| format!("/v1/operator/dispatches/{uid}{act}");
    let story = office.done("GET", &path(&ended, ""), &Value::Null).await;
    assert_eq!((&story["state"], &story["tenant"]), (&json!("delivered"), &json!("default")));
    for act in ["/cancel", "/retry"] {
        let (status, problem) = office.act("POST", &path(&ended, act), &json!({})).await;
        assert_eq!((status, &problem["state"]), (409, &json!("delivered")), "{act}: {problem}");
        let unknown = uuid::Uuid::now_v7();
        assert_eq!(office.act("POST", &path(&unknown, act), &json!({})).await.0, 404);
    }
    let before = office.app.ledger.read(waiting_uid).await.unwrap().unwrap().version;
    let answer = office.done("POST", &path(&waiting_uid, "/retry"), &json!({"reason": "again"})).await;
    assert_eq!(answer["state"], "queued");
    wait::until("a worker has looked at it", async || {
        office.app.ledger.read(waiting_uid).await.unwrap().unwrap().version >= before + 2
    })
    .await;
    office.done("POST", &path(&waiting_uid, "/cancel"), &json!({})).await;
    wait::until("cancelled", async || {
        office.app.ledger.read(waiting_uid).await.unwrap().unwrap().state.as_str() == "cancelled"
    })
    .await;
    office.done("POST", &path(&waiting_uid, "/cancel"), &json!({})).await;
    assert_eq!(office.deployment.accepted(waits).await, 0);
    let subject = format!("dispatch {waiting_uid}");
    assert_eq!(
        office.audit().await,
        [
            ("carrier_pause".to_owned(), "carrier c1".to_owned()),
            ("dispatch_retry".to_owned(), subject.clone()),
            ("dispatch_cancel".to_owned(), subject),
        ],
        "an act without effect is not recorded"
    );
    office.app.stop().await;
}

async fn quotas_are_shown_and_reset(backend: Backend) {
    let rules = |rules: &[&str]| rules.iter().map(|rule| rule.parse().unwrap()).collect::<Vec<_>>();
    let office = Office::with(backend, |config| {
        config.limits.number = rules(&["2/10m", "5/1d"]);
        config.limits.operator = rules(&["9/1d"]);
    })
    .await;
    let (number, spelt) = ("+5491155550160", "+541155550160");
    for (expected, to) in [(202, number), (202, spelt), (429, number)] {
        let (status, answer) = office.post(to).await;
        assert_eq!(status, expected, "{answer}");
    }
    let show = async |body: Value| {
        let answer = office.done("POST", "/v1/quota/show", &body).await;
        assert!(!answer.to_string().contains("55550160"), "{answer}");
        let rules = answer["rules"].as_array().unwrap().clone();
        rules
            .iter()
            .filter(|rule| rule["used"] != 0)
            .map(|rule| {
                let tenant = rule["tenant"].as_str().unwrap_or("*");
                let is_full = rule["free_at"].is_string();
                format!(
                    "{tenant} {} {} {}/{} {is_full}",
                    rule["counts"], rule["rule"], rule["used"], rule["limit"]
                )
                .replace('"', "")
            })
            .collect::<Vec<_>>()
    };
    let all = ["default codes 2/10m 2/2 true", "default codes 5/1d 2/5 false", "* all 9/1d 2/9 false"];
    assert_eq!(show(json!({"number": number})).await, all);
    assert_eq!(show(json!({"number": spelt})).await, all, "one handset");
    assert_eq!(show(json!({"number": number, "tenant": "default"})).await, all[..2]);
    assert_eq!(show(json!({"number": number, "tenant": "shop"})).await, [""; 0]);
    assert_eq!(office.act("POST", "/v1/quota/show", &json!({"number": number, "tenant": "x"})).await.0, 404);
    let reset = office.done("POST", "/v1/quota/reset", &json!({"number": spelt, "reason": "a test"})).await;
    assert_eq!(reset["reset"], 2);
    assert_eq!(show(json!({"number": number})).await, [""; 0]);
    assert_eq!(office.post(number).await.0, 202, "the cached refusal is forgotten too");
    let audit = office.audit().await;
    assert_eq!(audit.len(), 1);
    assert!(audit[0].0 == "quota_reset" && audit[0].1.starts_with("number +54•"), "{audit:?}");
    office.app.stop().await;
}

async fn carriers_are_listed_and_paused(backend: Backend) {
    let office = Office::with(backend, |config| {
        let mut retired = config.carriers["c1"].clone();
        retired.retired = true;
        config.carriers.insert("old".to_owned(), retired);
    })
    .await;
    let list = async || office.done("GET", "/v1/carriers", &Value::Null).await["carriers"].clone();
    let before = list().await;
    let c1 = json!({"name": "c1", "company": "twilio", "channels": ["sms", "voice"], "rate_per_s": 100, "retired": false});
    assert_eq!(before[0], c1);
    assert_eq!((&before[1]["name"], &before[1]["retired"]), (&json!("old"), &json!(true)));
    office.done("POST", "/v1/carriers/c1/pause", &json!({"reason": " no receipts ", "for_s": 600})).await;
    let paused = list().await[0]["pause"].clone();
    assert_eq!((&paused["reason"], &paused["by"]), (&json!("no receipts"), &json!(office.operator)));
    let time = |name: &str| -> jiff::Timestamp { paused[name].as_str().unwrap().parse().unwrap() };
    assert_eq!(time("until").duration_since(time("at")).as_secs(), 600);
    for (path, body, status, kind) in [
        ("old/pause", json!({"reason": "x"}), 409, "retired"),
        ("none/pause", json!({"reason": "x"}), 404, "unknown"),
        ("none/resume", json!({}), 404, "unknown"),
        ("old/probe", json!({}), 409, "retired"),
        ("none/probe", json!({}), 404, "unknown"),
        ("c1/probe", json!({}), 409, "paused"),
        ("c1/pause", json!({}), 422, "invalid"),
        ("c1/pause", json!({"reason": "x", "for_s": -1}), 422, "invalid"),
        ("c1/pause", json!([]), 400, "invalid"),
    ] {
        let (got, problem) = office.act("POST", &format!("/v1/carriers/{path}"), &body).await;
        assert_eq!(got, status, "{path} {body}: {problem}");
        assert!(problem["type"].as_str().unwrap().ends_with(&format!("/{kind}")), "{path}: {problem}");
    }
    assert_eq!(office.done("POST", "/v1/carriers/c1/resume", &json!({})).await["changed"], true);
    assert_eq!(office.done("POST", "/v1/carriers/c1/resume", &Value::Null).await["changed"], false);
    assert_eq!(list().await[0], c1);
    office.done("POST", "/v1/carriers/c1/probe", &json!({"reason": "fixed"})).await;
    let acts: Vec<String> = office.audit().await.into_iter().map(|(act, _)| act).collect();
    assert_eq!(acts, ["carrier_pause", "carrier_resume", "carrier_probe"]);
    let page = office.done("GET", "/v1/audit?limit=1", &Value::Null).await;
    let next = page["next"].as_str().unwrap();
    let page = office.done("GET", &format!("/v1/audit?limit=9&cursor={next}"), &Value::Null).await;
    assert_eq!(page["records"].as_array().unwrap().len(), 2);
    for bad in ["limit=0", "limit=x", "since=yesterday", "until=now"] {
        assert_eq!(office.act("GET", &format!("/v1/audit?{bad}"), &Value::Null).await.0, 422, "{bad}");
    }
    office.app.stop().await;
}

/// Fails if the country's messages wait or still go to the carrier, if other countries' go elsewhere, or if an answer or a page of
/// operators does not name the country.
async fn a_carrier_is_paused_in_one_country(backend: Backend) {
    let office = Office::with(backend, |config| {
        config.carriers.insert("c2".to_owned(), config.carriers["c1"].clone());
    })
    .await;
    let act = async |verb: &str, body: Value| {
        office.done("POST", &format!("/v1/carriers/c1/{verb}"), &body).await["changed"].clone()
    };
    let list = async || office.done("GET", "/v1/carriers", &Value::Null).await["carriers"][0].clone();
    let countries = async || {
        let pauses = list().await["country_pauses"].as_array().cloned().unwrap_or_default();
        pauses.iter().map(|pause| pause["country"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let sent_by = async |to: &str| {
        let (status, sent) = office.post(to).await;
        assert_eq!(status, 202, "{sent}");
        office.until_state(id(&sent), "delivered").await;
        let d = office.app.ledger.find("default", id(&sent)).await.unwrap().unwrap();
        d.attempts.iter().map(|attempt| attempt.carrier.clone()).collect::<Vec<_>>()
    };
    let free = list().await;
    assert_eq!(free.get("country_pauses"), None);
    assert_eq!(act("pause", json!({"country": "id", "reason": "loses texts"})).await, true);
    let paused = list().await;
    let pause = &paused["country_pauses"][0];
    let shown = json!({"country": "ID", "reason": "loses texts", "by": office.operator, "at": pause["at"]});
    assert_eq!((paused.get("pause"), pause), (None, &shown));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(sent_by("+6281234501101").await, ["c2"]);
    assert_eq!(sent_by("+447709001301").await, ["c1"]);
    // Operators see it within some seconds: a status is read once for all who ask.
    wait::until("the status has the pause", async || {
        let status = office.done("GET", "/v1/status", &Value::Null).await;
        (&status["pauses"][0]["carrier"], &status["pauses"][0]["country"]) == (&json!("c1"), &json!("ID"))
    })
    .await;
    let (_, page) = office.deployment.get(&format!("http://{}/", office.app.ops)).await;
    assert!(
        page.contains("<b>c1</b> in ID, ") && page.contains("until otpost carrier resume c1 --country ID"),
        "{page}"
    );
    // The other countries' messages may be probed.
    assert_eq!(act("probe", json!({})).await, true);

    // Each country has its own pause.
    act("pause", json!({"country": "DE", "reason": "loses texts", "for_s": 600})).await;
    assert_eq!(countries().await, ["DE", "ID"]);
    for verb in ["pause", "resume"] {
        for country in ["UK", "XX", "", "Indonesia"] {
            let body = json!({"country": country, "reason": "x"});
            let (status, problem) = office.act("POST", &format!("/v1/carriers/c1/{verb}"), &body).await;
            assert_eq!((status, &problem["field"]), (422, &json!("country")), "{verb} {body}: {problem}");
        }
    }
    assert_eq!(act("resume", json!({"country": "FR"})).await, false);
    assert_eq!(act("resume", json!({"country": "id"})).await, true);
    assert_eq!(countries().await, ["DE"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(sent_by("+6281234501102").await, ["c1"]);
    // Without a country, all pauses end.
    act("pause", json!({"reason": "is down"})).await;
    assert_eq!((list().await["pause"]["reason"].clone(), countries().await.len()), (json!("is down"), 1));
    assert_eq!(act("resume", json!({})).await, true);
    assert_eq!(list().await, free);
    let audit = office.audit().await;
    let audit: Vec<(&str, &str)> =
        audit.iter().map(|(act, subject)| (act.as_str(), subject.as_str())).collect();
    assert_eq!(
        audit,
        [
            ("carrier_pause", "carrier c1 in ID"),
            ("carrier_probe", "carrier c1"),
            ("carrier_pause", "carrier c1 in DE"),
            ("carrier_resume", "carrier c1 in ID"),
            ("carrier_pause", "carrier c1"),
            ("carrier_resume", "carrier c1"),
        ]
    );
    office.app.stop().await;
}

/// Fails if a handler of operators takes a tenant's key, or a handler of tenants an operator's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_tenants_and_of_operators_open_different_paths() {
    let office = Office::open(Backend::Sqlite).await;
    let document = Contract::Openapi.document();
    let (mut of_operators, mut of_tenants) = (0, 0);
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let tag = operation["tags"][0].as_str().unwrap();
            if tag == "contract" {
                continue;
            }
            let path = path
                .replace("{id}", "0192f0c1-2222-4333-8444-555566667777")
                .replace("{uid}", "0192f0c1-2222-7333-8444-555566667777")
                .replace("{name}", "c1");
            let is_operators = tag == "operators";
            let (wrong, command) = if is_operators {
                of_operators += 1;
                (&office.tenant_key, "otpost keys create --all-tenants --scope admin")
            } else {
                of_tenants += 1;
                (&office.operator_key, "otpost keys create --tenant NAME")
            };
            let (status, problem) = office.request(wrong, &method.to_uppercase(), &path, &Value::Null).await;
            assert_eq!(status, 403, "{method} {path}: {problem}");
            let detail = problem["detail"].as_str().unwrap();
            // A scope that the operator's key lacks is named first.
            assert!(
                detail.contains(command) || !is_operators && detail.contains("lacks the scope"),
                "{path}: {detail}"
            );
        }
    }
    assert!(of_operators >= 14 && of_tenants >= 9, "{of_operators} {of_tenants}");
    let hooks = office.request(&office.operator_key, "GET", "/v1/webhooks", &Value::Null).await;
    assert!(
        hooks.0 == 403 && hooks.1["detail"].as_str().unwrap().contains("belongs to no tenant"),
        "{hooks:?}"
    );
    assert_eq!(office.audit().await, [], "nothing was done");
    office.app.stop().await;
}
