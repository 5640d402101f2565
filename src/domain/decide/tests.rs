mod steps;
mod transitions;
mod unknown;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::attempt::{Attempt, Details, NotSentCause, Receipt, ReceiptStatus, RefusalScope};
use crate::domain::clock::after;
use crate::domain::dispatch::{Order, Plan, QuotaUse, Stop};

fn t(s: f64) -> Timestamp {
    let zero: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    after(zero, Duration::from_secs_f64(s))
}

fn policy(sms: &[&str], voice: &[&str]) -> Policy {
    let all = |names: &[&str], unknown| {
        names
            .iter()
            .map(|c| Candidate { carrier: (*c).to_owned(), unknown, min_life: MIN_LIFE })
            .collect::<Vec<_>>()
    };
    Policy {
        candidates: [
            (Channel::Sms, all(sms, UnknownPolicy::Wait)),
            (Channel::Voice, all(voice, UnknownPolicy::Never)),
        ]
        .into(),
        receipt_wait: Duration::from_secs(900),
    }
}

fn dispatch(plan: &[Channel]) -> Dispatch {
    Dispatch {
        order: Order {
            uid: Uuid::from_u128(77),
            tenant: "default".to_owned(),
            id: Uuid::from_u128(1),
            plan: Plan::try_from(plan.to_vec()).unwrap(),
            expires_at: t(300.0),
            fallback_after_s: 30,
            template: "code".to_owned(),
            locale: None,
            country: None,
            mask: String::new(),
            number: String::new(),
            tags: std::collections::BTreeMap::new(),
            traceparent: None,
        }
        .into(),
        version: 1,
        state: State::Queued,
        reason: None,
        step: 1,
        step_at: t(0.0),
        snoozes: 0,
        snoozed_until: None,
        sent_event_steps: 0,
        stop: None,
        requested_step: None,
        wake_at: Some(t(0.0)),
        code: Some(String::new()),
        quota_uses: vec![QuotaUse { key: "n".to_owned(), at: t(0.0) }],
        holds_quota_uses: true,
        admitted_at: t(0.0),
        attempts: vec![],
        now: t(0.0),
    }
}

/// Begins an attempt as the ledger does.
fn begin(d: &mut Dispatch, b: &Begin, now: Timestamp) {
    if d.step != b.step {
        (d.step, d.step_at, d.snoozes) = (b.step, now, 0);
    }
    d.snoozed_until = None;
    d.version += 1;
    if d.state == State::Queued {
        d.state = State::Sending;
    }
    let deadline = after(now, Duration::from_secs(15));
    d.wake_at = Some(deadline);
    d.attempts.push(Attempt {
        n: d.attempts.len() as u16 + 1,
        step: b.step,
        channel: b.channel,
        carrier: b.carriers[0].clone(),
        claim: Uuid::nil(),
        repeats: b.repeats,
        begun_at: now,
        deadline,
        closed_at: None,
        outcome: None,
        details: Details::default(),
        receipt: None,
        receipt_reason: None,
        receipt_code: None,
        receipt_at: None,
        corrected_reason: None,
        corrected_code: None,
        corrected_at: None,
    });
}

fn close(d: &mut Dispatch, outcome: Outcome, now: Timestamp) {
    let a = d.attempts.last_mut().unwrap();
    a.outcome = Some(outcome);
    a.closed_at = Some(now);
    d.version += 1;
}

/// Returns the dispatch and the decision after one outcome of the first text, 0.2 s after its begin.
fn on(outcome: Outcome, plan: &[Channel], carriers: &[&str]) -> (Dispatch, Decision) {
    let policy = policy(carriers, &["v"]);
    let mut d = dispatch(plan);
    let first = decide(&d, t(0.0), &policy).begin.unwrap();
    begin(&mut d, &first, t(0.0));
    close(&mut d, outcome, t(0.2));
    let follows = decide(&d, t(0.2), &policy);
    (d, follows)
}

/// Outcome, plan and carriers; then the expected state, and the expected step and carriers of the begin.
type Row<'a> = (Outcome, &'a [Channel], &'a [&'a str], State, Option<(u8, Vec<&'a str>)>);

#[test]
fn the_table_of_what_follows_on_an_outcome() {
    use Channel::{Sms, Voice};
    let rejected = |r| Outcome::Rejected(r);
    let rows: Vec<Row<'_>> = vec![
        (Outcome::Accepted, &[Sms], &["a"], State::Sent, None),
        (Outcome::Accepted, &[Sms, Voice], &["a"], State::Sent, None),
        (Outcome::Unavailable, &[Sms], &["a", "b"], State::Sending, Some((1, vec!["b"]))),
        (Outcome::Unavailable, &[Sms], &["a"], State::Sending, None),
        (Outcome::NotSent(NotSentCause::Dns), &[Sms], &["a", "b"], State::Sending, Some((1, vec!["b"]))),
        (Outcome::Throttled { retry_after: None }, &[Sms], &["a", "b"], State::Sending, Some((1, vec!["b"]))),
        (
            Outcome::Misconfigured(RefusalScope::Account),
            &[Sms],
            &["a", "b"],
            State::Sending,
            Some((1, vec!["b"])),
        ),
        (Outcome::Unknown, &[Sms], &["a", "b"], State::Sending, None),
        (rejected(Reason::Landline), &[Sms], &["a", "b"], State::Failed, None),
        (rejected(Reason::Landline), &[Sms, Voice], &["a", "b"], State::Sending, Some((2, vec!["v"]))),
        (rejected(Reason::Landline), &[Sms, Sms], &["a"], State::Failed, None),
        (rejected(Reason::OptedOut), &[Sms, Voice], &["a"], State::Failed, None),
        (rejected(Reason::Request), &[Sms], &["a", "b"], State::Sending, Some((1, vec!["b"]))),
        (rejected(Reason::Request), &[Sms], &["a"], State::Failed, None),
        (rejected(Reason::Request), &[Sms, Voice], &["a"], State::Sending, Some((2, vec!["v"]))),
    ];
    for (outcome, plan, carriers, state, begins) in rows {
        let (d, follows) = on(outcome, plan, carriers);
        let what = format!("{outcome:?} {plan:?} {carriers:?}");
        assert_eq!(follows.transition.state, state, "{what}");
        let begun = follows
            .begin
            .as_ref()
            .map(|b| (b.step, b.carriers.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(begun, begins, "{what}");
        let c = &follows.transition;
        assert_eq!(c.wake_at.is_none(), state.is_final(), "{what}: what is not final has a wake_at");
        assert_eq!(c.quota_change == QuotaChange::GiveBack, state == State::Failed, "{what}");
        assert_eq!(c.drop_code, state.is_final(), "{what}");
        assert!(d.state == state || d.state.may_become(state), "{what}");
    }
}

#[test]
fn without_a_route_a_dispatch_fails_and_says_so() {
    let follows = decide(&dispatch(&[Channel::Sms]), t(0.0), &policy(&[], &[]));
    assert_eq!((follows.transition.state, follows.transition.reason), (State::Failed, Some(Reason::NoRoute)));
}

/// Fails if only the code's life limits the wait: the dispatch then ends as unconfirmed while its receipt is still queued.
#[test]
fn an_outcome_that_is_written_after_all_waits_leaves_time_for_the_receipt() {
    let policy = policy(&["a"], &[]);
    for outcome in [Outcome::Accepted, Outcome::Unknown] {
        let mut d = dispatch(&[Channel::Sms]);
        let first = decide(&d, t(0.0), &policy).begin.unwrap();
        begin(&mut d, &first, t(0.0));
        close(&mut d, outcome, t(1300.0));
        let follows = decide(&d, t(1300.0), &policy).transition;
        assert_eq!((follows.state.is_final(), follows.wake_at), (false, Some(t(1303.0))), "{outcome:?}");
        follows.apply(&mut d);
        assert_eq!(decide(&d, t(1303.0), &policy).transition.state, State::Unconfirmed, "{outcome:?}");
    }
}

/// Returns the reasons of the `sent` events, by step. The text has this outcome and receipt; the call is accepted.
fn reasons_of_sent(outcome: Outcome, receipt: Option<Reason>) -> Vec<(u8, Option<Reason>)> {
    let policy = policy(&["a"], &["v"]);
    let mut d = dispatch(&[Channel::Sms, Channel::Voice]);
    let text = decide(&d, t(0.0), &policy).begin.unwrap();
    begin(&mut d, &text, t(0.0));
    close(&mut d, outcome, t(0.2));
    let mut events = vec![];
    let mut follow = |d: &mut Dispatch, now| {
        let follows = decide(d, now, &policy);
        let sent = follows.transition.events.iter().filter(|e| e.state == State::Sent);
        events.extend(sent.map(|e| (e.step, e.reason)));
        follows.transition.apply(d);
        follows.begin
    };
    let mut call = follow(&mut d, t(0.2));
    if receipt.is_some() {
        let text = d.attempts.last_mut().unwrap();
        (text.receipt, text.receipt_reason) = (Some(ReceiptStatus::Bad), receipt);
        call = follow(&mut d, t(1.0));
    }
    let call = call.or_else(|| follow(&mut d, t(31.0))).unwrap();
    begin(&mut d, &call, t(31.0));
    close(&mut d, Outcome::Accepted, t(31.2));
    follow(&mut d, t(31.2));
    events
}

#[test]
fn sent_by_a_later_step_says_why_the_step_before_it_failed() {
    let landline = Reason::Landline;
    assert_eq!(reasons_of_sent(Outcome::Rejected(landline), None), [(2, Some(landline))]);
    assert_eq!(reasons_of_sent(Outcome::Accepted, Some(landline)), [(1, None), (2, Some(landline))]);
    assert_eq!(
        reasons_of_sent(Outcome::Accepted, None),
        [(1, None), (2, None)],
        "nobody said that it failed"
    );
}

#[test]
fn a_carrier_that_says_try_at_once_is_still_given_a_pause() {
    let (_, follows) = on(Outcome::Throttled { retry_after: Some(Duration::ZERO) }, &[Channel::Sms], &["a"]);
    assert_eq!((follows.begin, follows.transition.wake_at), (None, Some(t(1.2))));
}

#[test]
fn a_carrier_that_needs_more_life_is_skipped() {
    let mut policy = policy(&["a", "b"], &[]);
    policy.candidates.get_mut(&Channel::Sms).unwrap()[0].min_life = Duration::from_secs(60);
    let d = dispatch(&[Channel::Sms]);
    assert_eq!(decide(&d, t(250.0), &policy).begin.unwrap().carriers, ["b"]);
    assert_eq!(decide(&d, t(291.0), &policy).transition.state, State::Expired);
}

#[test]
fn the_last_seconds_of_a_wait_are_not_looked_at_again_and_again() {
    // No call can begin now, but one could have begun at the fallback time of the text.
    let policy = policy(&["a"], &["v"]);
    let mut d = dispatch(&[Channel::Sms, Channel::Voice]);
    Arc::make_mut(&mut d.order).expires_at = t(45.0);
    let b = decide(&d, t(27.0), &policy).begin.unwrap();
    d.step_at = t(0.0);
    begin(&mut d, &Begin { step: 1, ..b.clone() }, t(0.0));
    close(&mut d, Outcome::NotSent(NotSentCause::Connect), t(0.1));
    begin(&mut d, &Begin { step: 1, ..b }, t(27.0));
    close(&mut d, Outcome::Unknown, t(37.0));
    let held = decide(&d, t(37.0), &policy);
    assert!(held.begin.is_none() && held.transition.wake_at.unwrap() > t(37.0), "{held:#?}");
}

/// An event in a random history of a dispatch.
#[derive(Debug, Clone)]
enum Happening {
    Answer(Outcome),
    Receipt(usize, ReceiptStatus),
    Stop(Stop),
    NoPace,
    VoiceRefused,
    Time(u32),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Accepted),
        3 => Just(Outcome::Unavailable),
        3 => Just(Outcome::Unknown),
        1 => Just(Outcome::NotSent(NotSentCause::Connect)),
        1 => Just(Outcome::NotSent(NotSentCause::TooLate)),
        1 => Just(Outcome::Throttled { retry_after: Some(Duration::from_secs(7)) }),
        1 => Just(Outcome::Throttled { retry_after: None }),
        1 => Just(Outcome::Throttled { retry_after: Some(Duration::ZERO) }),
        1 => Just(Outcome::Misconfigured(RefusalScope::Account)),
        1 => Just(Outcome::Rejected(Reason::Landline)),
        1 => Just(Outcome::Rejected(Reason::OptedOut)),
        1 => Just(Outcome::Rejected(Reason::Request)),
    ];
    let status =
        prop_oneof![Just(ReceiptStatus::Interim), Just(ReceiptStatus::Delivered), Just(ReceiptStatus::Bad)];
    let stop = prop_oneof![Just(Stop::Cancel), Just(Stop::Verified), Just(Stop::Superseded)];
    let one = prop_oneof![
        6 => outcome.prop_map(Happening::Answer),
        3 => (0usize..6, status).prop_map(|(n, v)| Happening::Receipt(n, v)),
        1 => stop.prop_map(Happening::Stop),
        1 => Just(Happening::NoPace),
        1 => Just(Happening::VoiceRefused),
        4 => (0u32..40_000).prop_map(Happening::Time),
    ];
    prop::collection::vec(one, 1..60)
}

fn plans() -> impl Strategy<Value = Vec<Channel>> {
    use Channel::{Sms, Voice};
    prop_oneof![
        Just(vec![Sms]),
        Just(vec![Voice]),
        Just(vec![Sms, Voice]),
        Just(vec![Voice, Sms]),
        Just(vec![Sms, Voice, Sms, Voice]),
        Just(vec![Sms, Sms]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// The invariants hold for every sequence of events.
    #[test]
    fn the_promises_hold_whatever_happens(plan in plans(), two in any::<bool>(), story in happenings()) {
        let policy = policy(if two { &["a", "b"] } else { &["a"] }, &["v"]);
        let mut d = dispatch(&plan);
        let mut now = 0.0;
        let mut events: Vec<Event> = vec![];
        let mut ends = 0;
        for happening in story.into_iter().chain(std::iter::repeat_n(Happening::Time(40_000), 60)) {
            let before = d.clone();
            match happening {
                Happening::Answer(outcome) if d.open_attempt().is_some() => close(&mut d, outcome, t(now)),
                Happening::Receipt(i, status) => {
                    let reason = (status == ReceiptStatus::Bad).then_some(Reason::Unreachable);
                    let receipt = Receipt { status, reason, carrier_code: None, message_id: None };
                    // A carrier that accepted nothing sends no receipt.
                    let possible = |a: &&mut Attempt| a.outcome.is_none() || a.is_accepted() || a.is_unknown();
                    if let Some(a) = d.attempts.get_mut(i).filter(possible).filter(|a| a.is_changed_by(&receipt)) {
                        a.apply_receipt(&receipt, t(now));
                        d.version += 1;
                        d.wake_at = Some(t(now));
                    }
                }
                Happening::Stop(stop) if !d.state.is_final() && d.stop.is_none() => {
                    d.stop = Some(stop);
                    d.version += 1;
                    if d.open_attempt().is_none() { d.wake_at = Some(t(now)); }
                }
                Happening::Answer(_) | Happening::Stop(_) | Happening::NoPace | Happening::VoiceRefused => {}
                Happening::Time(ms) => {
                    now += f64::from(ms) / 1000.0;
                    if let Some(wake) = d.wake_at.filter(|w| *w > t(now)) {
                        // A worker processes the dispatch before its wake-up time only after a new fact.
                        let _ = wake;
                        continue;
                    }
                }
            }
            // Process the dispatch if it has a wake-up time.
            'decision: {
                if d.wake_at.is_none() { break 'decision; }
                let before = d.clone();
                let mut follows = decide(&before, t(now), &policy);
                if let Some(b) = follows.begin.clone() {
                    match happening {
                        Happening::NoPace => follows = decide_without_room(&before, &b, NoRoom::Busy, t(now), &policy),
                        Happening::VoiceRefused if b.channel == Channel::Voice => {
                            follows = skip_step(&before, &b, 60, t(now), &policy);
                        }
                        _ => {}
                    }
                }
                let c = &follows.transition;
                prop_assert!(c.version > before.version);
                prop_assert!(c.state == before.state || before.state.may_become(c.state)
                    || (before.state == State::Sending && c.events.iter().any(|e| e.state == State::Sent)),
                    "{} to {}", before.state, c.state);
                if !follows.begins_only(&before) || follows.begin.is_none() {
                    c.apply(&mut d);
                } else {
                    (d.step, d.step_at, d.snoozes) = (c.step, c.step_at, c.snoozes);
                }
                for e in &c.events {
                    prop_assert!(events.last().is_none_or(|l| l.version < e.version), "versions rise");
                    if e.state.is_final() { ends += 1; }
                    events.push(e.clone());
                }
                prop_assert!(d.wake_at.is_some() || (d.state.is_final() && d.open_attempt().is_none()), "{d:#?}");
                let Some(b) = follows.begin else { break 'decision };
                let life = crate::domain::clock::between(t(now), d.order.expires_at);
                prop_assert!(life >= MIN_LIFE, "no request begins with less than min_life left");
                prop_assert!(d.stop.is_none(), "nothing begins after a stop");
                prop_assert!(d.open_attempt().is_none(), "n+1 only when n is closed");
                prop_assert!(!d.state.is_final());
                begin(&mut d, &b, t(now));
                let step: Vec<&Attempt> = d.attempts_of(b.step).collect();
                let unknown = step.iter().filter(|a| a.is_unknown()).count();
                let repeats = step.iter().filter(|a| a.repeats.is_some() && a.outcome.is_none()).count();
                prop_assert!(repeats == 0 || unknown == 1, "one repeat after one unknown outcome");
                prop_assert!(d.attempts.len() <= MAX_ATTEMPTS_PER_DISPATCH);
            }
            prop_assert!(d.version >= before.version);
        }
        // All deadlines and waits have passed.
        prop_assert!(d.state.is_final(), "every dispatch reaches a final state: {d:#?}");
        let corrected = events.iter().filter(|e| e.state == State::Delivered).count();
        prop_assert!(ends == 1 || (ends == 2 && corrected == 1), "exactly one end, the correction apart: {events:#?}");
        let accepted = d.attempts.iter().any(Attempt::is_accepted);
        let unknown = d.attempts.iter().any(Attempt::is_unknown);
        match d.state {
            State::Delivered => prop_assert!(d.attempts.iter().any(Attempt::is_delivered)),
            State::Undelivered => prop_assert!(accepted),
            State::Unconfirmed => prop_assert!(accepted || unknown),
            _ => prop_assert!(!d.holds_quota_uses, "a dispatch that ended with nothing accepted returned its quota use"),
        }
        // A step has at most one accepted attempt more than it has unknown outcomes. Receipts may prove acceptance later.
        for step in 1..=plan.len() as u8 {
            let first_answers = d.attempts_of(step).filter(|a| a.is_accepted() || a.is_unknown()).count();
            let repeats = d.attempts_of(step).filter(|a| a.repeats.is_some()).count();
            prop_assert!(first_answers <= 1 + repeats);
        }
    }
}
