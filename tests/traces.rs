//! The traces of `docs/traces.md` that need no carrier process. Their steps are calls and their rows are
//! assertions, on both databases. Times are seconds after time zero.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::sync::Arc;

use otpost::domain::attempt::{Outcome, Reason, ReceiptStatus};
use otpost::domain::backoff::backoff;
use otpost::domain::decide::Begin;
use otpost::domain::dispatch::Stop;
use otpost::ledger::{AdmissionResult, BeginResult, RecordResult, StopResult, WriteResult};
use support::ledger_driver::{
    LedgerDriver, SMS, VOICE, accepted, job, limit, policy, throttled, voice_limit, with_begin,
};
use support::on_both;
use support::world::{Backend, World};

/// The end of a back-off after `closed`, as rows show it.
fn backoff_end(closed: f64, uid: uuid::Uuid, n: u16, round: u32) -> (f64, String) {
    let end = ((closed + backoff(uid, n, round).as_secs_f64()) * 1e6).floor() / 1e6;
    let shown = format!("{end:.2}");
    (end + 0.01, shown.trim_end_matches('0').trim_end_matches('.').to_owned())
}

on_both! {

async fn trace_1_a_plain_text_is_delivered(p) {
    let j = with_begin(job(&[SMS], "a", p.t(300)));
    let uid = p.admit(&j).await;
    p.expect(uid, "sending v1 step 1 wake 15 code uses [0] outbox [] | 1 open").await;
    let seen = p.read(uid).await;
    p.world.at(0.2).await;
    assert_eq!(p.finish(&seen, accepted("SM1")).await, None);
    p.expect(uid, "sent v2 step 1 wake 300 code uses [0] outbox [sent 2] | 1 accepted SM1").await;
    assert_eq!(p.mark_published(uid).await, ["sent 2"]);
    p.world.at(1.0).await;
    assert_eq!(p.receipt(uid, 1, ReceiptStatus::Interim, None).await, RecordResult::NothingNew);
    p.world.at(3.0).await;
    assert_eq!(p.delivered(uid, 1).await, RecordResult::Recorded);
    p.expect(uid, "sent v3 step 1 wake 3 code uses [0] outbox [] | 1 accepted SM1 delivered").await;
    let d = p.take(uid).await;
    p.expect(uid, "sent v3 step 1 wake 8 code uses [0] outbox [] | 1 accepted SM1 delivered").await;
    p.decide(&d).await;
    p.expect(uid, "delivered v4 step 1 wake none no code uses [0] outbox [delivered 4] | 1 accepted SM1 delivered").await;
    assert_eq!(p.mark_published(uid).await, ["delivered 4"]);
    p.expect(uid, "delivered v4 step 1 wake none no code uses [0] outbox [] | 1 accepted SM1 delivered").await;
    assert_eq!(p.delivered(uid, 1).await, RecordResult::NothingNew);
}

async fn trace_2_a_text_over_http_whose_wake_up_is_lost(p) {
    let uid = p.admit(&job(&[SMS], "a", p.t(300))).await;
    p.expect(uid, "queued v1 step 1 wake 0 code uses [0] outbox []").await;
    p.world.at(0.8).await;
    let due = p.world.ledger.take_due(10, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    p.expect(uid, "queued v1 step 1 wake 5.8 code uses [0] outbox []").await;
    assert!(p.world.ledger.take(uid).await.unwrap().is_none(), "a taken row is not due");
    let begin = p.decide(&due[0]).await;
    let seen = p.begin(uid, begin).await;
    assert_eq!(p.show(&seen, &[]), "sending v2 step 1 wake 15.8 code uses [0] outbox [] | 1 open");
    p.world.at(1.0).await;
    p.finish(&seen, accepted("SM1")).await;
    p.expect(uid, "sent v3 step 1 wake 300 code uses [0] outbox [sent 3] | 1 accepted SM1").await;
    p.world.at(4.0).await;
    p.delivered(uid, 1).await;
    p.turn(uid).await;
    p.expect(uid, "delivered v5 step 1 wake none no code uses [0] outbox [sent 3, delivered 5] | 1 accepted SM1 delivered").await;
}

async fn trace_2_the_worker_is_killed_after_its_take_and_the_lease_expires(p) {
    let uid = p.admit(&job(&[SMS], "a", p.t(300))).await;
    p.world.at(0.8).await;
    p.take(uid).await;
    p.world.at(5.7).await;
    assert!(p.world.ledger.take_due(10, 10).await.unwrap().is_empty());
    p.world.at(6.4).await;
    let begin = p.turn(uid).await;
    p.begin(uid, begin).await;
    p.expect(uid, "sending v2 step 1 wake 21.4 code uses [0] outbox [] | 1 open").await;
}

async fn trace_3_the_same_id_twice(p) {
    let k = with_begin(job(&[SMS], "a", p.t(300)));
    let uid = p.admit(&k).await;
    let before = p.row(uid).await;
    let mut again = with_begin(k.clone());
    Arc::make_mut(&mut again.order).uid = uuid::Uuid::now_v7();
    let known = p.world.ledger.admit(again).await.unwrap();
    assert!(matches!(known, AdmissionResult::Known { uid: u, has_our_claim: false, .. } if u == uid), "{known:?}");
    let mine = p.world.ledger.admit(k.clone()).await.unwrap();
    assert!(matches!(mine, AdmissionResult::Known { has_our_claim: true, .. }), "a group that runs again finds its own claim: {mine:?}");
    let mut by_http = k.clone();
    by_http.attempt = None;
    let known = p.world.ledger.admit(by_http).await.unwrap();
    assert!(matches!(known, AdmissionResult::Known { has_our_claim: false, .. }), "submitted without an attempt: {known:?}");
    let mut l = k.clone();
    "other".clone_into(&mut l.content);
    assert_eq!(p.world.ledger.admit(l).await.unwrap(), AdmissionResult::Conflict);
    let mut later = k.clone();
    Arc::make_mut(&mut later.order).expires_at = p.t(400);
    assert!(matches!(p.world.ledger.admit(later).await.unwrap(), AdmissionResult::Known { .. }));
    assert_eq!(p.row(uid).await, before);
    assert_eq!(p.read(uid).await.order.expires_at, p.t(300), "the first expiry stays");
}

async fn trace_4_the_sixth_is_limited_and_a_quota_use_is_returned(p) {
    let number = |mut j: otpost::ledger::Admission| { j.limits = vec![limit("p", &["5/10m"])]; j };
    let mut dispatches = vec![];
    for s in 0..5u8 {
        p.world.at(f64::from(s)).await;
        let uid = p.admit(&with_begin(number(job(&[SMS], "p", p.t(300))))).await;
        p.expect(uid, &format!("sending v1 step 1 wake {} code uses [{s}] outbox [] | 1 open", 15 + s)).await;
        dispatches.push(uid);
    }
    p.world.at(5.0).await;
    let d6 = with_begin(number(job(&[SMS], "p", p.t(300))));
    let refused = p.world.ledger.admit(d6.clone()).await.unwrap();
    assert!(matches!(refused, AdmissionResult::Inserted { retry_after_s: Some(595), reason: Some(Reason::Quota), .. }), "{refused:?}");
    p.expect(d6.order.uid, "limited v1 step 1 wake none no code uses [] outbox [limited 1]").await;
    assert_eq!(p.read(d6.order.uid).await.pending_events[0].retry_after_s, Some(595));
    p.world.at(5.5).await;
    let mut d7 = number(job(&[SMS], "p", p.t(300)));
    d7.on_refusal = otpost::ledger::OnRefusal::AnswerOnly;
    let refused = p.world.ledger.admit(d7.clone()).await.unwrap();
    assert!(matches!(refused, AdmissionResult::Refused { retry_after_s: Some(595), .. }), "{refused:?}");
    assert!(p.world.ledger.find("default", d7.order.id).await.unwrap().is_none(), "over HTTP a refusal leaves no row");
    p.world.at(7.0).await;
    let d5 = p.read(dispatches[4]).await;
    p.finish(&d5, Outcome::Rejected(Reason::Landline).into()).await;
    p.expect(dispatches[4], "failed v2 step 1 wake none no code uses [] outbox [failed 2] | 1 rejected").await;
    p.world.at(11.0).await;
    let d8 = p.admit(&number(job(&[SMS], "p", p.t(300)))).await;
    p.expect(d8, "queued v1 step 1 wake 11 code uses [11] outbox []").await;
    let d9 = p.world.ledger.admit(number(job(&[SMS], "p", p.t(300)))).await.unwrap();
    assert!(matches!(d9, AdmissionResult::Inserted { reason: Some(Reason::Quota), .. }), "one quota use was returned, not two: {d9:?}");
}

async fn trace_5_two_carriers_answer_503_then_one_accepts(p) {
    let p = LedgerDriver { policy: policy(&["c1", "c2"]), ..p };
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(0.1).await;
    let seen = p.read(uid).await;
    let begin = p.finish(&seen, Outcome::Unavailable.into()).await;
    p.expect(uid, "sending v2 step 1 wake 5.1 code uses [0] outbox [] | 1 unavailable").await;
    assert_eq!(begin.as_ref().unwrap().carriers, ["c2"]);
    let seen = p.begin(uid, begin).await;
    assert_eq!(p.show(&seen, &[]), "sending v3 step 1 wake 15.1 code uses [0] outbox [] | 1 unavailable | 2 open");
    p.world.at(0.2).await;
    assert_eq!(p.finish(&seen, Outcome::Unavailable.into()).await, None);
    let (end, shown) = backoff_end(0.2, uid, 2, 1);
    p.expect(uid, &format!("sending v4 step 1 wake {shown} code uses [0] outbox [] | 1 unavailable | 2 unavailable")).await;
    p.world.at(end).await;
    let begin = p.turn(uid).await;
    assert_eq!(begin.as_ref().unwrap().carriers, ["c1", "c2"], "the order starts again with the first carrier");
    let seen = p.begin(uid, begin).await;
    assert_eq!(seen.version, 5);
    p.finish(&seen, accepted("SM3")).await;
    p.expect(uid, "sent v6 step 1 wake 300 code uses [0] outbox [sent 6] | 1 unavailable | 2 unavailable | 3 accepted SM3").await;
}

async fn trace_5_one_carrier_alone_backs_off_and_the_fifth_refusal_ends_it(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    let mut now = 0.1;
    for n in 1..=5u16 {
        p.world.at(now).await;
        let seen = p.read(uid).await;
        assert_eq!(seen.version, i64::from(2 * n - 1));
        assert_eq!(p.finish(&seen, Outcome::Unavailable.into()).await, None);
        if n < 5 {
            let (end, shown) = backoff_end(now, uid, n, u32::from(n));
            assert!(p.row(uid).await.contains(&format!("wake {shown} ")), "{} has wake {shown}", p.row(uid).await);
            now = end;
            p.world.at(now).await;
            let begin = p.turn(uid).await;
            p.begin(uid, begin).await;
        }
    }
    let row = p.row(uid).await;
    assert!(row.starts_with("failed v10 step 1 wake none no code uses [] outbox [failed 10]"), "{row}");
}

async fn trace_6_throttled_for_longer_than_the_code_lives(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(120)))).await;
    p.world.at(0.2).await;
    let seen = p.read(uid).await;
    p.finish(&seen, throttled(600)).await;
    p.expect(uid, "sending v2 step 1 wake 108 code uses [0] outbox [] | 1 throttled").await;
    p.world.at(108.4).await;
    let begin = p.turn(uid).await;
    let seen = p.begin(uid, begin).await;
    assert_eq!(p.show(&seen, &[]), "sending v3 step 1 wake 123.4 code uses [0] outbox [] | 1 throttled | 2 open");
    p.world.at(108.6).await;
    p.finish(&seen, throttled(600)).await;
    p.expect(uid, "expired v4 step 1 wake none no code uses [] outbox [expired 4] | 1 throttled | 2 throttled").await;
}

async fn trace_6_the_fallback_time_comes_before_the_last_chance(p) {
    let uid = p.admit(&with_begin(job(&[SMS, VOICE], "a", p.t(120)))).await;
    p.world.at(0.2).await;
    let seen = p.read(uid).await;
    p.finish(&seen, throttled(600)).await;
    p.expect(uid, "sending v2 step 1 wake 30 code uses [0] outbox [] | 1 throttled").await;
    p.world.at(30.0).await;
    let begin = p.turn(uid).await.unwrap();
    assert_eq!((begin.step, begin.channel, begin.query_status_of), (2, VOICE, None));
}

async fn trace_7_unknown_then_a_receipt(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(10.0).await;
    let seen = p.read(uid).await;
    p.finish(&seen, Outcome::Unknown.into()).await;
    p.expect(uid, "sending v2 step 1 wake 13 code uses [0] outbox [] | 1 unknown").await;
    p.world.at(11.0).await;
    p.delivered(uid, 1).await;
    p.turn(uid).await;
    p.expect(uid, "delivered v5 step 1 wake none no code uses [0] outbox [sent 4, delivered 5] | 1 accepted R1 delivered").await;
}

async fn trace_7_unknown_then_an_interim_receipt(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(10.0).await;
    let seen = p.read(uid).await;
    p.finish(&seen, Outcome::Unknown.into()).await;
    p.world.at(11.0).await;
    assert_eq!(p.receipt(uid, 1, ReceiptStatus::Interim, None).await, RecordResult::Recorded);
    assert_eq!(p.turn(uid).await, None, "no repeat");
    p.expect(uid, "sent v4 step 1 wake 300 code uses [0] outbox [sent 4] | 1 accepted R1").await;
}

async fn trace_7_unknown_and_repeated_once(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(10.0).await;
    let seen = p.read(uid).await;
    p.finish(&seen, Outcome::Unknown.into()).await;
    p.world.at(13.4).await;
    let begin = p.turn(uid).await;
    assert_eq!(begin.as_ref().unwrap().repeats, Some(1));
    let seen = p.begin(uid, begin).await;
    assert_eq!(p.show(&seen, &[]), "sending v3 step 1 wake 28.4 code uses [0] outbox [] | 1 unknown | 2 open");
    p.world.at(13.6).await;
    p.finish(&seen, accepted("SM2")).await;
    p.expect(uid, "sent v4 step 1 wake 300 code uses [0] outbox [sent 4] | 1 unknown | 2 accepted SM2").await;
    p.world.at(16.0).await;
    p.delivered(uid, 2).await;
    p.turn(uid).await;
    p.world.at(17.0).await;
    assert_eq!(p.delivered(uid, 1).await, RecordResult::Recorded);
    assert!(p.row(uid).await.starts_with("delivered v7 step 1 wake 17 "));
    p.turn(uid).await;
    p.expect(uid, "delivered v8 step 1 wake none no code uses [0] outbox [sent 4, delivered 6] | 1 accepted R1 delivered | 2 accepted SM2 delivered").await;
}

async fn trace_7_unknown_twice_is_never_repeated_again(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(10.0).await;
    let seen = p.read(uid).await;
    p.finish(&seen, Outcome::Unknown.into()).await;
    p.world.at(13.4).await;
    let begin = p.turn(uid).await;
    let seen = p.begin(uid, begin).await;
    p.world.at(23.4).await;
    assert_eq!(p.finish(&seen, Outcome::Unknown.into()).await, None);
    p.expect(uid, "sending v4 step 1 wake 300 code uses [0] outbox [] | 1 unknown | 2 unknown").await;
    p.world.at(300.5).await;
    p.turn(uid).await;
    p.expect(uid, "sending v5 step 1 wake 1200 no code uses [0] outbox [] | 1 unknown | 2 unknown").await;
    p.world.at(1200.5).await;
    p.turn(uid).await;
    p.expect(uid, "unconfirmed v6 step 1 wake none no code uses [0] outbox [unconfirmed 6] | 1 unknown | 2 unknown").await;
}

async fn trace_7_a_repeat_that_was_not_accepted_is_retried(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(10.0).await;
    let seen = p.read(uid).await;
    p.finish(&seen, Outcome::Unknown.into()).await;
    p.world.at(13.4).await;
    let begin = p.turn(uid).await;
    let seen = p.begin(uid, begin).await;
    p.finish(&seen, Outcome::Unavailable.into()).await;
    p.world.at(60.0).await;
    let begin = p.turn(uid).await;
    assert_eq!(begin.as_ref().unwrap().repeats, Some(1), "the single repeat is still available");
}

async fn trace_8_an_undelivered_receipt_before_the_answer(p) {
    let uid = p.admit(&with_begin(job(&[SMS, VOICE], "a", p.t(300)))).await;
    let a = p.read(uid).await;
    p.world.at(0.3).await;
    p.receipt(uid, 1, ReceiptStatus::Bad, Some(Reason::Unreachable)).await;
    p.expect(uid, "sending v2 step 1 wake 0.3 code uses [0] outbox [] | 1 accepted R1 unreachable").await;
    let b = p.take(uid).await;
    let begin = p.decide(&b).await;
    p.expect(uid, "sent v3 step 1 wake 5.3 code uses [0] outbox [sent 3] | 1 accepted R1 unreachable").await;
    p.world.at(0.35).await;
    let seen = p.read(uid).await;
    let BeginResult::Begun(b) = p.begin_as_seen(&seen, begin.unwrap(), Some(voice_limit("a"))).await else { panic!() };
    p.expect(uid, "sent v4 step 2 wake 15.35 code uses [0 0.35] outbox [sent 3] | 1 accepted R1 unreachable | 2 open").await;
    p.world.at(0.5).await;
    let (late, _) = p.finish_once(&a, accepted("SM1")).await;
    assert_eq!(late, WriteResult::AlreadyClosed { proved_acceptance: false });
    assert_eq!(p.read(uid).await.version, 4);
    p.world.at(0.6).await;
    p.finish(&b, accepted("CA2")).await;
    assert!(p.row(uid).await.starts_with("sent v5 step 2 wake 300 code uses [0 0.35] outbox [sent 3, sent 5]"), "{}", p.row(uid).await);
    p.world.at(8.0).await;
    p.delivered(uid, 1).await;
    p.turn(uid).await;
    let d = p.read(uid).await;
    let event = d.pending_events.last().unwrap();
    assert_eq!((event.version, event.attempt, event.step), (7, Some(1), 1));
    let corrected = &d.attempts[0];
    assert_eq!((corrected.receipt, corrected.corrected_reason), (Some(ReceiptStatus::Delivered), Some(Reason::Unreachable)));
    assert!(corrected.corrected_at < corrected.receipt_at);
    p.world.at(40.0).await;
    p.delivered(uid, 2).await;
    p.turn(uid).await;
    assert!(p.row(uid).await.starts_with("delivered v9 step 2 wake none no code"), "{}", p.row(uid).await);
}

async fn trace_9_the_receipt_comes_between_take_and_begin(p) {
    let uid = p.admit(&with_begin(job(&[SMS, VOICE], "a", p.t(300)))).await;
    p.world.at(0.2).await;
    let seen = p.read(uid).await;
    p.finish(&seen, accepted("SM1")).await;
    p.expect(uid, "sent v2 step 1 wake 30 code uses [0] outbox [sent 2] | 1 accepted SM1").await;
    p.world.at(30.0).await;
    let a = p.take(uid).await;
    let begin = p.decide(&a).await.unwrap();
    assert_eq!(begin.query_status_of, Some(1), "the fallback time passed, so the status is queried first");
    p.world.at(30.2).await;
    p.delivered(uid, 1).await;
    p.turn(uid).await;
    p.expect(uid, "delivered v4 step 1 wake none no code uses [0] outbox [sent 2, delivered 4] | 1 accepted SM1 delivered").await;
    p.world.at(30.3).await;
    let lost = p.begin_as_seen(&a, begin, Some(voice_limit("a"))).await;
    assert!(matches!(lost, BeginResult::VersionConflict(_)), "{lost:?}");
    p.expect(uid, "delivered v4 step 1 wake none no code uses [0] outbox [sent 2, delivered 4] | 1 accepted SM1 delivered").await;
}

async fn trace_9_the_begin_comes_first(p) {
    let uid = p.admit(&with_begin(job(&[SMS, VOICE], "a", p.t(300)))).await;
    p.world.at(0.2).await;
    let seen = p.read(uid).await;
    p.finish(&seen, accepted("SM1")).await;
    p.world.at(30.2).await;
    let begin = p.turn(uid).await;
    let b = p.begin(uid, begin).await;
    p.expect(uid, "sent v3 step 2 wake 45.2 code uses [0] outbox [sent 2] | 1 accepted SM1 | 2 open").await;
    p.world.at(30.4).await;
    p.delivered(uid, 1).await;
    p.turn(uid).await;
    p.expect(uid, "delivered v5 step 2 wake 45.2 no code uses [0] outbox [sent 2, delivered 5] | 1 accepted SM1 delivered | 2 open").await;
    p.world.at(30.6).await;
    let (first, _) = p.finish_once(&b, accepted("CA2")).await;
    let WriteResult::OutcomeOnly(row) = first else { panic!("{first:?}") };
    assert_eq!(row.version, 6);
    p.decide(&row).await;
    p.expect(uid, "delivered v7 step 2 wake none no code uses [0] outbox [sent 2, delivered 5] | 1 accepted SM1 delivered | 2 accepted CA2").await;
}

async fn trace_10_a_worker_is_killed_after_begin(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(15.4).await;
    assert_eq!(p.turn(uid).await, None);
    p.expect(uid, "sending v2 step 1 wake 18.4 code uses [0] outbox [] | 1 unknown").await;
    p.world.at(18.9).await;
    let begin = p.turn(uid).await;
    let b = p.begin(uid, begin).await;
    assert_eq!(p.show(&b, &[]), "sending v3 step 1 wake 33.9 code uses [0] outbox [] | 1 unknown | 2 open");
    p.world.at(19.1).await;
    p.finish(&b, accepted("SM2")).await;
    p.expect(uid, "sent v4 step 1 wake 300 code uses [0] outbox [sent 4] | 1 unknown | 2 accepted SM2").await;
}

async fn trace_10_a_receipt_proves_what_the_killed_worker_never_wrote(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(3.0).await;
    p.delivered(uid, 1).await;
    p.turn(uid).await;
    p.expect(uid, "delivered v4 step 1 wake none no code uses [0] outbox [sent 3, delivered 4] | 1 accepted R1 delivered").await;
}

async fn trace_11_a_frozen_worker_that_sent_nothing_wakes_late(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    let a = p.read(uid).await;
    p.world.at(15.4).await;
    p.turn(uid).await;
    p.world.at(18.9).await;
    let begin = p.turn(uid).await;
    let b = p.begin(uid, begin).await;
    p.finish(&b, accepted("SM2")).await;
    let before = p.row(uid).await;
    p.world.at(40.0).await;
    let (late, _) = p.finish_once(&a, Outcome::NotSent(otpost::domain::attempt::NotSentCause::TooLate).into()).await;
    assert_eq!(late, WriteResult::AlreadyClosed { proved_acceptance: false });
    assert_eq!(p.row(uid).await, before, "the outcome stays");
}

async fn trace_11_a_frozen_worker_that_had_sent_wakes_late(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    let a = p.read(uid).await;
    p.world.at(15.4).await;
    p.turn(uid).await;
    p.world.at(18.9).await;
    let begin = p.turn(uid).await;
    let b = p.begin(uid, begin).await;
    p.finish(&b, accepted("SM2")).await;
    p.world.at(40.0).await;
    let (late, _) = p.finish_once(&a, accepted("SM1")).await;
    assert_eq!(late, WriteResult::AlreadyClosed { proved_acceptance: true });
    p.expect(uid, "sent v5 step 1 wake 40 code uses [0] outbox [sent 4] | 1 accepted SM1 | 2 accepted SM2").await;
    assert_eq!(p.turn(uid).await, None);
    p.expect(uid, "sent v6 step 1 wake 300 code uses [0] outbox [sent 4] | 1 accepted SM1 | 2 accepted SM2").await;
    p.world.at(42.0).await;
    p.delivered(uid, 2).await;
    p.turn(uid).await;
    assert!(p.row(uid).await.starts_with("delivered v8"), "{}", p.row(uid).await);
}

async fn trace_11_too_late_to_send_does_not_count_as_an_attempt(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(9.0).await;
    let a = p.read(uid).await;
    p.finish(&a, Outcome::NotSent(otpost::domain::attempt::NotSentCause::TooLate).into()).await;
    let (end, shown) = backoff_end(9.0, uid, 1, 1);
    p.expect(uid, &format!("sending v2 step 1 wake {shown} code uses [0] outbox [] | 1 not_sent")).await;
    p.world.at(end).await;
    let begin = p.turn(uid).await;
    let b = p.begin(uid, begin).await;
    p.finish(&b, accepted("SM2")).await;
    assert!(p.row(uid).await.starts_with("sent v4"));
}

async fn trace_12_superseded_while_an_attempt_is_open(p) {
    for (what, judgement, row) in [
        ("accepted", accepted("SM1"), "sent v4 step 1 wake 300 stop superseded code uses [0] outbox [sent 4] | 1 accepted SM1"),
        ("not accepted", Outcome::Unavailable.into(), "superseded v4 step 1 wake none stop superseded no code uses [] outbox [superseded 4] | 1 unavailable"),
        ("unknown", Outcome::Unknown.into(), "sending v4 step 1 wake 300 stop superseded code uses [0] outbox [] | 1 unknown"),
    ] {
        p.world.at(0.0).await;
        let mut x = with_begin(job(&[SMS, VOICE], what, p.t(300)));
        x.supersedes = Some((format!("k {what}"), p.t(1)));
        let mut y = with_begin(job(&[SMS], what, p.t(300)));
        y.supersedes = Some((format!("k {what}"), p.t(2)));
        let x_uid = p.admit(&x).await;
        let seen = p.read(x_uid).await;
        p.world.at(0.1).await;
        let born = p.world.ledger.admit(y).await.unwrap();
        assert!(matches!(&born, AdmissionResult::Inserted { superseded, .. } if superseded == &[x_uid]), "{born:?}");
        p.expect(x_uid, "sending v2 step 1 wake 15 stop superseded code uses [0] outbox [] | 1 open").await;
        p.world.at(0.3).await;
        assert_eq!(p.finish(&seen, judgement).await, None, "{what}: no further begin");
        p.expect(x_uid, row).await;
    }
}

async fn trace_12_the_older_one_arrives_later(p) {
    let mut y = with_begin(job(&[SMS], "a", p.t(300)));
    y.supersedes = Some(("k".to_owned(), p.t(2)));
    p.admit(&y).await;
    let mut x = with_begin(job(&[SMS, VOICE], "a", p.t(300)));
    x.supersedes = Some(("k".to_owned(), p.t(1)));
    p.admit(&x).await;
    p.expect(x.order.uid, "superseded v1 step 1 wake none no code uses [] outbox [superseded 1]").await;
    let mut http = job(&[SMS], "a", p.t(300));
    http.supersedes = Some(("k".to_owned(), p.t(1)));
    http.on_refusal = otpost::ledger::OnRefusal::AnswerOnly;
    let refused = p.world.ledger.admit(http).await.unwrap();
    assert!(matches!(refused, AdmissionResult::Refused { reason: Reason::Newer, .. }), "{refused:?}");
}

async fn trace_12_both_arrive_at_once(p) {
    // The first item occupies the writer and the others form one group. In half of the pairs the newer job
    // comes first.
    let pairs: Vec<_> = (0..8).map(|n| {
        let number = format!("pair {n}");
        let mut x = with_begin(job(&[SMS, VOICE], &number, p.t(300)));
        x.supersedes = Some((number.clone(), p.t(1)));
        let mut y = with_begin(job(&[SMS], &number, p.t(300)));
        y.supersedes = Some((number, p.t(2)));
        (x, y)
    }).collect();
    let busy = std::iter::once(with_begin(job(&[SMS], "busy", p.t(300))));
    let all = busy.chain(pairs.iter().enumerate().flat_map(|(n, (x, y))| if n % 2 == 0 { [x.clone(), y.clone()] } else { [y.clone(), x.clone()] }));
    for born in futures_util::future::join_all(all.map(|j| p.world.ledger.admit(j))).await {
        born.unwrap();
    }
    for (n, (x, y)) in pairs.iter().enumerate() {
        p.expect(y.order.uid, "sending v1 step 1 wake 15 code uses [0] outbox [] | 1 open").await;
        let older = p.row(x.order.uid).await;
        let stopped = if n % 2 == 0 { "sending v2 step 1 wake 15 stop superseded" } else { "superseded v1 step 1 wake none" };
        assert!(older.starts_with(stopped), "{n}: {older}");
    }
}

async fn trace_12_an_older_one_is_refused_even_when_the_newer_has_expired(p) {
    let mut y = with_begin(job(&[SMS], "a", p.t(20)));
    y.supersedes = Some(("k".to_owned(), p.t(2)));
    let uid = p.admit(&y).await;
    p.world.at(9.0).await;
    let seen = p.read(uid).await;
    p.finish(&seen, throttled(600)).await;
    assert!(p.row(uid).await.starts_with("expired v2"), "{}", p.row(uid).await);
    let mut x = with_begin(job(&[SMS], "a", p.t(300)));
    x.supersedes = Some(("k".to_owned(), p.t(1)));
    p.admit(&x).await;
    assert!(p.row(x.order.uid).await.starts_with("superseded v1"), "{}", p.row(x.order.uid).await);
}

async fn trace_12_a_limited_one_supersedes_nothing(p) {
    let tight = |mut j: otpost::ledger::Admission| { j.limits = vec![limit("p", &["1/10m"])]; j };
    let mut x = with_begin(tight(job(&[SMS], "p", p.t(300))));
    x.supersedes = Some(("k".to_owned(), p.t(1)));
    p.admit(&x).await;
    let mut y = with_begin(tight(job(&[SMS], "p", p.t(300))));
    y.supersedes = Some(("k".to_owned(), p.t(2)));
    p.admit(&y).await;
    assert!(p.row(y.order.uid).await.starts_with("limited v1"));
    p.expect(x.order.uid, "sending v1 step 1 wake 15 code uses [0] outbox [] | 1 open").await;
}

async fn trace_13_verified_while_the_fallback_timer_runs(p) {
    let j = with_begin(job(&[SMS, VOICE], "a", p.t(300)));
    let uid = p.admit(&j).await;
    p.world.at(0.2).await;
    let seen = p.read(uid).await;
    p.finish(&seen, accepted("SM1")).await;
    p.world.at(12.0).await;
    p.stop(&j, Stop::Verified).await;
    p.expect(uid, "sent v3 step 1 wake 12 stop verified code uses [0] outbox [sent 2] | 1 accepted SM1").await;
    assert_eq!(p.turn(uid).await, None);
    p.expect(uid, "sent v4 step 1 wake 300 stop verified code uses [0] outbox [sent 2] | 1 accepted SM1").await;
    p.world.at(300.5).await;
    p.turn(uid).await;
    p.world.at(1200.5).await;
    p.turn(uid).await;
    p.expect(uid, "unconfirmed v6 step 1 wake none stop verified no code uses [0] outbox [sent 2, unconfirmed 6] | 1 accepted SM1").await;
}

async fn trace_13_the_mark_comes_between_take_and_begin(p) {
    let j = with_begin(job(&[SMS, VOICE], "a", p.t(300)));
    let uid = p.admit(&j).await;
    p.world.at(0.2).await;
    let seen = p.read(uid).await;
    p.finish(&seen, accepted("SM1")).await;
    p.world.at(30.0).await;
    let a = p.take(uid).await;
    let begin = p.decide(&a).await.unwrap();
    p.world.at(30.1).await;
    p.stop(&j, Stop::Verified).await;
    let BeginResult::VersionConflict(row) = p.begin_as_seen(&a, begin, Some(voice_limit("a"))).await else { panic!() };
    assert_eq!(p.decide(&row).await, None);
    p.expect(uid, "sent v4 step 1 wake 300 stop verified code uses [0] outbox [sent 2] | 1 accepted SM1").await;
}

async fn trace_14_cancel_in_each_state(p) {
    // 1: queued, without rate limit capacity.
    let mut j = job(&[SMS, VOICE], "one", p.t(300));
    j.snooze = Some(std::time::Duration::from_secs(1));
    let uid = p.admit(&j).await;
    p.expect(uid, "queued v1 step 1 wake 1 code uses [0] outbox []").await;
    p.world.at(0.5).await;
    assert!(matches!(p.stop(&j, Stop::Cancel).await, StopResult::Marked { .. }));
    p.turn(uid).await;
    p.expect(uid, "cancelled v3 step 1 wake none stop cancel no code uses [] outbox [cancelled 3]").await;
    assert!(matches!(p.stop(&j, Stop::Cancel).await, StopResult::Final { .. }));
    // 2: queued and taken; the begin gets a version conflict.
    p.world.at(0.0).await;
    let j = job(&[SMS, VOICE], "two", p.t(300));
    let uid = p.admit(&j).await;
    let a = p.take(uid).await;
    let begin = p.decide(&a).await.unwrap();
    p.world.at(0.5).await;
    p.stop(&j, Stop::Cancel).await;
    let BeginResult::VersionConflict(row) = p.begin_as_seen(&a, begin, None).await else { panic!() };
    p.decide(&row).await;
    p.expect(uid, "cancelled v3 step 1 wake none stop cancel no code uses [] outbox [cancelled 3]").await;
    // 3 to 6: an attempt is open.
    for (name, judgement, at, row) in [
        ("four", Outcome::Unavailable.into(), 0.3, "cancelled v4 step 1 wake none stop cancel no code uses [] outbox [cancelled 4] | 1 unavailable"),
        ("five", accepted("SM1"), 0.3, "sent v4 step 1 wake 300 stop cancel code uses [0] outbox [sent 4] | 1 accepted SM1"),
        ("six", Outcome::Unknown.into(), 10.0, "sending v4 step 1 wake 300 stop cancel code uses [0] outbox [] | 1 unknown"),
    ] {
        p.world.at(0.0).await;
        let j = with_begin(job(&[SMS, VOICE], name, p.t(300)));
        let uid = p.admit(&j).await;
        let seen = p.read(uid).await;
        p.world.at(0.1).await;
        p.stop(&j, Stop::Cancel).await;
        p.expect(uid, "sending v2 step 1 wake 15 stop cancel code uses [0] outbox [] | 1 open").await;
        assert!(matches!(p.stop(&j, Stop::Verified).await, StopResult::MarkedBefore { stop: Stop::Cancel, .. }), "the first stop stays");
        p.world.at(at).await;
        assert_eq!(p.finish(&seen, judgement).await, None);
        p.expect(uid, row).await;
    }
    // 7: back-off. 8: wait. 9: sent.
    for (name, judgement, row) in [
        ("seven", Outcome::Unavailable.into(), "cancelled v4 step 1 wake none stop cancel no code uses [] outbox [cancelled 4] | 1 unavailable"),
        ("eight", Outcome::Unknown.into(), "sending v4 step 1 wake 300 stop cancel code uses [0] outbox [] | 1 unknown"),
        ("nine", accepted("SM1"), "sent v4 step 1 wake 300 stop cancel code uses [0] outbox [sent 2] | 1 accepted SM1"),
    ] {
        p.world.at(0.0).await;
        let j = with_begin(job(&[SMS, VOICE], name, p.t(300)));
        let uid = p.admit(&j).await;
        let seen = p.read(uid).await;
        p.world.at(0.1).await;
        p.finish(&seen, judgement).await;
        p.stop(&j, Stop::Cancel).await;
        assert_eq!(p.turn(uid).await, None);
        p.expect(uid, row).await;
    }
}

async fn trace_15_expired_in_a_backlog_and_while_snoozed(p) {
    let mut a = with_begin(job(&[SMS], "a", p.t(5)));
    a.refusal = Some(otpost::ledger::Refusal { state: otpost::domain::attempt::State::Expired, reason: Reason::Life });
    p.admit(&a).await;
    p.expect(a.order.uid, "expired v1 step 1 wake none no code uses [] outbox [expired 1]").await;
    let mut b = job(&[SMS], "b", p.t(30));
    b.snooze = Some(std::time::Duration::from_secs(1));
    let uid = p.admit(&b).await;
    p.expect(uid, "queued v1 step 1 wake 1 code uses [0] outbox []").await;
    for (at, row) in [
        (1.0, "queued v2 step 1 wake 3 code uses [0] outbox []"),
        (3.0, "queued v3 step 1 wake 8 code uses [0] outbox []"),
        (8.0, "queued v4 step 1 wake 18 code uses [0] outbox []"),
        (18.0, "expired v5 step 1 wake none no code uses [] outbox [expired 5]"),
    ] {
        p.world.at(at).await;
        p.turn_without_capacity(uid).await;
        p.expect(uid, row).await;
    }
}

async fn trace_15_accepted_without_a_receipt_then_corrected(p) {
    let uid = p.admit(&with_begin(job(&[SMS], "a", p.t(300)))).await;
    p.world.at(0.2).await;
    let seen = p.read(uid).await;
    p.finish(&seen, accepted("SM1")).await;
    p.world.at(300.5).await;
    p.turn(uid).await;
    p.expect(uid, "sent v3 step 1 wake 1200 no code uses [0] outbox [sent 2] | 1 accepted SM1").await;
    p.world.at(1200.5).await;
    p.turn(uid).await;
    p.expect(uid, "unconfirmed v4 step 1 wake none no code uses [0] outbox [sent 2, unconfirmed 4] | 1 accepted SM1").await;
    p.world.at(4000.0).await;
    p.delivered(uid, 1).await;
    assert!(p.row(uid).await.starts_with("unconfirmed v5 step 1 wake 4000 "));
    p.turn(uid).await;
    p.expect(uid, "delivered v6 step 1 wake none no code uses [0] outbox [sent 2, unconfirmed 4, delivered 6] | 1 accepted SM1 delivered").await;
}

async fn trace_20_busy_machine_and_answered(p) {
    for (status, reason, end) in [
        (ReceiptStatus::Bad, Some(Reason::Busy), "undelivered v4 step 1 wake none no code uses [0 0] outbox [sent 2, undelivered 4] | 1 accepted CA1 busy"),
        (ReceiptStatus::Bad, Some(Reason::Machine), "undelivered v4 step 1 wake none no code uses [0 0] outbox [sent 2, undelivered 4] | 1 accepted CA1 machine"),
        (ReceiptStatus::Delivered, None, "delivered v4 step 1 wake none no code uses [0 0] outbox [sent 2, delivered 4] | 1 accepted CA1 delivered"),
    ] {
        p.world.at(0.0).await;
        let name = format!("{status} {reason:?}");
        let mut j = with_begin(job(&[VOICE], &name, p.t(300)));
        j.channel_limit = Some(voice_limit(&name));
        let uid = p.admit(&j).await;
        p.expect(uid, "sending v1 step 1 wake 15 code uses [0 0] outbox [] | 1 open").await;
        p.world.at(0.4).await;
        let seen = p.read(uid).await;
        p.finish(&seen, accepted("CA1")).await;
        p.world.at(20.0).await;
        p.receipt(uid, 1, status, reason).await;
        p.turn(uid).await;
        p.expect(uid, end).await;
    }
}

async fn trace_20_a_busy_call_is_followed_by_a_text_at_once(p) {
    let mut j = with_begin(job(&[VOICE, SMS], "a", p.t(300)));
    j.channel_limit = Some(voice_limit("a"));
    let uid = p.admit(&j).await;
    p.world.at(0.4).await;
    let seen = p.read(uid).await;
    p.finish(&seen, accepted("CA1")).await;
    p.world.at(20.0).await;
    p.receipt(uid, 1, ReceiptStatus::Bad, Some(Reason::Busy)).await;
    let begin = p.turn(uid).await;
    let b = p.begin(uid, begin).await;
    assert_eq!((b.version, b.step), (4, 2));
    p.finish(&b, accepted("SM2")).await;
    p.expect(uid, "sent v5 step 2 wake 300 code uses [0 0] outbox [sent 2, sent 5] | 1 accepted CA1 busy | 2 accepted SM2").await;
}

async fn trace_20_the_quota_of_calls_refuses_a_begin(p) {
    let calls_used = async |number: &str| {
        for s in 0..3 {
            let mut j = with_begin(job(&[VOICE], &format!("{number} other"), p.t(300)));
            j.limits = vec![];
            j.channel_limit = Some(voice_limit(number));
            p.world.at(f64::from(s)).await;
            p.admit(&j).await;
        }
        p.world.at(10.0).await;
    };
    let voice_begin = async |uid, begin: Option<Begin>, number: &str| {
        let seen = p.read(uid).await;
        let begin = begin.unwrap();
        let BeginResult::ChannelRefused { retry_after_s, .. } = p.begin_as_seen(&seen, begin.clone(), Some(voice_limit(number))).await
            else { panic!("the fourth call within the hour") };
        assert_eq!(p.row(uid).await, p.show(&seen, &seen.pending_events), "a refused begin changes nothing");
        p.skip(&seen, &begin, retry_after_s).await
    };
    // 6: after a bad receipt.
    calls_used("six").await;
    let uid = p.admit(&with_begin(job(&[SMS, VOICE], "six", p.t(300)))).await;
    let seen = p.read(uid).await;
    p.finish(&seen, accepted("SM1")).await;
    p.receipt(uid, 1, ReceiptStatus::Bad, Some(Reason::Unreachable)).await;
    let begin = p.turn(uid).await;
    assert_eq!(voice_begin(uid, begin, "six").await, None);
    p.expect(uid, "undelivered v4 step 3 wake none no code uses [10] outbox [sent 2, undelivered 4] | 1 accepted SM1 unreachable").await;
    // 7: by time.
    calls_used("seven").await;
    let uid = p.admit(&with_begin(job(&[SMS, VOICE], "seven", p.t(300)))).await;
    let seen = p.read(uid).await;
    p.finish(&seen, accepted("SM1")).await;
    p.world.at(40.0).await;
    let begin = p.turn(uid).await;
    voice_begin(uid, begin, "seven").await;
    p.expect(uid, "sent v3 step 3 wake 300 code uses [10] outbox [sent 2] | 1 accepted SM1").await;
    // 8: nothing was accepted.
    calls_used("eight").await;
    let uid = p.admit(&with_begin(job(&[SMS, VOICE], "eight", p.t(300)))).await;
    let seen = p.read(uid).await;
    let begin = p.finish(&seen, Outcome::Rejected(Reason::Landline).into()).await;
    voice_begin(uid, begin, "eight").await;
    p.expect(uid, "limited v3 step 3 wake none no code uses [] outbox [limited 3] | 1 rejected").await;
    assert_eq!(p.read(uid).await.pending_events[0].retry_after_s, Some(3590));
    // 9, 10: with admit.
    calls_used("nine").await;
    let mut j = with_begin(job(&[VOICE], "nine", p.t(300)));
    j.channel_limit = Some(voice_limit("nine"));
    p.admit(&j).await;
    p.expect(j.order.uid, "limited v1 step 2 wake none no code uses [] outbox [limited 1]").await;
    let mut j = with_begin(job(&[VOICE, SMS], "nine", p.t(300)));
    j.channel_limit = Some(voice_limit("nine"));
    p.admit(&j).await;
    p.expect(j.order.uid, "queued v1 step 2 wake 10 code uses [10] outbox []").await;
}

}
