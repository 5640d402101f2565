//! The kinds of statements: each alone, and groups whose items have different results.

use std::sync::Arc;
use std::time::Duration;

use otpost::domain::attempt::{Outcome, Reason, Receipt, ReceiptStatus, State};
use otpost::domain::channel::Channel;
use otpost::domain::decide::{Begin, decide};
use otpost::domain::dispatch::{Dispatch, Stop};
use otpost::ledger::{
    Admission, AdvanceRequest, AttemptReceipt, BeginRequest, DecisionWrite, EventBatch, Ledger, LedgerError,
    NewAttempt, OnRefusal, Receiver, Refusal, StopRequest,
};
use uuid::Uuid;

use crate::support::ledger_driver::{
    DESTINATIONS, LedgerDriver, SMS, VOICE, accepted, job, limit, with_begin,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Admit,
    Begin,
    Finish,
    Decide,
    Record,
    Stop,
    Advance,
    Take,
    Publish,
    /// Trace 18 a: a new job, one that its quota refuses, and one with a known id.
    Admissions,
    /// A newer code of a sign-in, which stops the older one.
    Superseding,
    /// Refused before the ledger is used: over AMQP with a row, over HTTP without one.
    Refusals,
    /// Trace 18 b: an accepted attempt, one that the next carrier gets, one that ends and returns its quota
    /// use, and an answer that arrives after another attempt has begun.
    Finishes,
}

pub(super) const SINGLE: &[Kind] = &[
    Kind::Admit,
    Kind::Begin,
    Kind::Finish,
    Kind::Decide,
    Kind::Record,
    Kind::Stop,
    Kind::Advance,
    Kind::Take,
    Kind::Publish,
];
pub(super) const GROUPS: &[Kind] = &[Kind::Admissions, Kind::Superseding, Kind::Refusals, Kind::Finishes];

impl Kind {
    /// Whether this is the expected answer after a committed first run: the claim is recognised.
    pub(super) fn is_expected(self, answer: &str) -> bool {
        match self {
            Self::Admit | Self::Admissions | Self::Superseding => {
                answer.starts_with("Inserted") || answer.contains("has_our_claim: true")
            }
            Self::Begin => answer.starts_with("Begun"),
            // The act is done, so it is not refused.
            Self::Advance => !answer.starts_with("Pending"),
            // The decision depends on the row.
            _ => true,
        }
    }
}

/// A call of the ledger.
pub(super) enum Act {
    Admit(Box<Admission>),
    Begin(BeginRequest),
    Conclude(Box<DecisionWrite>),
    Record(AttemptReceipt),
    Stop(StopRequest),
    Advance(AdvanceRequest),
    Take(Uuid),
    Publish(EventBatch),
}

impl Act {
    pub(super) async fn on(&self, ledger: &Ledger) -> Result<String, LedgerError> {
        Ok(match self {
            Self::Admit(job) => format!("{:?}", ledger.admit((**job).clone()).await?),
            Self::Begin(begin) => format!("{:?}", ledger.begin(begin.clone()).await?),
            Self::Conclude(deciding) => format!("{:?}", ledger.write_decision((**deciding).clone()).await?),
            Self::Record(receipt) => format!("{:?}", ledger.record(receipt.clone()).await?),
            Self::Stop(request) => format!("{:?}", ledger.stop(request.clone()).await?),
            Self::Advance(request) => format!("{:?}", ledger.advance(request.clone()).await?),
            Self::Take(uid) => format!("{:?}", ledger.take(*uid).await?),
            Self::Publish(batch) => {
                ledger.mark_delivered(batch);
                format!("{:?}", ledger.delete_delivered().await?)
            }
        })
    }
}

/// Calls that are submitted together, and so form one group.
pub(super) struct Calls {
    pub(super) acts: Vec<Act>,
    /// The jobs whose rows the calls write,
    pub(super) written: Vec<Admission>,
    /// and the jobs whose rows must not change.
    pub(super) others: Vec<Admission>,
}

impl Calls {
    fn one(job: Admission, act: Act) -> Self {
        Self { acts: vec![act], written: vec![job], others: vec![] }
    }

    fn admissions(written: Vec<Admission>, others: Vec<Admission>) -> Self {
        let acts = written.iter().chain(&others).map(|job| Act::Admit(Box::new(job.clone()))).collect();
        Self { acts, written, others }
    }
}

fn fresh(driver: &LedgerDriver, channels: &[Channel]) -> Admission {
    job(channels, &format!("n{}", Uuid::new_v4().simple()), driver.t(300))
}

async fn begun(driver: &LedgerDriver, channels: &[Channel]) -> (Admission, Dispatch) {
    let job = with_begin(fresh(driver, channels));
    driver.admit(&job).await;
    let seen = driver.read(job.order.uid).await.d;
    (job, seen)
}

/// Prepares the dispatches for this statement.
pub(super) async fn prepare(driver: &LedgerDriver, kind: Kind) -> Calls {
    match kind {
        Kind::Admit => Calls::admissions(vec![with_begin(fresh(driver, &[SMS, VOICE]))], vec![]),
        Kind::Admissions => admissions(driver).await,
        Kind::Superseding => superseding(driver).await,
        Kind::Refusals => refusals(driver),
        Kind::Finishes => finishes(driver).await,
        Kind::Publish => publishing(driver).await,
        _ => single(driver, kind).await,
    }
}

/// An event with an outbox row of its own. Other connections write at the same time, and a row of several events is deleted only when
/// all of them are confirmed.
async fn publishing(driver: &LedgerDriver) -> Calls {
    loop {
        let (job, seen) = begun(driver, &[SMS, VOICE]).await;
        driver.finish(&seen, accepted("SM1")).await;
        let mut rows = driver.world.ledger.undelivered(&Receiver::Broker, job.order.uid).await.unwrap();
        if let Some(row) = rows.pop().filter(|row| row.events.len() == 1) {
            return Calls::one(job, Act::Publish(row));
        }
    }
}

async fn single(driver: &LedgerDriver, kind: Kind) -> Calls {
    let mut job = fresh(driver, &[SMS, VOICE]);
    let uid = job.order.uid;
    let (tenant, id) = (job.order.tenant.clone(), job.order.id);
    if !matches!(kind, Kind::Begin | Kind::Take) {
        job = with_begin(job);
    }
    driver.admit(&job).await;
    let seen = driver.read(uid).await;
    let act = match kind {
        Kind::Begin => {
            let attempt = NewAttempt::new(SMS, "c1", Duration::from_secs(10), None);
            Act::Begin(BeginRequest {
                uid,
                expected_version: seen.version,
                step: 1,
                attempt,
                channel_limit: None,
            })
        }
        Kind::Take => Act::Take(uid),
        Kind::Finish => Act::Conclude(Box::new(driver.finishing(&seen, accepted("SM1")).await.0)),
        Kind::Decide => {
            driver.finish(&seen, accepted("SM1")).await;
            driver.delivered(uid, 1).await;
            let seen = driver.read(uid).await;
            let decision = decide(&seen, driver.t(0), &driver.policy);
            Act::Conclude(Box::new(DecisionWrite::transition_only(seen.d, decision.transition, DESTINATIONS)))
        }
        Kind::Record => {
            let reference = Some("R1".to_owned());
            let receipt = Receipt {
                status: ReceiptStatus::Delivered,
                reason: None,
                carrier_code: None,
                message_id: reference,
            };
            Act::Record(AttemptReceipt { uid, n: 1, carrier: "c1".to_owned(), receipt })
        }
        Kind::Stop => Act::Stop(StopRequest { tenant, id, stop: Stop::Cancel }),
        Kind::Advance => {
            driver.finish(&seen, accepted("SM1")).await;
            Act::Advance(AdvanceRequest { tenant, id, step: None })
        }
        _ => unreachable!("it is a group"),
    };
    Calls::one(job, act)
}

async fn admissions(driver: &LedgerDriver) -> Calls {
    let new = with_begin(fresh(driver, &[SMS]));
    // The quota of its number is used up.
    let mut first = fresh(driver, &[SMS]);
    first.limits = vec![limit(&first.limits[0].key, &["1/10m"])];
    driver.admit(&first).await;
    let mut full = with_begin(fresh(driver, &[SMS]));
    full.limits.clone_from(&first.limits);
    let (known, _) = begun(driver, &[SMS]).await;
    let mut again = known.clone();
    Arc::make_mut(&mut again.order).uid = Uuid::now_v7();
    let mut calls = Calls::admissions(vec![new, full], vec![with_begin(again)]);
    // The stored row has the first id.
    calls.others = vec![first, known];
    calls
}

async fn superseding(driver: &LedgerDriver) -> Calls {
    let sign_in = format!("k{}", Uuid::new_v4().simple());
    let mut older = with_begin(fresh(driver, &[SMS, VOICE]));
    older.supersedes = Some((sign_in.clone(), driver.t(1)));
    driver.admit(&older).await;
    driver.finish(&driver.read(older.order.uid).await.d, accepted("SM1")).await;
    let mut newer = with_begin(fresh(driver, &[SMS, VOICE]));
    newer.supersedes = Some((sign_in, driver.t(2)));
    let mut calls = Calls::admissions(vec![newer], vec![]);
    calls.written.push(older);
    calls
}

fn refusals(driver: &LedgerDriver) -> Calls {
    let mut kept = fresh(driver, &[SMS]);
    kept.refusal = Some(Refusal { state: State::Refused, reason: Reason::NumberNotPossible });
    let mut answered = fresh(driver, &[SMS]);
    (answered.refusal, answered.on_refusal) = (kept.refusal, OnRefusal::AnswerOnly);
    Calls::admissions(vec![kept, answered], vec![])
}

async fn finishes(driver: &LedgerDriver) -> Calls {
    let (mut acts, mut written) = (vec![], vec![]);
    for judgement in
        [accepted("SM1"), Outcome::Unavailable.into(), Outcome::Rejected(Reason::Landline).into()]
    {
        let (job, seen) = begun(driver, &[SMS]).await;
        acts.push(Act::Conclude(Box::new(driver.finishing(&seen, judgement).await.0)));
        written.push(job);
    }
    let (job, seen) = begun(driver, &[SMS]).await;
    acts.push(Act::Conclude(Box::new(driver.finishing(&seen, accepted("SM4")).await.0)));
    // Another worker closed and repeats it.
    driver.finish(&seen, Outcome::Unknown.into()).await;
    let again = Begin {
        step: 1,
        channel: SMS,
        carriers: vec!["c1".to_owned()],
        repeats: Some(1),
        query_status_of: None,
    };
    driver.begin(job.order.uid, Some(again)).await;
    written.push(job);
    Calls { acts, written, others: vec![] }
}
