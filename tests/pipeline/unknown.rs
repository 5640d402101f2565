//! Unknown outcomes: each policy with each carrier that offers it, and the messages on the phone.

use std::time::Duration;

use otpost::app::{App, Roles};
use otpost::carriers::infobip;
use otpost::config::CarrierConfig;
use otpost::domain::attempt::Attempt;
use otpost::domain::channel::Channel;
use otpost::domain::decide::UnknownPolicy;
use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::deployment::{Deployment, job};
use crate::support::relay::Relay;
use crate::support::wait;

/// The fate of the first request: accepted, lost or failed.
const ACCEPTED: &str = "hang_up";
const LOST: &str = "lost";
const FAILED: &str = "server_error";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Company {
    Twilio,
    Infobip,
}

/// A policy at a company, the fate of the first request, and the texts on the phone.
struct Case {
    company: Company,
    policy: UnknownPolicy,
    first: &'static str,
    texts: usize,
    /// Number of requests to send, and of status queries.
    counts: (usize, usize),
}

fn cases() -> Vec<Case> {
    use Company::{Infobip, Twilio};
    use UnknownPolicy::{Idempotent, Lookup, Never, Wait};
    let case = |company, policy, first, texts, counts| Case { company, policy, first, texts, counts };
    vec![
        // The repeat may be a second text.
        case(Twilio, Wait, ACCEPTED, 2, (2, 0)),
        case(Twilio, Wait, LOST, 1, (2, 0)),
        case(Twilio, Wait, FAILED, 1, (2, 0)),
        // A call follows, and no text.
        case(Twilio, Never, ACCEPTED, 1, (1, 0)),
        case(Twilio, Never, LOST, 0, (1, 0)),
        // The status query says that the carrier has the text.
        case(Infobip, Lookup, ACCEPTED, 1, (1, 1)),
        case(Infobip, Lookup, LOST, 1, (2, 1)),
        case(Infobip, Lookup, FAILED, 1, (2, 1)),
        // The carrier drops the repeat.
        case(Infobip, Idempotent, ACCEPTED, 1, (2, 0)),
        case(Infobip, Idempotent, LOST, 1, (2, 0)),
        case(Infobip, Idempotent, FAILED, 1, (2, 0)),
        // With the policy `wait` the repeat has the same reference too.
        case(Infobip, Wait, ACCEPTED, 1, (2, 0)),
        case(Infobip, Wait, LOST, 1, (2, 0)),
        case(Infobip, Never, ACCEPTED, 1, (1, 0)),
        case(Infobip, Never, LOST, 0, (1, 0)),
    ]
}

fn named(company: Company, policy: UnknownPolicy) -> String {
    format!("{company:?}_{policy:?}").to_lowercase()
}

/// Starts with each company and each of its policies, for a separate country. Breakers and rate limits are
/// separate for each carrier.
async fn start(deployment: &Deployment, companies: &[(Company, UnknownPolicy)], base_url: &str) -> App {
    let mut config = deployment.config(&["calls"]);
    config.carriers.get_mut("calls").unwrap().time_out_s = 2;
    config.routes.channels = [(Channel::Voice, vec!["calls".to_owned()])].into();
    for (n, (company, policy)) in companies.iter().enumerate() {
        let name = named(*company, *policy);
        let mut carrier = CarrierConfig {
            unknown: [(Channel::Sms, *policy)].into(),
            time_out_s: 2,
            ..CarrierConfig::default()
        };
        match company {
            Company::Twilio => carrier.twilio.clone_from(&config.carriers["calls"].twilio),
            Company::Infobip => {
                carrier.infobip = Some(infobip::Config {
                    base_url: base_url.to_owned(),
                    api_key: Some(mock_gateway::Config::default().api_key.into()),
                    api_key_file: None,
                    from: "Shop".to_owned(),
                });
            }
        }
        config.carriers.insert(name.clone(), carrier);
        let local = (Channel::Sms, vec![name]);
        config.routes.countries.insert(COUNTRIES[n].0.to_owned().try_into().unwrap(), [local].into());
    }
    deployment.start(config, Roles::ALL).await
}

/// Countries, and the prefixes of their mobile numbers.
const COUNTRIES: [(&str, &str); 6] = [
    ("GB", "+44770200"),
    ("FR", "+3361200"),
    ("DE", "+491512000"),
    ("ES", "+3461200"),
    ("PT", "+35191200"),
    ("IT", "+3931200"),
];

fn number(company: usize, serial: usize) -> String {
    format!("{}{:04}", COUNTRIES[company].1, 1000 + serial)
}

/// Returns the number of requests to send, and of status queries.
async fn counts(deployment: &Deployment, to: &str, sid: Option<&str>) -> (usize, usize) {
    let of = |all: &[Value], method: &str, field: &str, value: &str| {
        all.iter().filter(|r| r["method"] == method && r["channel"] == "sms" && r[field] == value).count()
    };
    let all = deployment.record("requests", None).await;
    let digits = to.trim_start_matches('+');
    let sends = of(&all, "POST", "to", to) + of(&all, "POST", "to", digits);
    (sends, sid.map_or(0, |sid| of(&all, "GET", "sid", sid)))
}

async fn texts(deployment: &Deployment, to: &str) -> usize {
    deployment.record("accepted", Some(to)).await.iter().filter(|m| m["channel"] == "sms").count()
}

/// Publishes a text whose second step is a call. The call follows only after a failure.
async fn publish(deployment: &Deployment, to: &str, first: &str) -> Uuid {
    let script = json!({"to": to, "channel": "sms", "outcomes": [first]});
    deployment.script_whole(&script).await;
    deployment.publish(&job(to, json!({"channels": ["sms", "voice"], "fallback_after_s": 0}))).await
}

fn reference(d: &Dispatch) -> String {
    format!("{}-1", d.order.uid)
}

/// Fails if a repeat has its own reference (two texts with `idempotent`), and if the status answer is ignored
/// (two requests with `lookup`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_phone_gets_the_texts_of_each_policy() {
    let deployment = Deployment::build(Duration::from_millis(100)).await;
    let cases = cases();
    let mut companies: Vec<(Company, UnknownPolicy)> = vec![];
    for case in &cases {
        if !companies.contains(&(case.company, case.policy)) {
            companies.push((case.company, case.policy));
        }
    }
    let app = start(&deployment, &companies, &format!("http://{}", deployment.gateway.addr())).await;
    let mut published = vec![];
    for (serial, case) in cases.iter().enumerate() {
        let company = companies.iter().position(|c| *c == (case.company, case.policy)).unwrap();
        let to = number(company, serial);
        let id = publish(&deployment, &to, case.first).await;
        published.push((case, to, id));
    }
    for (case, to, id) in published {
        let what = named(case.company, case.policy) + " " + case.first;
        let done = |d: &Dispatch| {
            let called = d.step == 2 && d.state.as_str() == "delivered";
            let known = d.attempts.iter().any(Attempt::is_accepted);
            if case.policy == UnknownPolicy::Never { called } else { known }
        };
        let d = deployment.until(id, &what, |d| done(d)).await;
        assert_eq!(texts(&deployment, &to).await, case.texts, "{what}: {d:#?}");
        let reference = reference(&d);
        let sid = (case.company == Company::Infobip).then_some(reference.as_str());
        assert_eq!(counts(&deployment, &to, sid).await, case.counts, "{what}: {d:#?}");
        let repeats = d.attempts.iter().filter(|a| a.repeats.is_some()).count();
        assert_eq!(repeats, case.counts.0 - 1, "{what}: {d:#?}");
        if case.policy != UnknownPolicy::Never && case.first == ACCEPTED && case.company == Company::Infobip {
            // The carrier sends no receipts. A manual receipt of the single text applies to both requests.
            deployment.receipt(&reference, "undeliverable").await;
            let d =
                deployment.until(id, "the call that follows on a text that failed", |d| d.step == 2).await;
            let d = deployment.until_state(d.order.id, "delivered").await;
            assert_eq!(texts(&deployment, &to).await, case.texts, "{what}: {d:#?}");
        }
    }
    app.stop().await;
}

/// No status query gets through, so the outcome stays unknown. The repeat gets through, and the carrier drops
/// it.
///
/// Fails if a repeat has its own reference (two texts).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_with_unreachable_status_drops_the_repeat() {
    let deployment = Deployment::build(Duration::from_millis(100)).await;
    let relay = Relay::start(deployment.gateway.addr()).await;
    let companies = [(Company::Infobip, UnknownPolicy::Lookup)];
    let app = start(&deployment, &companies, &format!("http://{}", relay.addr())).await;
    let to = number(0, 0);
    let held = json!({"to": to, "channel": "sms", "outcomes": [{"outcome": "hold", "seconds": 20}]});
    deployment.script_whole(&held).await;
    let id = deployment.publish(&job(&to, json!({}))).await;
    wait::until("the carrier accepts it", async || texts(&deployment, &to).await == 1).await;
    relay.stall();
    deployment.until(id, "a repeat under way", |d| d.attempts.len() == 2).await;
    relay.pass();
    let d = deployment.until(id, "known again", |d| d.attempts.iter().any(Attempt::is_accepted)).await;
    assert_eq!(d.attempts[1].repeats, Some(1), "{d:#?}");
    deployment.receipt(&reference(&d), "delivered").await;
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!((texts(&deployment, &to).await, d.attempts.len()), (1, 2), "{d:#?}");
    app.stop().await;
}
