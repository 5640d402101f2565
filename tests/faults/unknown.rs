//! F2: a carrier takes a message and hangs, and the worker that waits for its answer is killed. Whoever comes next knows of
//! the attempt only that its deadline has passed: what the phone gets is what the carrier's policy promises.

use std::time::Duration;

use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};

use crate::checker::{self, Injected};
use crate::load::Sent;
use crate::site::{ALL, Site};
use crate::support::house::{in_seconds, job};
use crate::support::wait;

/// A policy, and what it leads to.
struct Case {
    name: &'static str,
    /// What the configuration has for it.
    twilio: &'static str,
    infobip: Option<&'static str>,
    plan: Value,
    /// What the phone gets: texts, calls.
    gets: (usize, usize),
    /// Requests to send a text.
    asked: usize,
    ends: &'static str,
}

fn cases() -> Vec<Case> {
    let text = json!(["sms"]);
    let twilio = |name, twilio, plan: &Value, gets, asked, ends| {
        let (infobip, plan) = (None, plan.clone());
        Case { name, twilio, infobip, plan, gets, asked, ends }
    };
    let infobip = |name, policy, asked| {
        let (plan, infobip) = (text.clone(), Some(policy));
        Case { name, twilio: "", infobip, plan, gets: (1, 0), asked, ends: "delivered" }
    };
    vec![
        // The one case in which a second text comes.
        twilio("waits", "unknown_sms = \"wait\"\n", &text, (2, 0), 2, "delivered"),
        twilio(
            "never repeats",
            "unknown_sms = \"never\"\n",
            &json!(["sms", "voice"]),
            (1, 1),
            1,
            "delivered",
        ),
        // A call is not repeated, whoever has died.
        twilio("calls", "", &json!(["voice"]), (0, 1), 0, "unconfirmed"),
        infobip("asks", "lookup", 1),
        infobip("repeats by reference", "idempotent", 2),
        infobip("waits, by reference", "wait", 2),
    ]
}

async fn plays(case: Case, n: usize) {
    let mut site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    site.instead.push(("[carriers.c1]\n".to_owned(), format!("[carriers.c1]\n{}", case.twilio)));
    if let Some(policy) = case.infobip {
        let more = format!(
            "[carriers.c2]\ntime_out_s = 3\nunknown_sms = \"{policy}\"\n[carriers.c2.infobip]\nbase_url = \"http://{}\"\n\
             api_key = \"{}\"\nfrom = \"Shop\"\n[routes]\nsms = [\"c2\"]\nvoice = [\"c1\"]\n",
            site.house.gateway.addr(),
            mock_gateway::Config::default().api_key,
        );
        site.more.push_str(&more);
    }
    let first = site.start("first", ALL).await;
    let to = format!("+44773400{n:04}");
    let channel = &case.plan[0];
    let held = json!({"to": to, "channel": channel, "outcomes": [{"outcome": "hold", "seconds": 60}]});
    site.house.script_whole(&held).await;
    let more = json!({"channels": case.plan, "fallback_after_s": 0, "expires_at": in_seconds(30)});
    let mut job = job(&to, more);
    let sent = [Sent::by_hand(&mut job)];
    let id = site.house.publish(&job).await;
    let got = async |channel: &str| {
        let accepted = site.house.record("accepted", Some(&to)).await;
        accepted.iter().filter(|m| m["channel"] == channel).count()
    };
    wait::until("the carrier has it", async || got("sms").await + got("voice").await == 1).await;
    drop(first);
    let _second = site.start("second", ALL).await;
    if case.infobip.is_some() {
        // Nobody reports by himself: what is known comes from the carrier's answer to the second.
        let known = |d: &Dispatch| d.attempts.iter().any(otpost::domain::attempt::Attempt::is_accepted);
        let d = site.house.until(id, "known", known).await;
        site.house.receipt(&format!("{}-1", d.order.uid), "delivered").await;
    }
    let d = site.house.until_state(id, case.ends).await;
    let what = format!("{}: {d:#?}", case.name);
    assert_eq!((got("sms").await, got("voice").await), case.gets, "{what}");
    let digits = to.trim_start_matches('+');
    let requests = site.house.record("requests", None).await;
    let sends = requests.iter().filter(|r| r["method"] == "POST" && r["channel"] == "sms");
    let asked = sends.filter(|r| r["to"].as_str().is_some_and(|to| to.ends_with(digits))).count();
    assert_eq!(asked, case.asked, "{what}");
    assert!(d.attempts.iter().filter(|a| a.repeats.is_some()).count() <= 1, "{what}");
    wait::until("its end is told", async || {
        site.house.events(id).last().is_some_and(|last| last.starts_with(case.ends))
    })
    .await;
    checker::settle(&site, &sent, Duration::from_secs(30)).await;
    checker::check(&site, &sent, Injected { unknown: 1, time: true, ..Injected::default() }).await;
}

mod long {
    use super::*;

    /// Seen to fail: where `never` repeats as `wait` does (two texts, and no call), and where a repeat has a reference of its own (two
    /// texts by the carrier that could drop one).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_is_killed_while_its_carrier_hangs() {
        let all = cases().into_iter().enumerate().map(|(n, case)| plays(case, 1000 + n));
        futures_util::future::join_all(all).await;
    }
}
