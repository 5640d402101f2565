//! How long a step waits: fallback times, snoozes, throttled carriers, and steps that the sender requests.

use super::*;

const BOTH: [Channel; 2] = [Channel::Sms, Channel::Voice];

/// A dispatch whose text was closed with this outcome at 0.2 s.
fn text_closed(plan: &[Channel], policy: &Policy, outcome: Outcome) -> Dispatch {
    let mut d = dispatch(plan);
    let text = decide(&d, t(0.0), policy).begin.unwrap();
    begin(&mut d, &text, t(0.0));
    close(&mut d, outcome, t(0.2));
    d
}

fn carriers(decision: &Decision) -> Vec<&str> {
    decision.begin.as_ref().map_or(vec![], |b| b.carriers.iter().map(String::as_str).collect())
}

#[test]
fn a_text_without_a_receipt_is_queried_before_the_call() {
    let policy = policy(&["a"], &["v"]);
    let d = text_closed(&BOTH, &policy, Outcome::Accepted);
    let held = decide(&d, t(29.9), &policy);
    assert_eq!((held.begin.is_none(), held.transition.wake_at), (true, Some(t(30.0))));
    let call = decide(&d, t(30.0), &policy).begin.unwrap();
    assert_eq!((call.step, call.query_status_of), (2, Some(1)));
}

#[test]
fn without_a_later_step_the_codes_end_is_awaited() {
    let policy = policy(&["a"], &["v"]);
    let d = text_closed(&[Channel::Sms], &policy, Outcome::Accepted);
    assert_eq!(decide(&d, t(1.0), &policy).transition.wake_at, Some(t(300.0)));
    let mut d = text_closed(&BOTH, &policy, Outcome::Accepted);
    Arc::make_mut(&mut d.order).fallback_after_s = 0;
    assert_eq!(decide(&d, t(31.0), &policy).transition.wake_at, Some(t(300.0)), "no fallback by time");
}

/// The carrier keeps our references, so an unknown text is queried again when the call is due.
#[test]
fn an_unknown_text_is_queried_before_the_call() {
    let mut policy = policy(&["a"], &["v"]);
    policy.candidates.get_mut(&Channel::Sms).unwrap()[0].unknown = UnknownPolicy::Lookup;
    let d = text_closed(&BOTH, &policy, Outcome::Unknown);
    let call = decide(&d, t(30.0), &policy).begin.unwrap();
    assert_eq!((call.step, call.query_status_of), (2, Some(1)));
}

#[test]
fn a_wait_ends_at_the_fallback_time() {
    let policy = policy(&["a"], &["v"]);
    let throttled = Outcome::Throttled { retry_after: Some(Duration::from_secs(200)) };
    let d = text_closed(&BOTH, &policy, throttled);
    assert_eq!(decide(&d, t(1.0), &policy).transition.wake_at, Some(t(30.0)));
    let alone = text_closed(&[Channel::Sms], &policy, throttled);
    assert_eq!(decide(&alone, t(1.0), &policy).transition.wake_at, Some(t(200.2)));
}

/// Fails if a code waits for a carrier that refuses the account or the sender, although a call would reach the user.
#[test]
fn a_refusal_of_the_account_begins_a_step_of_another_carrier_at_once() {
    let policy = policy(&["a"], &["v"]);
    for scope in [RefusalScope::Account, RefusalScope::Narrow] {
        let refused = Outcome::Misconfigured(scope);
        let d = text_closed(&BOTH, &policy, refused);
        assert_eq!(decide(&d, t(0.3), &policy).begin.unwrap().step, 2);
        let alone = text_closed(&[Channel::Sms], &policy, refused);
        assert!(
            decide(&alone, t(0.3), &policy).transition.wake_at.is_some(),
            "somebody may correct it in time"
        );
    }
    // The next step uses the same account. After a refusal of the sender it may succeed, after a refusal of the account it may not.
    let same = self::policy(&["a"], &["a"]);
    let d = text_closed(&BOTH, &same, Outcome::Misconfigured(RefusalScope::Narrow));
    assert_eq!(decide(&d, t(0.3), &same).begin.unwrap().step, 2);
    let d = text_closed(&BOTH, &same, Outcome::Misconfigured(RefusalScope::Account));
    assert!(decide(&d, t(0.3), &same).begin.is_none());
}

#[test]
fn a_step_whose_carriers_are_closed_is_left_for_the_next() {
    let policy = policy(&["a"], &["v"]);
    let d = dispatch(&BOTH);
    let text = decide(&d, t(0.0), &policy).begin.unwrap();
    let left = decide_without_room(&d, &text, NoRoom::Closed, t(0.0), &policy);
    assert_eq!(left.begin.unwrap().step, 2);
    let alone = dispatch(&[Channel::Sms]);
    let waits = decide_without_room(&alone, &text, NoRoom::Closed, t(0.0), &policy).transition;
    assert_eq!(waits.snoozed_until, Some(t(1.0)));
}

#[test]
fn a_failed_step_is_left_even_when_the_sender_requests_the_next() {
    let policy = policy(&["a"], &["v"]);
    let mut d = text_closed(&BOTH, &policy, Outcome::Rejected(Reason::OptedOut));
    d.requested_step = Some(2);
    assert_eq!(decide(&d, t(1.0), &policy).transition.state, State::Failed, "an opt-out ends the plan");
}

#[test]
fn a_requested_step_does_not_wait() {
    let policy = policy(&["a"], &["v"]);
    let mut d = text_closed(&BOTH, &policy, Outcome::Accepted);
    d.requested_step = Some(1);
    assert!(decide(&d, t(1.0), &policy).begin.is_none(), "the step is left already");
    d.requested_step = Some(2);
    let call = decide(&d, t(1.0), &policy).begin.unwrap();
    assert_eq!((call.step, call.query_status_of), (2, None));
}

#[test]
fn snoozes_grow_end_at_the_last_chance_and_are_not_cut_short() {
    let policy = policy(&["a"], &[]);
    let mut d = dispatch(&[Channel::Sms]);
    let text = decide(&d, t(0.0), &policy).begin.unwrap();
    let mut at = 0.0;
    for expected in [1.0, 3.0, 8.0, 23.0, 38.0] {
        let snoozed = decide_without_room(&d, &text, NoRoom::Busy, t(at), &policy).transition;
        assert_eq!(snoozed.snoozed_until, Some(t(expected)));
        snoozed.apply(&mut d);
        let early = decide(&d, t(expected - 0.5), &policy);
        assert_eq!(
            (early.begin.is_none(), early.transition.wake_at),
            (true, Some(t(expected))),
            "woken early"
        );
        assert!(decide(&d, t(expected), &policy).begin.is_some(), "its time has come");
        at = expected;
    }
    // The last chance is at 288 s: 10 s of life and 2 s of margin before the end.
    assert_eq!(
        decide_without_room(&d, &text, NoRoom::Busy, t(280.0), &policy).transition.snoozed_until,
        Some(t(288.0))
    );
    assert_eq!(
        decide_without_room(&d, &text, NoRoom::Busy, t(287.9), &policy).transition.snoozed_until,
        Some(t(288.0))
    );
    let left = decide_without_room(&d, &text, NoRoom::Busy, t(288.0), &policy).transition;
    assert_eq!((left.state, left.reason), (State::Expired, Some(Reason::NoPace)));
}

#[test]
fn a_snooze_ends_at_the_fallback_time() {
    let policy = policy(&["a"], &["v"]);
    let d = text_closed(&BOTH, &policy, Outcome::Unavailable);
    let text = Begin {
        step: 1,
        channel: Channel::Sms,
        carriers: vec!["a".to_owned()],
        repeats: None,
        query_status_of: None,
    };
    let wait = NoRoom::Turn(Duration::from_secs(15));
    let at = |s| decide_without_room(&d, &text, wait, t(s), &policy).transition;
    assert_eq!((at(1.0).snoozed_until, at(1.0).wake_at), (Some(t(16.0)), Some(t(16.0))));
    assert_eq!((at(20.0).snoozed_until, at(20.0).wake_at), (Some(t(35.0)), Some(t(30.0))));
    assert_eq!(at(30.0).wake_at, Some(t(45.0)), "the fallback time has passed");
}

#[test]
fn a_carrier_that_still_throttles_comes_last() {
    let policy = policy(&["a", "b"], &[]);
    let mut d = text_closed(
        &[Channel::Sms],
        &policy,
        Outcome::Throttled { retry_after: Some(Duration::from_secs(20)) },
    );
    let second = decide(&d, t(0.2), &policy);
    assert_eq!(carriers(&second), ["b"]);
    begin(&mut d, &second.begin.unwrap(), t(0.2));
    close(&mut d, Outcome::Throttled { retry_after: None }, t(0.4));
    let held = decide(&d, t(0.4), &policy);
    assert_eq!((held.begin.is_none(), held.transition.wake_at), (true, Some(t(1.4))), "b after its snooze");
    assert_eq!(carriers(&decide(&d, t(1.4), &policy)), ["b", "a"]);
    assert_eq!(carriers(&decide(&d, t(20.2), &policy)), ["a", "b"], "its time is over");
}

#[test]
fn a_refused_account_pauses_like_a_throttled_one() {
    let policy = policy(&["a"], &[]);
    let d = text_closed(&[Channel::Sms], &policy, Outcome::Misconfigured(RefusalScope::Account));
    assert_eq!(decide(&d, t(0.2), &policy).transition.wake_at, Some(t(1.2)));
}

#[test]
fn rounds_of_failures_wait_longer_each_time() {
    let policy = policy(&["a"], &[]);
    let mut d = text_closed(&[Channel::Sms], &policy, Outcome::Throttled { retry_after: None });
    let mut closed = 0.2;
    for pause in [1.0, 2.0, 5.0, 15.0] {
        let due = closed + pause;
        let held = decide(&d, t(due - 0.1), &policy);
        assert_eq!((held.begin.is_none(), held.transition.wake_at), (true, Some(t(due))));
        let again = decide(&d, t(due), &policy).begin.unwrap();
        begin(&mut d, &again, t(due));
        closed = due + 0.2;
        close(&mut d, Outcome::Throttled { retry_after: None }, t(closed));
    }
}

#[test]
fn a_later_step_that_lacks_life_says_so() {
    let mut policy = policy(&["a"], &["v"]);
    policy.candidates.get_mut(&Channel::Voice).unwrap()[0].min_life = Duration::from_secs(299);
    let d = text_closed(&BOTH, &policy, Outcome::Rejected(Reason::Landline));
    let ended = decide(&d, t(2.0), &policy).transition;
    assert_eq!((ended.state, ended.reason), (State::Expired, Some(Reason::Landline)));
}

#[test]
fn only_a_step_that_was_tried_is_left_by_time() {
    let policy = policy(&["a"], &["v"]);
    let mut d = dispatch(&BOTH);
    let step = |d: &Dispatch, s| decide(d, t(s), &policy).begin.map(|b| b.step);
    assert_eq!(step(&d, 31.0), Some(1), "an outage of ours does not turn texts into calls");
    d.snoozes = 1;
    assert_eq!(step(&d, 29.9), Some(1));
    assert_eq!(step(&d, 30.0), Some(2), "no carrier had room");
}
