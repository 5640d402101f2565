//! Decisions after unknown outcomes, under each policy.

use super::*;

/// Returns a dispatch whose first attempt, begun at 0 s, becomes unknown after 1 s.
fn after_unknown(plan: &[Channel], policy: &Policy) -> Dispatch {
    let mut d = dispatch(plan);
    let b = decide(&d, t(0.0), policy).begin.unwrap();
    assert_eq!(b.query_status_of, None, "nothing is asked about before a first attempt");
    begin(&mut d, &b, t(0.0));
    close(&mut d, Outcome::Unknown, t(1.0));
    d
}

#[test]
fn a_call_whose_outcome_is_unknown_is_not_repeated_but_followed() {
    let policy = policy(&["a"], &["v"]);
    let mut d = dispatch(&[Channel::Voice, Channel::Sms]);
    let b = decide(&d, t(0.0), &policy).begin.unwrap();
    begin(&mut d, &b, t(0.0));
    close(&mut d, Outcome::Unknown, t(10.0));
    let held = decide(&d, t(10.0), &policy);
    assert_eq!((held.begin, held.transition.wake_at), (None, Some(t(13.0))));
    let b = decide(&d, t(13.0), &policy).begin.unwrap();
    assert_eq!((b.step, b.repeats), (2, None));
}

#[test]
fn an_idempotent_repeat_goes_to_the_same_carrier_at_once() {
    let mut policy = policy(&["a", "b"], &[]);
    policy.candidates.get_mut(&Channel::Sms).unwrap()[0].unknown = UnknownPolicy::Idempotent;
    let d = after_unknown(&[Channel::Sms], &policy);
    let b = decide(&d, t(1.0), &policy).begin.unwrap();
    assert_eq!((b.carriers, b.repeats), (vec!["a".to_owned()], Some(1)));
}

#[test]
fn the_same_carrier_that_is_not_to_be_had_for_a_repeat_is_not_waited_for_without_end() {
    for unknown in [UnknownPolicy::Idempotent, UnknownPolicy::Lookup] {
        let mut policy = policy(&["a", "b"], &[]);
        policy.candidates.get_mut(&Channel::Sms).unwrap()[0].unknown = unknown;
        let d = after_unknown(&[Channel::Sms], &policy);
        let b = decide(&d, t(9.9), &policy).begin.unwrap();
        assert_eq!(b.carriers, ["a"], "{unknown:?}");
        let b = decide(&d, t(10.0), &policy).begin.unwrap();
        assert_eq!((b.carriers, b.repeats), (vec!["a".to_owned(), "b".to_owned()], Some(1)), "{unknown:?}");
    }
}

#[test]
fn a_carrier_that_can_be_asked_is_asked_before_the_repeat() {
    let mut policy = policy(&["a", "b"], &[]);
    policy.candidates.get_mut(&Channel::Sms).unwrap()[0].unknown = UnknownPolicy::Lookup;
    let mut d = after_unknown(&[Channel::Sms], &policy);
    let b = decide(&d, t(1.0), &policy).begin.unwrap();
    assert_eq!(
        (b.carriers.as_slice(), b.repeats, b.query_status_of),
        (["a".to_owned()].as_slice(), Some(1), Some(1))
    );
    // The carrier does not know the first attempt and does not accept the repeat. Until the wait ends, the repeat is tried there
    // again after a pause.
    begin(&mut d, &b, t(1.5));
    close(&mut d, Outcome::NotSent(NotSentCause::Connect), t(2.0));
    let held = decide(&d, t(2.0), &policy);
    assert_eq!(held.begin, None);
    let again = held.transition.wake_at.unwrap();
    assert!(again > t(2.0) && again <= t(10.0), "{again}");
    let b = decide(&d, t(9.9), &policy).begin.unwrap();
    assert_eq!(
        (b.carriers.as_slice(), b.repeats, b.query_status_of),
        (["a".to_owned()].as_slice(), Some(1), Some(1))
    );
    // After the wait, other carriers may serve.
    let b = decide(&d, t(10.0), &policy).begin.unwrap();
    assert_eq!((b.carriers.as_slice(), b.repeats), (["b".to_owned()].as_slice(), Some(1)));
    // A receipt for the first attempt ends the repeats.
    let receipt =
        Receipt { status: ReceiptStatus::Interim, reason: None, carrier_code: None, message_id: None };
    d.attempts[0].apply_receipt(&receipt, t(2.0));
    let follows = decide(&d, t(2.0), &policy);
    assert_eq!((follows.begin, follows.transition.state), (None, State::Sent));
}

#[test]
fn a_repeat_under_one_reference_shares_its_receipt() {
    let mut policy = policy(&["a"], &["v"]);
    policy.candidates.get_mut(&Channel::Sms).unwrap()[0].unknown = UnknownPolicy::Idempotent;
    // The attempt that the receipt is for, and whether the carrier keeps our reference or uses ids of its own.
    for (status, of, keeps, begins) in [
        (ReceiptStatus::Bad, 0, true, Some(2)),
        (ReceiptStatus::Bad, 1, true, Some(2)),
        (ReceiptStatus::Bad, 0, false, None),
        (ReceiptStatus::Bad, 1, false, Some(2)),
        (ReceiptStatus::Delivered, 0, true, None),
    ] {
        let what = format!("{status:?} of {of}, {keeps}");
        let mut d = after_unknown(&[Channel::Sms, Channel::Voice], &policy);
        let b = decide(&d, t(1.0), &policy).begin.unwrap();
        begin(&mut d, &b, t(1.0));
        close(&mut d, Outcome::Accepted, t(1.2));
        let ours = d.reference_of(&d.attempts[1]);
        assert_eq!(ours, d.reference_of(&d.attempts[0]));
        let reference = |theirs: &str| Some(if keeps { ours.clone() } else { theirs.to_owned() });
        d.attempts[1].details.message_id = reference("theirs of 2");
        let receipt =
            Receipt { status, reason: None, carrier_code: None, message_id: reference("theirs of 1") };
        d.attempts[of].apply_receipt(&receipt, t(3.0));
        let follows = decide(&d, t(3.0), &policy);
        assert_eq!(follows.begin.map(|b| b.step), begins, "{what}");
        let delivered = follows.transition.state == State::Delivered;
        assert_eq!(delivered, status == ReceiptStatus::Delivered, "{what}");
        // Without another step, the dispatch ends now if both attempts are one message. Otherwise the other attempt may still get a
        // receipt.
        Arc::make_mut(&mut d.order).plan = Plan::try_from(vec![Channel::Sms]).unwrap();
        let ended = decide(&d, t(3.0), &policy).transition.state.is_final();
        assert_eq!(ended, keeps, "{what}");
    }
}
