//! Drives a dispatch through the ledger step by step, like workers and the receipts listener, and prints its
//! row as one line.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use otpost::domain::attempt::{Details, Judgement, Outcome, Reason, Receipt, ReceiptStatus};
use otpost::domain::channel::Channel;
use otpost::domain::clock::after;
use otpost::domain::decide::{
    Begin, Candidate, Decision, NoRoom, Policy, UnknownPolicy, decide, decide_without_room, skip_step,
};
use otpost::domain::dispatch::{Dispatch, Event, Order, Plan, Stop};
use otpost::ledger::{
    Admission, AdmissionResult, AdvanceRequest, AdvanceResult, AttemptOutcome, AttemptReceipt, BeginRequest,
    BeginResult, DecisionWrite, Destinations, Limit, NewAttempt, OnRefusal, Receiver, RecordResult,
    StopRequest, StopResult, Undelivered, WriteResult,
};
use uuid::Uuid;

use super::seen::Seen;
use super::world::World;

pub const SMS: Channel = Channel::Sms;
pub const VOICE: Channel = Channel::Voice;
/// A carrier's time-out in the traces.
const TIME_OUT: Duration = Duration::from_secs(10);

/// Events go to the broker and to no webhook.
pub const DESTINATIONS: Destinations = Destinations { broker: true, webhook: false };

/// A job of the tests. A test may change its fields before the admission.
pub fn job(plan: &[Channel], number: &str, expires_at: Timestamp) -> Admission {
    Admission {
        order: Order {
            uid: Uuid::now_v7(),
            tenant: "default".to_owned(),
            id: Uuid::new_v4(),
            plan: Plan::try_from(plan.to_vec()).unwrap(),
            expires_at,
            fallback_after_s: 30,
            template: "code".to_owned(),
            locale: None,
            country: Some("GB".to_owned()),
            mask: "+44•••23".to_owned(),
            number: "v1.k.sealed-number".to_owned(),
            tags: std::iter::once(("flow".to_owned(), "login".to_owned())).collect(),
            traceparent: None,
        }
        .into(),
        content: "content".to_owned(),
        number_key: format!("number {number}"),
        code: "v1.k.sealed-code".to_owned(),
        limits: vec![limit(number, &["5/10m", "10/1d"])],
        channel_limit: None,
        refusal: None,
        on_refusal: OnRefusal::StoreRow,
        supersedes: None,
        attempt: None,
        snooze: None,
        destinations: DESTINATIONS,
    }
}

pub fn limit(key: &str, rules: &[&str]) -> Limit {
    Limit { key: key.to_owned(), rules: rules.iter().map(|r| r.parse().unwrap()).collect() }
}

pub fn voice_limit(number: &str) -> Limit {
    limit(&format!("voice {number}"), &["3/1h"])
}

/// Returns the job with its first begin at c1.
pub fn with_begin(mut job: Admission) -> Admission {
    job.attempt = Some(NewAttempt::new(job.order.plan.step(1).unwrap(), "c1", TIME_OUT, None));
    job
}

pub fn candidate(carrier: &str, unknown: UnknownPolicy) -> Candidate {
    Candidate { carrier: carrier.to_owned(), unknown, min_life: Duration::from_secs(10) }
}

/// A policy with these carriers for texts. Only c1 makes calls.
pub fn policy(sms: &[&str]) -> Policy {
    Policy {
        candidates: [
            (SMS, sms.iter().map(|c| candidate(c, UnknownPolicy::Wait)).collect()),
            (VOICE, vec![candidate("c1", UnknownPolicy::Never)]),
        ]
        .into(),
        receipt_wait: Duration::from_secs(900),
    }
}

pub fn accepted(reference: &str) -> Judgement {
    let details = Details { message_id: Some(reference.to_owned()), ..Details::default() };
    Judgement { outcome: Outcome::Accepted, details }
}

pub fn throttled(seconds: u64) -> Judgement {
    Outcome::Throttled { retry_after: Some(Duration::from_secs(seconds)) }.into()
}

/// A ledger and a policy, with the steps of a dispatch.
pub struct LedgerDriver {
    pub world: World,
    pub policy: Policy,
}

impl LedgerDriver {
    pub fn new(world: World) -> Self {
        Self { world, policy: policy(&["c1"]) }
    }

    /// Admits a job. Panics if it is refused.
    pub async fn admit(&self, job: &Admission) -> Uuid {
        match self.world.ledger.admit(job.clone()).await.unwrap() {
            AdmissionResult::Inserted { .. } => job.order.uid,
            other => panic!("not inserted: {other:?}"),
        }
    }

    pub async fn read(&self, uid: Uuid) -> Seen {
        self.world.assert_timer(uid).await;
        let d = self.world.ledger.read(uid).await.unwrap().expect("the dispatch exists");
        Seen::of(&self.world.ledger, d).await.unwrap()
    }

    /// Takes a dispatch. Panics if it is not due.
    pub async fn take(&self, uid: Uuid) -> Dispatch {
        self.world.ledger.take(uid).await.unwrap().expect("the dispatch is due")
    }

    /// Finishes the open attempt like the worker that read this row. Decides again if the version has
    /// changed.
    pub async fn finish(&self, seen: &Dispatch, judgement: Judgement) -> Option<Begin> {
        match self.finish_once(seen, judgement).await {
            (WriteResult::Written, decision) => decision.begin,
            (WriteResult::OutcomeOnly(row), _) => self.decide(&row).await,
            (WriteResult::AlreadyClosed { .. }, _) => None,
            (other, _) => panic!("a finish gets no conflict: {other:?}"),
        }
    }

    /// Writes only the finish, and returns it with the decision.
    pub async fn finish_once(&self, seen: &Dispatch, judgement: Judgement) -> (WriteResult, Decision) {
        let (finishing, decision) = self.finishing(seen, judgement).await;
        (self.world.ledger.write_decision(finishing).await.unwrap(), decision)
    }

    /// Returns the write of a finish, with its decision.
    pub async fn finishing(&self, seen: &Dispatch, judgement: Judgement) -> (DecisionWrite, Decision) {
        let open = seen.open_attempt().expect("an open attempt").clone();
        let now = self.now().await;
        let mut after = seen.clone();
        let a = after.attempts.last_mut().unwrap();
        a.outcome = Some(judgement.outcome);
        a.closed_at = Some(now);
        a.details = judgement.details.clone();
        let decision = decide(&after, now, &self.policy);
        let closing = AttemptOutcome { n: open.n, claim: open.claim, judgement, at: now };
        (
            DecisionWrite::with_outcome(
                seen.clone(),
                closing,
                Some(decision.transition.clone()),
                DESTINATIONS,
            ),
            decision,
        )
    }

    /// Decides on an old row. A version conflict is ignored.
    pub async fn decide(&self, seen: &Dispatch) -> Option<Begin> {
        let decision = decide(seen, self.now().await, &self.policy);
        if decision.begins_only(seen) {
            return decision.begin;
        }
        self.conclude(seen, decision).await
    }

    async fn conclude(&self, seen: &Dispatch, decision: Decision) -> Option<Begin> {
        let deciding = DecisionWrite::transition_only(seen.clone(), decision.transition, DESTINATIONS);
        match self.world.ledger.write_decision(deciding).await.unwrap() {
            WriteResult::Written => decision.begin,
            _ => None,
        }
    }

    /// Takes and decides.
    pub async fn turn(&self, uid: Uuid) -> Option<Begin> {
        let d = self.take(uid).await;
        self.decide(&d).await
    }

    /// Takes a dispatch, finds no carrier with rate limit capacity, and decides.
    pub async fn turn_without_capacity(&self, uid: Uuid) {
        let d = self.take(uid).await;
        let decision = decide(&d, self.now().await, &self.policy);
        let begin = decision.begin.expect("a begin is due");
        let put_off = decide_without_room(&d, &begin, NoRoom::Busy, self.now().await, &self.policy);
        self.conclude(&d, put_off).await;
    }

    /// Begins the decided attempt at the first carrier, on the current row.
    pub async fn begin(&self, uid: Uuid, begin: Option<Begin>) -> Dispatch {
        let seen = self.read(uid).await;
        match self.begin_as_seen(&seen, begin.expect("a begin was decided"), None).await {
            BeginResult::Begun(row) => *row,
            other => panic!("not begun: {other:?}"),
        }
    }

    /// Begins on an old row.
    pub async fn begin_as_seen(
        &self, seen: &Dispatch, begin: Begin, channel_limit: Option<Limit>,
    ) -> BeginResult {
        let attempt = NewAttempt::new(begin.channel, &begin.carriers[0], TIME_OUT, begin.repeats);
        let request = BeginRequest {
            uid: seen.order.uid,
            expected_version: seen.version,
            step: begin.step,
            attempt,
            channel_limit,
        };
        self.world.ledger.begin(request).await.unwrap()
    }

    /// Skips the step after the call quota has refused its begin.
    pub async fn skip(&self, seen: &Dispatch, begin: &Begin, retry_after_s: u64) -> Option<Begin> {
        let decision = skip_step(seen, begin, retry_after_s, self.now().await, &self.policy);
        if decision.begins_only(seen) {
            return decision.begin;
        }
        self.conclude(seen, decision).await
    }

    pub async fn receipt(
        &self, uid: Uuid, n: u16, status: ReceiptStatus, reason: Option<Reason>,
    ) -> RecordResult {
        let carrier = self.read(uid).await.attempts.iter().find(|a| a.n == n).map(|a| a.carrier.clone());
        let receipt = Receipt { status, reason, carrier_code: None, message_id: Some(format!("R{n}")) };
        let attempt_receipt = AttemptReceipt { uid, n, carrier: carrier.unwrap_or("c1".to_owned()), receipt };
        self.world.ledger.record(attempt_receipt).await.unwrap()
    }

    pub async fn delivered(&self, uid: Uuid, n: u16) -> RecordResult {
        self.receipt(uid, n, ReceiptStatus::Delivered, None).await
    }

    pub async fn stop(&self, job: &Admission, stop: Stop) -> StopResult {
        let request = StopRequest { tenant: job.order.tenant.clone(), id: job.order.id, stop };
        self.world.ledger.stop(request).await.unwrap()
    }

    pub async fn advance(&self, job: &Admission, step: Option<u8>) -> AdvanceResult {
        let request = AdvanceRequest { tenant: job.order.tenant.clone(), id: job.order.id, step };
        self.world.ledger.advance(request).await.unwrap()
    }

    async fn now(&self) -> Timestamp {
        self.world.ledger.check().await.unwrap()
    }

    /// Returns the row as one line, with times in seconds after time zero.
    pub async fn row(&self, uid: Uuid) -> String {
        let seen = self.read(uid).await;
        self.show(&seen, &seen.pending_events)
    }

    /// Returns a dispatch and its pending events as one line.
    pub fn show(&self, d: &Dispatch, pending_events: &[Event]) -> String {
        let t = |t: Timestamp| {
            let s = format!("{:.2}", self.world.seconds(t));
            s.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        let mut line = format!("{} v{} step {}", d.state, d.version, d.step);
        line += &d.wake_at.map_or(" wake none".to_owned(), |w| format!(" wake {}", t(w)));
        if let Some(stop) = d.stop {
            write!(line, " stop {stop}").unwrap();
        }
        line += if d.code.is_some() { " code" } else { " no code" };
        let slots: Vec<String> =
            d.quota_uses.iter().filter(|_| d.holds_quota_uses).map(|s| t(s.at)).collect();
        write!(line, " uses [{}]", slots.join(" ")).unwrap();
        let owed: Vec<String> = pending_events.iter().map(|e| format!("{} {}", e.state, e.version)).collect();
        write!(line, " outbox [{}]", owed.join(", ")).unwrap();
        for a in &d.attempts {
            write!(line, " | {} {}", a.n, a.outcome.map_or("open", Outcome::word)).unwrap();
            if let Some(reference) = &a.details.message_id {
                write!(line, " {reference}").unwrap();
            }
            if let Some(status) = a.receipt {
                write!(line, " {}", a.receipt_reason.map_or(status.as_str(), Reason::as_str)).unwrap();
            }
        }
        line
    }

    /// Asserts the row's line.
    pub async fn expect(&self, uid: Uuid, line: &str) {
        let row = self.row(uid).await;
        assert_eq!(row, line, "the row, then the expected row");
    }

    /// Removes the pending events, as the publisher does after the confirms.
    pub async fn mark_published(&self, uid: Uuid) -> Vec<String> {
        let mut removed = vec![];
        let ledger = &self.world.ledger;
        for batch in ledger.undelivered(&Receiver::Broker, uid).await.unwrap() {
            let (ours, others): (Vec<_>, Vec<_>) =
                batch.events.iter().cloned().partition(|pending| pending.uid == uid);
            let events = ours.iter().flat_map(|pending| &pending.events);
            removed.extend(events.map(|e| format!("{} {}", e.state, e.version)));
            if others.is_empty() {
                ledger.mark_delivered(&batch);
                ledger.delete_delivered().await.unwrap();
            } else {
                let (problem, retry_after) = (String::new(), Some(batch.receiver.lease()));
                let (id, tries) = (batch.id, batch.tries);
                let left = Undelivered { id, tries, events: others, problem, retry_after, counts: true };
                ledger.record_undelivered(&left).await.unwrap();
            }
        }
        removed
    }

    /// A time in seconds after time zero.
    pub fn t(&self, seconds: u64) -> Timestamp {
        after(self.world.t0, Duration::from_secs(seconds))
    }
}
