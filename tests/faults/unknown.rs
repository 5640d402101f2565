//! F2: a carrier accepts a message and hangs, and the worker that waits for its answer is killed. The next
//! worker only sees that the attempt's deadline has passed. The phone must get what the carrier's policy
//! promises.

use std::time::Duration;

use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};

use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster};
use crate::load::Sent;
use crate::support::deployment::{in_seconds, job};
use crate::support::wait;

/// A policy, and its expected result.
struct Case {
    name: &'static str,
    /// The value in the configuration.
    twilio: &'static str,
    infobip: Option<&'static str>,
    plan: Value,
    /// The texts and calls that the phone gets.
    gets: (usize, usize),
    /// Number of requests to send a text.
    requests: usize,
    ends: &'static str,
}

fn cases() -> Vec<Case> {
    let text = json!(["sms"]);
    let twilio = |name, twilio, plan: &Value, gets, requests, ends| {
        let (infobip, plan) = (None, plan.clone());
        Case { name, twilio, infobip, plan, gets, requests, ends }
    };
    let infobip = |name, policy, requests| {
        let (plan, infobip) = (text.clone(), Some(policy));
        Case { name, twilio: "", infobip, plan, gets: (1, 0), requests, ends: "delivered" }
    };
    vec![
        // The only case with a second text.
        twilio("waits", "unknown_sms = \"wait\"\n", &text, (2, 0), 2, "delivered"),
        twilio(
            "never repeats",
            "unknown_sms = \"never\"\n",
            &json!(["sms", "voice"]),
            (1, 1),
            1,
            "delivered",
        ),
        // A call is not repeated, even after a crash.
        twilio("calls", "", &json!(["voice"]), (0, 1), 0, "unconfirmed"),
        infobip("asks", "lookup", 1),
        infobip("repeats by reference", "idempotent", 2),
        infobip("waits, by reference", "wait", 2),
    ]
}

async fn run_case(case: Case, n: usize) {
    let mut cluster = Cluster::build(Duration::from_millis(20)).await;
    checker::listen(&cluster).await;
    cluster.replacements.push(("[carriers.c1]\n".to_owned(), format!("[carriers.c1]\n{}", case.twilio)));
    if let Some(policy) = case.infobip {
        let more = format!(
            "[carriers.c2]\ntime_out_s = 3\nunknown_sms = \"{policy}\"\n[carriers.c2.infobip]\nbase_url = \"http://{}\"\n\
             api_key = \"{}\"\nfrom = \"Shop\"\n[routes]\nsms = [\"c2\"]\nvoice = [\"c1\"]\n",
            cluster.deployment.gateway.addr(),
            mock_gateway::Config::default().api_key,
        );
        cluster.extra_config.push_str(&more);
    }
    let first = cluster.start("first", ALL).await;
    let to = format!("+44773400{n:04}");
    let channel = &case.plan[0];
    let held = json!({"to": to, "channel": channel, "outcomes": [{"outcome": "hold", "seconds": 60}]});
    cluster.deployment.script_whole(&held).await;
    let more = json!({"channels": case.plan, "fallback_after_s": 0, "expires_at": in_seconds(30)});
    let mut job = job(&to, more);
    let sent = [Sent::by_hand(&mut job)];
    let id = cluster.deployment.publish(&job).await;
    let got = async |channel: &str| {
        let accepted = cluster.deployment.record("accepted", Some(&to)).await;
        accepted.iter().filter(|m| m["channel"] == channel).count()
    };
    wait::until("the carrier has accepted it", async || got("sms").await + got("voice").await == 1).await;
    drop(first);
    let _second = cluster.start("second", ALL).await;
    if case.infobip.is_some() {
        // The carriers send no receipts, so only the answer to the second request is known.
        let known = |d: &Dispatch| d.attempts.iter().any(otpost::domain::attempt::Attempt::is_accepted);
        let d = cluster.deployment.until(id, "known", |d| known(d)).await;
        cluster.deployment.receipt(&format!("{}-1", d.order.uid), "delivered").await;
    }
    let d = cluster.deployment.until_state(id, case.ends).await;
    let what = format!("{}: {d:#?}", case.name);
    assert_eq!((got("sms").await, got("voice").await), case.gets, "{what}");
    let digits = to.trim_start_matches('+');
    let requests = cluster.deployment.record("requests", None).await;
    let sends = requests.iter().filter(|r| r["method"] == "POST" && r["channel"] == "sms");
    let requests = sends.filter(|r| r["to"].as_str().is_some_and(|to| to.ends_with(digits))).count();
    assert_eq!(requests, case.requests, "{what}");
    assert!(d.attempts.iter().filter(|a| a.repeats.is_some()).count() <= 1, "{what}");
    wait::until("its final state is published", async || {
        cluster.deployment.events(id).last().is_some_and(|last| last.starts_with(case.ends))
    })
    .await;
    checker::settle(&cluster, &sent, Duration::from_secs(30)).await;
    checker::check(&cluster, &sent, Injected { unknown: 1, time: true, ..Injected::default() }).await;
}

mod long {
    use super::*;

    /// Fails if `never` repeats like `wait` (two texts and no call), and if a repeat has its own reference
    /// (two texts from the carrier that drops duplicates).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_is_killed_while_its_carrier_hangs() {
        let all = cases().into_iter().enumerate().map(|(n, case)| run_case(case, 1000 + n));
        futures_util::future::join_all(all).await;
    }
}
