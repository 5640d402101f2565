use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::attempt::{Outcome, Reason, Receipt, ReceiptStatus, State};
use crate::domain::channel::Channel;
use crate::domain::clock::after;
use crate::domain::dispatch::{Dispatch, Order, Plan, Stop};
use crate::ledger::items::{
    Admission, AdmissionResult, AdvanceRequest, AdvanceResult, AttemptOutcome, AttemptReceipt, BeginRequest,
    BeginResult, DecisionWrite, Destinations, Limit, LostCommit, NewAttempt, OnRefusal, QuotaOwner,
    RecordResult, StopRequest, StopResult, WriteResult,
};

fn t(s: f64) -> Timestamp {
    let zero: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    after(zero, Duration::from_secs_f64(s))
}

fn limit(key: &str, rules: &[&str]) -> Limit {
    Limit { key: key.to_owned(), rules: rules.iter().map(|rule| rule.parse().unwrap()).collect() }
}

fn attempt(channel: Channel) -> NewAttempt {
    NewAttempt::new(channel, "c1", Duration::from_secs(10), None)
}

fn job(n: u128, plan: &[Channel], limits: Vec<Limit>) -> Admission {
    Admission {
        order: Order {
            uid: Uuid::from_u128(n),
            tenant: "default".to_owned(),
            id: Uuid::from_u128(n),
            plan: Plan::try_from(plan.to_vec()).unwrap(),
            expires_at: t(300.0),
            fallback_after_s: 30,
            template: "code".to_owned(),
            locale: None,
            country: None,
            mask: String::new(),
            number: String::new(),
            tags: BTreeMap::new(),
            traceparent: None,
        }
        .into(),
        content: "content".to_owned(),
        number_key: "number".to_owned(),
        code: "sealed".to_owned(),
        limits,
        channel_limit: None,
        refusal: None,
        on_refusal: OnRefusal::StoreRow,
        supersedes: None,
        attempt: Some(attempt(plan[0])),
        snooze: None,
        destinations: Destinations { broker: true, webhook: false },
    }
}

fn decide(job: &Admission, quotas: &mut Quotas, now: Timestamp) -> AdmissionDecision {
    admit(job, &mut SameSignIn::default(), quotas, now)
}

fn sending(n: u128) -> Dispatch {
    decide(&job(n, &[Channel::Sms, Channel::Voice], vec![]), &mut Quotas::default(), t(0.0)).row.unwrap()
}

fn state_of(admitted: &AdmissionDecision) -> (State, Option<Reason>) {
    match admitted.result {
        AdmissionResult::Inserted { state, reason, .. } => (state, reason),
        ref other => panic!("{other:?}"),
    }
}

fn answer(d: &Dispatch, outcome: Outcome) -> AttemptOutcome {
    let open = d.attempts.last().unwrap();
    AttemptOutcome { n: open.n, claim: open.claim, judgement: outcome.into(), at: t(1.0) }
}

fn receipt(d: &Dispatch, n: u16, status: ReceiptStatus) -> AttemptReceipt {
    let receipt = Receipt { status, reason: None, carrier_code: None, message_id: None };
    AttemptReceipt { uid: d.order.uid, n, carrier: "c1".to_owned(), receipt }
}

#[test]
fn a_group_for_one_number_admits_exactly_what_the_rules_allow() {
    let mut quotas = Quotas::default();
    let limits = || vec![limit("tenant", &["3/10m"]), limit("operator", &["4/1h"])];
    let states: Vec<_> =
        (1..=5).map(|n| state_of(&decide(&job(n, &[Channel::Sms], limits()), &mut quotas, t(0.0)))).collect();
    let limited = (State::Limited, Some(Reason::Quota));
    let sending = (State::Sending, None);
    assert_eq!(states, [sending, sending, sending, limited, limited]);
    let kept: Vec<(String, usize)> =
        quotas.changed().map(|(key, uses, _)| (key.to_owned(), uses.len())).collect();
    assert_eq!(kept, [("operator".to_owned(), 3), ("tenant".to_owned(), 3)], "a refused job takes no use");
    // After the tenant's window the operator's rule has room for one more.
    let later: Vec<_> = (6..=7)
        .map(|n| state_of(&decide(&job(n, &[Channel::Sms], limits()), &mut quotas, t(601.0))))
        .collect();
    assert_eq!(later, [sending, limited]);
}

#[test]
fn a_refused_job_reports_when_the_quota_has_room_and_its_event() {
    let mut quotas = Quotas::default();
    let limits = || vec![limit("n", &["1/10m"])];
    decide(&job(1, &[Channel::Sms], limits()), &mut quotas, t(0.0));
    let refused = decide(&job(2, &[Channel::Sms], limits()), &mut quotas, t(60.0));
    let AdmissionResult::Inserted { retry_after_s, .. } = refused.result else { panic!("{refused:?}") };
    assert_eq!(retry_after_s, Some(540));
    let row = refused.row.unwrap();
    assert_eq!((row.wake_at, row.code), (None, None), "a refused dispatch is final");
    assert_eq!((refused.events.len(), refused.events[0].retry_after_s), (1, Some(540)));

    let over_http = Admission { on_refusal: OnRefusal::AnswerOnly, ..job(3, &[Channel::Sms], limits()) };
    let refused = decide(&over_http, &mut quotas, t(60.0));
    assert!(refused.row.is_none() && refused.events.is_empty(), "the id stays free");
    assert!(matches!(refused.result, AdmissionResult::Refused { retry_after_s: Some(540), .. }));
}

#[test]
fn a_full_quota_of_the_channel_skips_to_the_next_channel_or_refuses() {
    let mut quotas = Quotas::default();
    let calls = |n, plan: &[Channel]| Admission {
        channel_limit: Some(limit("calls", &["1/1h"])),
        ..job(n, plan, vec![limit("n", &["9/1h"])])
    };
    let first = decide(&calls(1, &[Channel::Voice]), &mut quotas, t(0.0));
    assert_eq!(first.row.unwrap().quota_uses.len(), 2);
    let only_calls = decide(&calls(2, &[Channel::Voice]), &mut quotas, t(1.0));
    assert_eq!(state_of(&only_calls), (State::Limited, Some(Reason::VoiceQuota)));
    assert!(only_calls.row.unwrap().quota_uses.is_empty());
    let then_text = decide(&calls(3, &[Channel::Voice, Channel::Voice, Channel::Sms]), &mut quotas, t(2.0));
    assert_eq!(state_of(&then_text), (State::Queued, None));
    let row = then_text.row.unwrap();
    assert_eq!((row.step, row.attempts.len(), row.quota_uses.len()), (3, 0, 1));
}

#[test]
fn a_known_id_is_answered_by_its_content_and_claim() {
    let new = job(1, &[Channel::Sms], vec![]);
    let known = |content: &str, open_claim| KnownRow {
        uid: new.order.uid,
        content: content.to_owned(),
        state: Some(State::Sending),
        version: 1,
        open_claim,
    };
    let claim = new.attempt.as_ref().map(|a| a.claim);
    let is_ours = |row| match answer_known(&new, &row) {
        AdmissionResult::Known { has_our_claim, .. } => Some(has_our_claim),
        _ => None,
    };
    assert_eq!(is_ours(known("content", claim)), Some(true));
    assert_eq!(is_ours(known("content", None)), Some(false));
    assert_eq!(is_ours(known("content", Some(Uuid::from_u128(9)))), Some(false));
    assert_eq!(is_ours(known("other", claim)), None);
}

#[test]
fn the_newest_dispatch_of_a_sign_in_stops_the_older_ones() {
    let new = job(9, &[Channel::Sms], vec![]);
    let (open, mut waiting) = (sending(1), sending(2));
    waiting.attempts[0].outcome = Some(Outcome::Accepted);
    let deadline = open.wake_at;
    let mut older = SameSignIn { newer_exists: false, older: vec![open, waiting] };
    let admitted = admit(&new, &mut older, &mut Quotas::default(), t(5.0));
    let AdmissionResult::Inserted { superseded, .. } = admitted.result else { panic!("{admitted:?}") };
    assert_eq!(superseded, [Uuid::from_u128(1), Uuid::from_u128(2)]);
    let stopped: Vec<_> = older.older.iter().map(|d| (d.stop, d.version, d.wake_at)).collect();
    let stop = Some(Stop::Superseded);
    assert_eq!(stopped, [(stop, 2, deadline), (stop, 2, Some(t(5.0)))], "an open attempt keeps its deadline");

    let mut newer = SameSignIn { newer_exists: true, older: vec![sending(1)] };
    let late = admit(&new, &mut newer, &mut Quotas::default(), t(5.0));
    assert_eq!(state_of(&late), (State::Superseded, Some(Reason::Newer)));
    assert_eq!(newer.older[0].stop, None);
}

fn begin_request(d: &Dispatch, step: u8, channel: Channel) -> BeginRequest {
    BeginRequest {
        uid: d.order.uid,
        expected_version: d.version,
        step,
        attempt: attempt(channel),
        channel_limit: None,
    }
}

#[test]
fn a_begin_needs_the_expected_version_no_open_attempt_and_the_code() {
    let mut quotas = Quotas::default();
    let mut d = sending(1);
    let conflict = |d: &mut Dispatch, request: &BeginRequest, quotas: &mut Quotas| {
        matches!(begin(d, request, quotas, t(2.0)), BeginResult::VersionConflict(_))
    };
    let request = begin_request(&d, 2, Channel::Voice);
    assert!(conflict(&mut d, &request, &mut quotas), "an attempt is open");
    d.attempts[0].outcome = Some(Outcome::Unavailable);
    let old = BeginRequest { expected_version: 0, ..request.clone() };
    assert!(conflict(&mut d, &old, &mut quotas), "another version");
    let code = d.code.take();
    assert!(conflict(&mut d, &request, &mut quotas), "no code");
    d.code = code;
    assert_eq!(d.version, 1);
    assert!(matches!(begin(&mut d, &request, &mut quotas, t(2.0)), BeginResult::Begun(_)));
    assert_eq!((d.version, d.step, d.step_at, d.attempts.len()), (2, 2, t(2.0), 2));
    assert_eq!(d.wake_at, d.open_attempt().map(|a| a.deadline));
    let again = begin(&mut d, &request, &mut quotas, t(3.0));
    assert!(matches!(again, BeginResult::Begun(_)) && d.version == 2, "a repeated begin changes nothing");
}

/// A row at a lower version than its caller's, or without an attempt that its caller knows, has lost a commit.
#[test]
fn a_change_that_the_ledger_has_lost_is_no_version_conflict() {
    let mut quotas = Quotas::default();
    let older = sending(1);
    let mut newer = older.clone();
    newer.attempts[0].outcome = Some(Outcome::Unavailable);
    newer.version += 1;

    let request = begin_request(&newer, 2, Channel::Voice);
    let mut d = older.clone();
    let lost = begin(&mut d, &request, &mut quotas, t(2.0));
    assert_eq!((lost, &d), (BeginResult::CommitLost(LostCommit::Change), &older));

    let second = begin(&mut newer, &request, &mut quotas, t(2.0));
    assert!(matches!(second, BeginResult::Begun(_)));
    let finish = |seen: &Dispatch| {
        let outcome = answer(seen, Outcome::Accepted);
        DecisionWrite::with_outcome(seen.clone(), outcome, None, Destinations::default())
    };
    let lost = WriteResult::CommitLost(LostCommit::Change);
    let mut d = older.clone();
    assert_eq!(write_decision(&mut d, &finish(&newer), &mut quotas, t(3.0)), lost);
    assert_eq!(d, older, "its attempt is not in the row");

    // Another worker has begun the second attempt again.
    let mut again = newer.clone();
    again.attempts[1].claim = Uuid::from_u128(7);
    let before = again.clone();
    assert_eq!(write_decision(&mut again, &finish(&newer), &mut quotas, t(3.0)), lost);
    assert_eq!(again, before, "the outcome of another attempt");

    // Only a later change is lost, so the outcome is written, and the dispatch is due.
    let seen = Dispatch { version: newer.version + 1, ..newer.clone() };
    assert_eq!(write_decision(&mut newer, &finish(&seen), &mut quotas, t(3.0)), lost);
    assert!(newer.attempts[1].is_accepted());
    assert_eq!((newer.version, newer.wake_at), (4, Some(t(3.0))));

    // The worker does not know whether its begin was committed: it has not seen the attempt.
    let mut d = older.clone();
    d.attempts[0].outcome = Some(Outcome::Unavailable);
    let outcome = AttemptOutcome { n: 2, claim: Uuid::from_u128(7), ..answer(&d, Outcome::Accepted) };
    let unsent = DecisionWrite::with_outcome(d.clone(), outcome, None, Destinations::default());
    let closed = WriteResult::AlreadyClosed { proved_acceptance: false };
    assert_eq!(write_decision(&mut d, &unsent, &mut quotas, t(3.0)), closed);
}

#[test]
fn a_begin_takes_a_use_of_the_channels_quota_or_changes_nothing() {
    let mut quotas = Quotas::default();
    for (n, fits) in [(1, true), (2, false)] {
        let mut d = sending(n);
        d.attempts[0].outcome = Some(Outcome::Unavailable);
        let before = d.clone();
        let limited = Some(limit("calls", &["1/1h"]));
        let request = BeginRequest { channel_limit: limited, ..begin_request(&d, 2, Channel::Voice) };
        match begin(&mut d, &request, &mut quotas, t(600.0)) {
            // Without any use before, it holds none yet. It is given back if no carrier accepts the dispatch.
            BeginResult::Begun(_) => assert!(fits && d.quota_uses.len() == 1 && d.holds_quota_uses),
            BeginResult::ChannelRefused { retry_after_s, full, .. } => {
                let rule = full.map(|full| (full.owner, full.rule.to_string()));
                assert_eq!(rule, Some((QuotaOwner::Channel, "1/1h".to_owned())));
                assert!(!fits && retry_after_s == 3600);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(d == before, !fits);
    }
}

/// Fails if another rule is named than the one that the job waits for.
#[test]
fn a_refusal_names_the_rule_that_has_room_last() {
    let mut quotas = Quotas::default();
    let limits = || vec![limit("number", &["1/1m", "2/1h"]), limit("operator", &["2/1d"])];
    let mut full = vec![];
    for (n, seconds) in [(1, 0.0), (2, 1.0), (3, 61.0), (4, 130.0)] {
        let job = Admission { attempt: None, ..job(n, &[Channel::Sms], limits()) };
        let decided = admit(&job, &mut SameSignIn::default(), &mut quotas, t(seconds));
        let AdmissionResult::Inserted { full: rule, .. } = decided.result else { panic!("{decided:?}") };
        full.push(rule.map(|full| (full.owner.as_str(), full.rule.to_string())));
    }
    let rule = |owner, rule: &str| Some((owner, rule.to_owned()));
    assert_eq!(full, [None, rule("number", "1/1m"), None, rule("operator", "2/1d")]);

    let calls = Some(limit("calls", &["1/1h"]));
    let mut of_calls = vec![];
    for n in [5, 6] {
        let limits = vec![limit(&n.to_string(), &["5/1h"])];
        let job = Admission { channel_limit: calls.clone(), ..job(n, &[Channel::Voice], limits) };
        let decided = admit(&job, &mut SameSignIn::default(), &mut quotas, t(0.0));
        let AdmissionResult::Inserted { full: rule, .. } = decided.result else { panic!("{decided:?}") };
        of_calls.push(rule.map(|full| (full.owner.as_str(), full.rule.to_string())));
    }
    assert_eq!(of_calls, [None, rule("channel", "1/1h")]);
}

#[test]
fn an_outcome_is_written_on_any_version_but_its_transition_only_on_the_expected_one() {
    let mut d = sending(1);
    let policy = crate::domain::decide::Policy {
        candidates: BTreeMap::new().into_iter().collect(),
        receipt_wait: Duration::from_secs(900),
    };
    let mut closed = d.clone();
    closed.attempts[0].outcome = Some(Outcome::Accepted);
    let transition = crate::domain::decide::decide(&closed, t(1.0), &policy).transition;
    let write = |d: &Dispatch, transition| {
        DecisionWrite::with_outcome(
            d.clone(),
            answer(d, Outcome::Accepted),
            transition,
            Destinations::default(),
        )
    };
    let (with, without) = (write(&d, Some(transition)), write(&d, None));
    let mut quotas = Quotas::default();

    let mut changed = d.clone();
    changed.version += 1;
    let result = write_decision(&mut changed, &with, &mut quotas, t(1.0));
    assert!(matches!(result, WriteResult::OutcomeOnly(_)), "{result:?}");
    assert_eq!((changed.version, changed.state, changed.wake_at), (3, State::Sending, Some(t(6.0))));
    assert!(changed.attempts[0].is_accepted());

    let mut unchanged = d.clone();
    assert!(matches!(
        write_decision(&mut unchanged, &without, &mut quotas, t(1.0)),
        WriteResult::OutcomeOnly(_)
    ));

    assert_eq!(write_decision(&mut d, &with, &mut quotas, t(1.0)), WriteResult::Written);
    assert_eq!(d.state, State::Sent);
    let version = d.version;
    let again = write_decision(&mut d, &with, &mut quotas, t(1.0));
    assert_eq!(again, WriteResult::AlreadyClosed { proved_acceptance: false });
    assert_eq!(d.version, version);
}

#[test]
fn a_late_answer_proves_the_acceptance_of_an_unknown_attempt_once() {
    let mut d = sending(1);
    let mut outcome = answer(&d, Outcome::Accepted);
    outcome.judgement.details.message_id = Some("SM1".to_owned());
    let write = DecisionWrite::with_outcome(d.clone(), outcome, None, Destinations::default());
    d.attempts[0].outcome = Some(Outcome::Unknown);
    for proved_acceptance in [true, false] {
        let result = write_decision(&mut d, &write, &mut Quotas::default(), t(2.0));
        assert_eq!(result, WriteResult::AlreadyClosed { proved_acceptance });
        assert_eq!((d.version, d.wake_at), (2, Some(t(2.0))), "the dispatch is due once");
        assert_eq!(d.attempts[0].details.message_id.as_deref(), Some("SM1"));
    }
    d.attempts[0].outcome = Some(Outcome::Unavailable);
    let result = write_decision(&mut d, &write, &mut Quotas::default(), t(3.0));
    assert_eq!(result, WriteResult::AlreadyClosed { proved_acceptance: false });
    assert_eq!(d.attempts[0].outcome, Some(Outcome::Unavailable), "a known outcome stays");
}

#[test]
fn a_receipt_for_another_carrier_or_attempt_is_a_stray() {
    let mut d = sending(1);
    let delivered = receipt(&d, 1, ReceiptStatus::Delivered);
    assert_eq!(record(None, &delivered, t(1.0)).result, RecordResult::Stray);
    let other = AttemptReceipt { carrier: "c2".to_owned(), ..delivered.clone() };
    assert_eq!(record(Some(&mut d), &other, t(1.0)).result, RecordResult::Stray);
    let second = receipt(&d, 2, ReceiptStatus::Delivered);
    assert_eq!(record(Some(&mut d), &second, t(1.0)).result, RecordResult::Stray);
    assert_eq!(d.version, 1);
    assert_eq!(record(Some(&mut d), &delivered, t(1.0)).result, RecordResult::Recorded);
    assert_eq!((d.version, d.wake_at), (2, Some(t(1.0))));
    assert_eq!(record(Some(&mut d), &delivered, t(2.0)).result, RecordResult::NothingNew);
    assert_eq!(d.version, 2);
}

#[test]
fn the_first_stop_counts_and_a_final_dispatch_cannot_be_stopped() {
    let request = |stop| StopRequest { tenant: "default".to_owned(), id: Uuid::from_u128(1), stop };
    assert_eq!(stop(None, &request(Stop::Cancel), t(1.0)).result, StopResult::Unknown);
    let mut d = sending(1);
    let deadline = d.wake_at;
    assert!(matches!(stop(Some(&mut d), &request(Stop::Cancel), t(1.0)).result, StopResult::Marked { .. }));
    assert_eq!((d.version, d.wake_at), (2, deadline));
    let again = stop(Some(&mut d), &request(Stop::Verified), t(2.0)).result;
    assert_eq!(again, StopResult::MarkedBefore { state: State::Sending, stop: Stop::Cancel });
    (d.stop, d.state) = (None, State::Failed);
    let late = stop(Some(&mut d), &request(Stop::Cancel), t(3.0)).result;
    assert_eq!((late, d.version), (StopResult::Final { state: State::Failed }, 2));
}

#[test]
fn the_next_step_is_requested_once_until_it_was_tried() {
    let next = |step| AdvanceRequest { tenant: "default".to_owned(), id: Uuid::from_u128(1), step };
    let mut d = sending(1);
    d.attempts[0].outcome = Some(Outcome::Accepted);
    assert!(matches!(advance(Some(&mut d), &next(None), t(1.0)), AdvanceResult::Advanced { .. }));
    assert_eq!((d.requested_step, d.version, d.wake_at), (Some(2), 2, Some(t(1.0))));
    assert!(matches!(advance(Some(&mut d), &next(None), t(2.0)), AdvanceResult::Pending { .. }));
    let repeated = AdvanceResult::Before { state: State::Sending };
    assert_eq!(
        advance(Some(&mut d), &next(Some(1)), t(2.0)),
        repeated,
        "its first answer may have been lost"
    );
    d.step = 2;
    assert_eq!(
        advance(Some(&mut d), &next(Some(1)), t(2.0)),
        AdvanceResult::Before { state: State::Sending }
    );
    assert_eq!(
        advance(Some(&mut d), &next(None), t(2.0)),
        AdvanceResult::Pending { state: State::Sending },
        "step 2 has no attempt yet"
    );
    let second = begin_request(&d, 2, Channel::Voice);
    assert!(matches!(begin(&mut d, &second, &mut Quotas::default(), t(3.0)), BeginResult::Begun(_)));
    d.attempts[1].outcome = Some(Outcome::Accepted);
    assert_eq!(advance(Some(&mut d), &next(None), t(4.0)), AdvanceResult::PlanOver);
    d.stop = Some(Stop::Cancel);
    assert_eq!(advance(Some(&mut d), &next(None), t(4.0)), AdvanceResult::Stopped { stop: Stop::Cancel });
    let over = AdvanceResult::Before { state: State::Sending };
    assert_eq!(advance(Some(&mut d), &next(Some(1)), t(4.0)), over, "the act was done before the stop");
    (d.state, d.step) = (State::Failed, 3);
    let over = AdvanceResult::Before { state: State::Failed };
    assert_eq!(advance(Some(&mut d), &next(Some(1)), t(5.0)), over, "the act was done before the end");
    let ended = AdvanceResult::Final { state: State::Failed };
    assert_eq!(advance(Some(&mut d), &next(Some(2)), t(5.0)), ended, "there was no step 3");
    assert_eq!(advance(None, &next(None), t(4.0)), AdvanceResult::Unknown);
}

proptest! {
    /// Within any window a rule admits at most its count, whatever the order of jobs, times and returns.
    #[test]
    fn no_window_holds_more_admissions_than_its_rule(
        steps in proptest::collection::vec((0u32..90, any::<bool>()), 1..60),
    ) {
        let mut quotas = Quotas::default();
        let (mut now, mut held): (f64, Vec<(Timestamp, Dispatch)>) = (0.0, vec![]);
        for (n, (wait, give_back)) in steps.into_iter().enumerate() {
            now += f64::from(wait);
            if give_back && let Some((_, d)) = held.pop() {
                quotas.give_back(&d.quota_uses);
            }
            let new = job(n as u128 + 1, &[Channel::Sms], vec![limit("n", &["2/60s", "4/300s"])]);
            let admitted = decide(&new, &mut quotas, t(now));
            if state_of(&admitted).0 == State::Sending {
                held.push((t(now), admitted.row.unwrap()));
                for (rule_count, window) in [(2, 60), (4, 300)] {
                    let since = t(now).checked_sub(Duration::from_secs(window)).unwrap();
                    let within = held.iter().filter(|(at, _)| *at > since).count();
                    prop_assert!(within <= rule_count, "{within} within {window} s");
                }
            }
        }
    }
}
