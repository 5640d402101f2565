//! Reloads of configuration and keys under load.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use otpost::app::Roles;
use otpost::http::{NewKey, Scope};
use otpost::seal::{Root, TenantKey};
use serde_json::{Value, json};
use support::deployment::process::Process;
use support::deployment::{Deployment, job, seal};
use support::wait;
use uuid::Uuid;

const LOG_PREFIX: &str = "configuration ";

/// Edits a process's configuration and reloads it. Returns the log line of the process: level, message and fields.
async fn reload(
    deployment: &Deployment, (name, process): (&str, &Process), edit: impl Fn(String) -> String,
) -> String {
    let lines = || -> Vec<String> {
        deployment.log(name).lines().filter(|l| l.contains(LOG_PREFIX)).map(str::to_owned).collect()
    };
    let before = lines().len();
    let file = deployment.files.0.join(format!("{name}.toml"));
    std::fs::write(&file, edit(std::fs::read_to_string(&file).unwrap())).unwrap();
    process.signal("HUP");
    wait::until(LOG_PREFIX, async || lines().len() > before).await;
    let line: Value = serde_json::from_str(lines().last().unwrap()).unwrap();
    let parts = ["level", "message", "settings", "reason"].map(|name| line[name].as_str());
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

async fn text_to(deployment: &Deployment, to: &str) -> Value {
    wait::until(to, async || deployment.accepted(to).await == 1).await;
    deployment.record("accepted", Some(to)).await.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_routes_templates_and_the_log_change_at_run_time() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let templates = deployment.files.0.join("templates");
    std::fs::create_dir(&templates).unwrap();
    let template = templates.join("code.en.sms.txt");
    std::fs::write(&template, "old {{ code }}\n").unwrap();
    let level = "warn,otpost::cli=info";
    let all = deployment.process("api,worker,receipts", "http://127.0.0.1:0", level, "all");
    let api = deployment.serving("all").await["api"].as_str().unwrap().to_owned();
    let all = ("all", &all);
    let post = async |to: &str| {
        deployment.post_bytes(&api, &deployment.key, job(to, json!({})).to_string().into()).await
    };

    // A second account, a tight limit, and a custom template.
    let more = "[limits]\nnumber = [\"1/10m\"]\n[messages]\ntemplates_dir = \"templates\"\n[routes]\nsms = [\"c1\"]\n";
    let log_line = reload(&deployment, all, |text| {
        let (head, account) = text.split_once("[carriers.c1]").unwrap();
        let second = account.replace("c1", "c2").replace("+15005550006", "+15005550099");
        format!("{head}[carriers.c1]{account}[carriers.c2]{second}{more}")
    });
    assert_eq!(log_line.await, "INFO configuration reloaded");
    let (first, second) = ("+447705000001", "+447705000002");
    assert_eq!(post(first).await.0, 202);
    let text = text_to(&deployment, first).await;
    assert_eq!((text["from"].as_str(), text["body"].as_str()), (Some("+15005550006"), Some("old 481516")));
    assert_eq!(post(first).await.0, 429, "the limit holds");
    assert!(!deployment.log("all").contains("dispatch state changed"), "the level is warn");

    // Another limit, another template and the other account. The log names all of them.
    std::fs::write(&template, "new {{ code }}\n").unwrap();
    let log_line = reload(&deployment, all, |text| {
        text.replace("1/10m", "2/10m").replace("sms = [\"c1\"]", "sms = [\"c2\"]").replace(level, "info")
    });
    assert_eq!(log_line.await, "INFO configuration reloaded");
    assert_eq!(post(first).await.0, 202, "cached refusals are cleared");
    assert_eq!(post(second).await.0, 202);
    let text = text_to(&deployment, second).await;
    assert_eq!((text["from"].as_str(), text["body"].as_str()), (Some("+15005550099"), Some("new 481516")));
    wait::until("logged", async || deployment.log("all").contains("dispatch state changed")).await;

    // A retired account sends nothing, and its receipts are still taken.
    let sid = text["sid"].as_str().unwrap();
    let receipts_of_c2 = async || {
        deployment.receipt(sid, "delivered").await;
        let callbacks = text_to(&deployment, second).await["callbacks"].clone();
        callbacks.as_array().unwrap().last().unwrap()["http_status"].clone()
    };
    let log_line = reload(&deployment, all, |text| {
        text.replace("sms = [\"c2\"]", "").replace("[carriers.c2]\n", "[carriers.c2]\nretired = true\n")
    });
    assert_eq!(log_line.await, "INFO configuration reloaded");
    assert_eq!(receipts_of_c2().await, 204);
    let third = "+447705000003";
    assert_eq!(post(third).await.0, 202);
    assert_eq!(text_to(&deployment, third).await["from"].as_str(), Some("+15005550006"), "c1 sends");

    // The log names settings that need a restart. The other settings change.
    let log_line = reload(&deployment, all, |text| {
        text.replace("[ledger]\n", "[ledger]\npool = 9\n")
            .replace("[worker]\n", "[worker]\nslots = 9\n")
            .replace("2/10m", "3/10m")
    });
    let later = "some changes need a restart ledger.pool, worker.slots";
    assert_eq!(log_line.await, format!("WARN configuration reloaded, but {later}"));
    assert_eq!(post(first).await.0, 202, "a third job is accepted");

    // An invalid configuration changes nothing.
    for (wrong, why) in [
        ("[limits]\nnumber = [\"1/", "a quota is written"),
        ("[nonsense]\n[limits]\nnumber = [\"9/", "unknown field `nonsense`"),
    ] {
        let before = std::fs::read_to_string(deployment.files.0.join("all.toml")).unwrap();
        let wrong = |text: String| {
            let text = text.replace("[limits]\nnumber = [\"3/", wrong);
            if why.starts_with("a quota") { text.replace("1/10m", "1/soon") } else { text }
        };
        let log_line = reload(&deployment, all, wrong).await;
        assert!(log_line.starts_with("ERROR configuration not reloaded: nothing was changed "), "{log_line}");
        assert!(log_line.contains(why), "{log_line}");
        std::fs::write(deployment.files.0.join("all.toml"), before).unwrap();
        assert_eq!(post(first).await.0, 429, "three is still the limit");
    }
}

/// The root that a process seals with, and a second root that it also accepts.
fn keys(current: (&str, &Root), previous: Option<(&str, &Root)>, hashes: &Root) -> impl Fn(String) -> String {
    let hex = |root: &Root| root.to_hex().to_string();
    let previous = previous.map(|(id, root)| format!("{{ id = \"{id}\", root = \"{}\" }}", hex(root)));
    let section = format!(
        "[keys]\nid = \"{}\"\nroot = \"{}\"\nhash_root = \"{}\"\nprevious = [{}]\n",
        current.0,
        hex(current.1),
        hex(hashes),
        previous.unwrap_or_default()
    );
    move |text| {
        let (head, rest) = text.split_once("[keys]").unwrap();
        let (_, tail) = rest.split_once("[api]").unwrap();
        format!("{head}{section}[api]{tail}")
    }
}

/// A worker whose configuration lacks the new root, beside one that has it.
///
/// Fails if a process that lacks a key ends what another process could send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatch_waits_for_a_process_that_has_its_key() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (old, new) = (deployment.root.clone(), Root::random("t2"));
    let both = || keys(("t2", &new), Some(("t1", &old)), &old);
    let none = "http://127.0.0.1:0";
    let _behind = deployment.process_with("worker", none, "info", "behind", keys(("t1", &old), None, &old));
    let _front = deployment.process_with("api,receipts", none, "info", "front", both());
    let api = deployment.serving("front").await["api"].as_str().unwrap().to_owned();
    let body = job("+447705150001", json!({})).to_string();
    let (status, answer) = deployment.post_bytes(&api, &deployment.key, body.into()).await;
    assert_eq!(status, 202, "{answer}");
    let names_it = async || deployment.log("behind").contains("\"key\":\"t2\"");
    wait::until("the log names the key", names_it).await;
    let _worker = deployment.process_with("worker", none, "info", "worker", both());
    deployment.until_state(answer["id"].as_str().unwrap().parse().unwrap(), "sent").await;
}

/// A producer without pauses. It sends texts to different numbers, half of them sealed over AMQP and half
/// over HTTP.
struct Load {
    sealing: Mutex<TenantKey>,
    bearer: Mutex<String>,
    sent: AtomicUsize,
    stop: AtomicUsize,
}

impl Load {
    async fn run(self: Arc<Self>, deployment: Arc<Deployment>, api: String) -> BTreeMap<String, Uuid> {
        let mut jobs = BTreeMap::new();
        while self.stop.load(Ordering::Relaxed) == 0 {
            let n = self.sent.load(Ordering::Relaxed);
            let to = format!("+4477051{:05}", 20_000 + n);
            if (101..=126).contains(&(n % 10_000)) {
                self.sent.fetch_add(1, Ordering::Relaxed);
                continue; // numbers with a meaning for the mock carrier
            }
            let job = job(&to, json!({"fallback_after_s": 0}));
            let id = if n.is_multiple_of(2) {
                let sealed = seal(&self.sealing.lock().unwrap(), &job);
                deployment.publish(&sealed).await
            } else {
                let bearer = self.bearer.lock().unwrap().clone();
                let (status, answer) = deployment.post_bytes(&api, &bearer, job.to_string().into()).await;
                assert_eq!(status, 202, "{answer}");
                job["id"].as_str().unwrap().parse().unwrap()
            };
            jobs.insert(to, id);
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        jobs
    }

    /// Waits for this many further jobs.
    async fn more(&self, jobs: usize) {
        let until = self.sent.load(Ordering::Relaxed) + jobs;
        wait::until("more load", async || self.sent.load(Ordering::Relaxed) >= until).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_are_rotated_under_load_without_an_error() {
    let mut deployment = Deployment::build(Duration::from_millis(700)).await;
    deployment.rate_per_s = 500;
    let (old, new) = (deployment.root.clone(), Root::random("t2"));
    let deployment = Arc::new(deployment);
    let front_end = deployment.process("api,receipts", "http://127.0.0.1:0", "info", "front-end");
    let at = deployment.serving("front-end").await;
    let (api, receipts) = (at["api"].as_str().unwrap(), at["receipts"].as_str().unwrap().parse().unwrap());
    let processes = [
        ("front-end", front_end),
        ("a", deployment.worker_process(receipts, "a")),
        ("b", deployment.worker_process(receipts, "b")),
    ];
    for (name, _) in &processes {
        deployment.serving(name).await;
    }
    let everywhere = async |step: &str, edit: &dyn Fn(String) -> String| {
        for (name, process) in &processes {
            let log_line = reload(&deployment, (name, process), edit).await;
            assert_eq!(log_line, "INFO configuration reloaded", "{step}, {name}");
        }
    };
    let load = Arc::new(Load {
        sealing: Mutex::new(old.tenant("default")),
        bearer: Mutex::new(deployment.key.clone()),
        sent: AtomicUsize::new(0),
        stop: AtomicUsize::new(0),
    });
    let running = tokio::spawn(Arc::clone(&load).run(Arc::clone(&deployment), api.to_owned()));
    load.more(100).await;

    everywhere("the new root opens", &keys(("t1", &old), Some(("t2", &new)), &old)).await;
    load.more(100).await;
    everywhere("the new root seals", &keys(("t2", &new), Some(("t1", &old)), &old)).await;
    load.more(100).await;
    *load.sealing.lock().unwrap() = new.tenant("default");
    let fresh = NewKey::make("default", &[Scope::Dispatch]);
    deployment.ledger.add_key(&fresh.row).await.unwrap();
    fresh.text.clone_into(&mut load.bearer.lock().unwrap());
    load.more(2).await; // jobs that were under way with the old keys
    deployment.ledger.revoke_key(deployment.key.split('_').nth(1).unwrap()).await.unwrap();
    let refused = async || deployment.post_bytes(api, &deployment.key, vec![]).await.0 == 401;
    wait::until("the old bearer key is refused", refused).await;
    // The old root is removed when no sealed value needs it.
    let look = support::world::connect(&deployment.ledger_url).await;
    let left = "select count(*) from dispatch where state <> 'delivered' and code like 'v1.t1.%'";
    wait::until("the last old code has ended", async || {
        look.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    everywhere("the old root is gone", &keys(("t2", &new), None, &old)).await;
    load.more(100).await;

    load.stop.store(1, Ordering::Relaxed);
    let jobs = running.await.unwrap();
    assert!(jobs.len() >= 400, "{}", jobs.len());
    for (to, id) in &jobs {
        deployment.until_state(*id, "delivered").await;
        assert_eq!(deployment.accepted(to).await, 1, "{to}");
    }
    assert_eq!(deployment.waiting("otpost.dead").await, 0);
    // Some jobs were sealed under each root, and some receipts came to URLs of each.
    let sealed = "select count(*) from dispatch where number like $1";
    for root in ["v1.t1.%", "v1.t2.%"] {
        let count: i64 = look.query_one(sealed, &[&root]).await.unwrap().get(0);
        assert!(count >= 100, "{root} {count}");
    }

    // A job that was sealed under the old root is refused with a clear reason.
    deployment.publish(&seal(&old.tenant("default"), &job("+447705190001", json!({})))).await;
    let (field, reason, body) = deployment.dead_letter().await;
    assert_eq!((field.as_str(), reason.as_str()), ("sealed", "names a key that is not configured"));
    assert!(body.starts_with(b"v1.t2."), "a dead letter is sealed with the new root");
    // The quotas still count, because the hashes use the old root.
    let to = jobs.keys().next().unwrap();
    for _ in 0..4 {
        assert_eq!(
            deployment.post_bytes(api, &fresh.text, job(to, json!({})).to_string().into()).await.0,
            202
        );
    }
    assert_eq!(deployment.post_bytes(api, &fresh.text, job(to, json!({})).to_string().into()).await.0, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_hash_root_is_refused() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let all = deployment.process("api,worker,receipts", "http://127.0.0.1:0", "info", "all");
    deployment.serving("all").await;
    let (old, new) = (deployment.root.clone(), Root::random("t2"));
    let log_line = reload(&deployment, ("all", &all), keys(("t2", &new), Some(("t1", &old)), &new)).await;
    assert!(log_line.starts_with("ERROR") && log_line.contains("keys.hash_root would change"), "{log_line}");
    let file: &Path = &deployment.files.0.join("all.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let hashes = format!("hash_root = \"{}\"\n", new.to_hex().as_str());
    let log_line = reload(&deployment, ("all", &all), |_| text.replace(&hashes, "")).await;
    assert!(log_line.starts_with("ERROR") && log_line.contains("keys.hash_root is not"), "{log_line}");
}

/// An old event for a webhook that the configuration no longer has.
///
/// Fails if no worker deletes it, or if one deletes while another does the housekeeping.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_events_for_a_removed_webhook_are_deleted_by_the_worker_that_does_the_housekeeping() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let look = support::world::connect(&deployment.ledger_url).await;
    look.batch_execute(
        "insert into outbox (id, receiver, created_at, uids, events) values (gen_random_uuid(), 'webhook:gone', \
         clock_timestamp() - interval '60 days', array[gen_random_uuid()], array['{}'])",
    )
    .await
    .unwrap();
    let left = async || -> i64 {
        let sql = "select count(*) from outbox where receiver = 'webhook:gone'";
        look.query_one(sql, &[]).await.unwrap().get(0)
    };
    let lease = Duration::from_secs(150);
    assert!(deployment.ledger.claim_housekeeping("other", lease).await.unwrap());
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    wait::throughout(Duration::from_secs(2), async || assert_eq!(left().await, 1)).await;
    app.stop().await;
    deployment.ledger.remove_worker("other").await.unwrap();
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    wait::until("the event is deleted", async || left().await == 0).await;
    app.stop().await;
}
