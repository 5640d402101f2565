//! Nobody knows whether a carrier took a text: each policy, at each carrier that offers it, by what the phone got.

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

use crate::support::house::{House, job};
use crate::support::relay::Relay;
use crate::support::wait;

/// What became of the first request.
const TAKEN: &str = "hang_up";
const NOT_TAKEN: &str = "lost";
const BROKE: &str = "server_error";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Company {
    Twilio,
    Infobip,
}

/// A policy at a company, what became of the first request, and what the phone got.
struct Case {
    company: Company,
    policy: UnknownPolicy,
    first: &'static str,
    texts: usize,
    /// Requests to send, and questions.
    asked: (usize, usize),
}

fn cases() -> Vec<Case> {
    use Company::{Infobip, Twilio};
    use UnknownPolicy::{Idempotent, Lookup, Never, Wait};
    let case = |company, policy, first, texts, asked| Case { company, policy, first, texts, asked };
    vec![
        // The one repeat may be a second text.
        case(Twilio, Wait, TAKEN, 2, (2, 0)),
        case(Twilio, Wait, NOT_TAKEN, 1, (2, 0)),
        case(Twilio, Wait, BROKE, 1, (2, 0)),
        // A call follows, and no text.
        case(Twilio, Never, TAKEN, 1, (1, 0)),
        case(Twilio, Never, NOT_TAKEN, 0, (1, 0)),
        // It says that it has it.
        case(Infobip, Lookup, TAKEN, 1, (1, 1)),
        case(Infobip, Lookup, NOT_TAKEN, 1, (2, 1)),
        case(Infobip, Lookup, BROKE, 1, (2, 1)),
        // It drops what it has.
        case(Infobip, Idempotent, TAKEN, 1, (2, 0)),
        case(Infobip, Idempotent, NOT_TAKEN, 1, (2, 0)),
        case(Infobip, Idempotent, BROKE, 1, (2, 0)),
        // Whoever waits repeats under the same reference, too.
        case(Infobip, Wait, TAKEN, 1, (2, 0)),
        case(Infobip, Wait, NOT_TAKEN, 1, (2, 0)),
        case(Infobip, Never, TAKEN, 1, (1, 0)),
        case(Infobip, Never, NOT_TAKEN, 0, (1, 0)),
    ]
}

fn named(company: Company, policy: UnknownPolicy) -> String {
    format!("{company:?}_{policy:?}").to_lowercase()
}

/// Each company with each of its policies, for a country of its own: a carrier's breaker and pace are its own too.
async fn start(house: &House, companies: &[(Company, UnknownPolicy)], base_url: &str) -> App {
    let mut config = house.config(&["calls"]);
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
        config.routes.countries.insert(COUNTRIES[n].0.to_owned(), [local].into());
    }
    house.start(config, Roles::ALL).await
}

/// Countries, and what mobile numbers there begin with.
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

/// How often it was asked to send, and what became of it.
async fn asked(house: &House, to: &str, sid: Option<&str>) -> (usize, usize) {
    let of = |all: &[Value], method: &str, field: &str, value: &str| {
        all.iter().filter(|r| r["method"] == method && r["channel"] == "sms" && r[field] == value).count()
    };
    let all = house.record("requests", None).await;
    let digits = to.trim_start_matches('+');
    let sends = of(&all, "POST", "to", to) + of(&all, "POST", "to", digits);
    (sends, sid.map_or(0, |sid| of(&all, "GET", "sid", sid)))
}

async fn texts(house: &House, to: &str) -> usize {
    house.record("accepted", Some(to)).await.iter().filter(|m| m["channel"] == "sms").count()
}

/// Each of them with a call as its second step, which follows only on a failure.
async fn publish(house: &House, to: &str, first: &str) -> Uuid {
    let script = json!({"to": to, "channel": "sms", "outcomes": [first]});
    house.script_whole(&script).await;
    house.publish(&job(to, json!({"channels": ["sms", "voice"], "fallback_after_s": 0}))).await
}

fn reference(d: &Dispatch) -> String {
    format!("{}-1", d.order.uid)
}

/// Seen to fail: with a repeat that has a reference of its own (two texts under `idempotent`), and where the look-up's answer
/// is passed over (two requests under `lookup`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_phone_gets_what_each_policy_promises() {
    let house = House::build(Duration::from_millis(100)).await;
    let cases = cases();
    let mut companies: Vec<(Company, UnknownPolicy)> = vec![];
    for case in &cases {
        if !companies.contains(&(case.company, case.policy)) {
            companies.push((case.company, case.policy));
        }
    }
    let app = start(&house, &companies, &format!("http://{}", house.gateway.addr())).await;
    let mut published = vec![];
    for (serial, case) in cases.iter().enumerate() {
        let company = companies.iter().position(|c| *c == (case.company, case.policy)).unwrap();
        let to = number(company, serial);
        let id = publish(&house, &to, case.first).await;
        published.push((case, to, id));
    }
    for (case, to, id) in published {
        let what = named(case.company, case.policy) + " " + case.first;
        let done = |d: &Dispatch| {
            let called = d.step == 2 && d.state.as_str() == "delivered";
            let known = d.attempts.iter().any(Attempt::is_accepted);
            if case.policy == UnknownPolicy::Never { called } else { known }
        };
        let d = house.until(id, &what, done).await;
        assert_eq!(texts(&house, &to).await, case.texts, "{what}: {d:#?}");
        let reference = reference(&d);
        let sid = (case.company == Company::Infobip).then_some(reference.as_str());
        assert_eq!(asked(&house, &to, sid).await, case.asked, "{what}: {d:#?}");
        let repeats = d.attempts.iter().filter(|a| a.repeats.is_some()).count();
        assert_eq!(repeats, case.asked.0 - 1, "{what}: {d:#?}");
        if case.policy != UnknownPolicy::Never && case.first == TAKEN && case.company == Company::Infobip {
            // Nobody reported by itself; what is reported of the one text holds for both requests.
            house.receipt(&reference, "undeliverable").await;
            let d = house.until(id, "the call that follows on a text that failed", |d| d.step == 2).await;
            let d = house.until_state(d.order.id, "delivered").await;
            assert_eq!(texts(&house, &to).await, case.texts, "{what}: {d:#?}");
        }
    }
    app.stop().await;
}

/// Nothing comes through while it is asked, so nobody knows more; the repeat gets through, and is dropped there.
///
/// Seen to fail: with a repeat that has a reference of its own (two texts).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_that_cannot_be_asked_drops_the_repeat() {
    let house = House::build(Duration::from_millis(100)).await;
    let relay = Relay::start(house.gateway.addr()).await;
    let companies = [(Company::Infobip, UnknownPolicy::Lookup)];
    let app = start(&house, &companies, &format!("http://{}", relay.addr())).await;
    let to = number(0, 0);
    let held = json!({"to": to, "channel": "sms", "outcomes": [{"outcome": "hold", "seconds": 20}]});
    house.script_whole(&held).await;
    let id = house.publish(&job(&to, json!({}))).await;
    wait::until("it is taken", async || texts(&house, &to).await == 1).await;
    relay.stall();
    house.until(id, "a repeat under way", |d| d.attempts.len() == 2).await;
    relay.pass();
    let d = house.until(id, "known again", |d| d.attempts.iter().any(Attempt::is_accepted)).await;
    assert_eq!(d.attempts[1].repeats, Some(1), "{d:#?}");
    house.receipt(&reference(&d), "delivered").await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!((texts(&house, &to).await, d.attempts.len()), (1, 2), "{d:#?}");
    app.stop().await;
}
