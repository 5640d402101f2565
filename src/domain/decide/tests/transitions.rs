//! Transitions in detail: steps that are skipped or put off, corrections, events and their versions.

use super::*;

const REJECTED: Outcome = Outcome::Rejected(Reason::Request);

fn versions(decision: &Decision) -> Vec<(State, i64)> {
    decision.transition.events.iter().map(|e| (e.state, e.version)).collect()
}

fn begin_first(d: &mut Dispatch, policy: &Policy) {
    let first = decide(d, t(0.0), policy).begin.unwrap();
    begin(d, &first, t(0.0));
}

fn receipt(d: &mut Dispatch, n: usize, status: ReceiptStatus) {
    let a = &mut d.attempts[n - 1];
    (a.receipt, a.receipt_at) = (Some(status), Some(t(50.0)));
}

#[test]
fn a_refused_quota_skips_the_step() {
    let policy = policy(&["a"], &["v"]);
    let mut d = dispatch(&[Channel::Voice, Channel::Sms]);
    d.snoozes = 2;
    let call = decide(&d, t(0.0), &policy).begin.unwrap();
    let skipped = skip_step(&d, &call, 60, t(5.0), &policy);
    assert_eq!(skipped.begin.as_ref().map(|b| (b.step, b.channel)), Some((2, Channel::Sms)));
    let c = &skipped.transition;
    assert_eq!((c.step, c.step_at, c.snoozes, c.snoozed_until), (2, t(5.0), 0, None));
}

#[test]
fn a_refused_quota_without_another_step_limits_the_dispatch() {
    let policy = policy(&["a"], &["v"]);
    let mut d = dispatch(&[Channel::Voice]);
    let call = decide(&d, t(0.0), &policy).begin.unwrap();
    let limited = skip_step(&d, &call, 60, t(5.0), &policy).transition;
    assert_eq!((limited.state, limited.reason), (State::Limited, Some(Reason::VoiceQuota)));
    assert_eq!(limited.events[0].retry_after_s, Some(60));
    // A stop comes before the quota, and a cancelled dispatch names no time.
    d.stop = Some(Stop::Cancel);
    let cancelled = skip_step(&d, &call, 60, t(5.0), &policy).transition;
    assert_eq!((cancelled.state, cancelled.events[0].retry_after_s), (State::Cancelled, None));
}

#[test]
fn a_step_without_room_is_entered_and_put_off() {
    let policy = policy(&["a"], &["v"]);
    let mut d = dispatch(&[Channel::Sms, Channel::Voice]);
    d.snoozes = 3;
    begin_first(&mut d, &policy);
    close(&mut d, Outcome::Rejected(Reason::Landline), t(0.2));
    let call = decide(&d, t(0.2), &policy).begin.unwrap();
    let first = decide_without_room(&d, &call, NoRoom::Busy, t(0.2), &policy).transition;
    assert_eq!((first.step, first.step_at, first.snoozes), (2, t(0.2), 1));
    assert_eq!((first.snoozed_until, first.wake_at), (Some(t(1.2)), Some(t(1.2))));
    first.apply(&mut d);
    let second = decide_without_room(&d, &call, NoRoom::Busy, t(1.2), &policy).transition;
    assert_eq!((second.step_at, second.snoozes), (t(0.2), 2), "the step was entered before");
}

#[test]
fn a_receipt_corrects_a_final_state_and_takes_the_quota_again() {
    let policy = policy(&["a"], &[]);
    for (state, holds, uses, expected) in [
        (State::Failed, false, true, QuotaChange::TakeAgain),
        (State::Failed, true, true, QuotaChange::Keep),
        (State::Failed, false, false, QuotaChange::Keep),
    ] {
        let mut d = dispatch(&[Channel::Sms]);
        begin_first(&mut d, &policy);
        close(&mut d, Outcome::Accepted, t(0.2));
        receipt(&mut d, 1, ReceiptStatus::Delivered);
        (d.state, d.holds_quota_uses) = (state, holds);
        if !uses {
            d.quota_uses.clear();
        }
        let corrected = decide(&d, t(60.0), &policy);
        assert_eq!(corrected.transition.quota_change, expected, "{holds} {uses}");
        assert_eq!(versions(&corrected), [(State::Delivered, d.version + 1)]);
    }
    let mut d = dispatch(&[Channel::Sms]);
    begin_first(&mut d, &policy);
    close(&mut d, Outcome::Accepted, t(0.2));
    receipt(&mut d, 1, ReceiptStatus::Delivered);
    d.state = State::Delivered;
    assert_eq!(versions(&decide(&d, t(60.0), &policy)), [], "it was delivered before");
}

#[test]
fn each_step_has_one_sent_event_and_each_event_a_version() {
    let policy = policy(&["a", "b"], &["v"]);
    let mut d = dispatch(&[Channel::Sms, Channel::Voice]);
    let text = decide(&d, t(0.0), &policy).begin.unwrap();
    begin(&mut d, &text, t(0.0));
    close(&mut d, Outcome::Accepted, t(0.2));
    begin(&mut d, &text, t(1.0));
    close(&mut d, Outcome::Accepted, t(1.2));
    let call = Begin { step: 2, channel: Channel::Voice, ..text };
    begin(&mut d, &call, t(2.0));
    close(&mut d, Outcome::Accepted, t(2.2));
    receipt(&mut d, 3, ReceiptStatus::Delivered);
    let all = decide(&d, t(3.0), &policy);
    let v = d.version;
    assert_eq!(versions(&all), [(State::Sent, v + 1), (State::Sent, v + 2), (State::Delivered, v + 3)]);
    assert_eq!(all.transition.version, v + 3);
    assert_eq!(all.transition.sent_event_steps, 0b11);
    let steps: Vec<(u8, Option<u16>)> = all.transition.events.iter().map(|e| (e.step, e.attempt)).collect();
    assert_eq!(steps, [(1, Some(1)), (2, Some(3)), (2, Some(3))]);
}

#[test]
fn a_receipt_is_awaited_until_its_end_and_not_beyond() {
    let policy = policy(&["a"], &[]);
    let mut d = dispatch(&[Channel::Sms]);
    begin_first(&mut d, &policy);
    close(&mut d, Outcome::Accepted, t(0.2));
    let at = |s| decide(&d, t(s), &policy).transition;
    assert_eq!(
        (at(299.0).state, at(299.0).wake_at, at(299.0).drop_code),
        (State::Sent, Some(t(300.0)), false)
    );
    assert_eq!(
        (at(300.0).state, at(300.0).wake_at, at(300.0).drop_code),
        (State::Sent, Some(t(1200.0)), true)
    );
    assert_eq!(at(1199.0).state, State::Sent);
    assert_eq!((at(1200.0).state, at(1200.0).wake_at), (State::Unconfirmed, None));
}

#[test]
fn an_expired_dispatch_says_what_it_waited_for() {
    let policy = policy(&["a"], &[]);
    let reason = |d: &Dispatch| decide(d, t(300.0), &policy).transition.reason;
    let mut d = dispatch(&[Channel::Sms]);
    assert_eq!(reason(&d), Some(Reason::Life), "nothing was tried");
    d.snoozes = 1;
    assert_eq!(reason(&d), Some(Reason::NoPace));
    let text = decide(&d, t(0.0), &policy).begin.unwrap();
    begin(&mut d, &text, t(0.0));
    close(&mut d, Outcome::Unavailable, t(0.2));
    assert_eq!(reason(&d), Some(Outcome::Unavailable.reason()), "the last answer says more");
}

/// Where the carrier keeps our references, a repeat is the same message.
#[test]
fn a_repeat_with_our_reference_shares_what_is_known() {
    let policy = policy(&["a"], &[]);
    let text = decide(&dispatch(&[Channel::Sms]), t(0.0), &policy).begin.unwrap();
    let pair = |first: Outcome, keeps: bool, status: ReceiptStatus| {
        let mut d = dispatch(&[Channel::Sms]);
        begin(&mut d, &text, t(0.0));
        close(&mut d, first, t(1.0));
        begin(&mut d, &Begin { repeats: Some(1), ..text.clone() }, t(1.0));
        close(&mut d, Outcome::Accepted, t(1.2));
        let ours = d.reference_of(&d.attempts[1]);
        d.attempts[1].details.message_id = Some(if keeps { ours } else { "SM1".to_owned() });
        receipt(&mut d, 2, status);
        d
    };
    let state = |d: &Dispatch| decide(d, t(60.0), &policy).transition.state;
    assert_eq!(state(&pair(Outcome::Unknown, true, ReceiptStatus::Bad)), State::Undelivered);
    let apart = pair(Outcome::Unknown, false, ReceiptStatus::Bad);
    assert!(!state(&apart).is_final(), "the first may still arrive");
    // A receipt is not shared with an attempt that was refused.
    let refused = decide(&pair(REJECTED, true, ReceiptStatus::Delivered), t(60.0), &policy).transition;
    assert_eq!(refused.events.last().map(|e| (e.state, e.attempt)), Some((State::Delivered, Some(2))));
}

#[test]
fn a_begin_alone_needs_no_write_before() {
    let policy = policy(&["a"], &[]);
    let d = dispatch(&[Channel::Sms]);
    let decision = decide(&d, t(0.0), &policy);
    let sending = |decision: &Decision| {
        decision.begins_only(&Dispatch { state: decision.transition.state, ..d.clone() })
    };
    assert!(sending(&decision));
    assert!(!sending(&Decision { begin: None, ..decision.clone() }));
    let with = |change: fn(&mut Transition)| {
        let mut decision = decision.clone();
        change(&mut decision.transition);
        decision
    };
    assert!(!sending(&with(|c| c.close = Some(1))));
    assert!(!sending(&with(|c| c.quota_change = QuotaChange::GiveBack)));
    assert!(!sending(&with(|c| c.drop_code = true)));
    let other_state = with(|c| c.state = State::Sent);
    assert!(!other_state.begins_only(&d));
    let (_, accepted) = on(Outcome::Accepted, &[Channel::Sms], &["a"]);
    assert!(!sending(&Decision { begin: decision.begin.clone(), ..accepted }), "an event is written");
}

#[test]
fn only_a_text_is_repeated_by_default() {
    for (channel, keeps, expected) in [
        (Channel::Sms, true, UnknownPolicy::Lookup),
        (Channel::Sms, false, UnknownPolicy::Wait),
        (Channel::Voice, true, UnknownPolicy::Never),
        (Channel::Voice, false, UnknownPolicy::Never),
    ] {
        assert_eq!(UnknownPolicy::default_of(channel, keeps), expected, "{channel} {keeps}");
    }
}
