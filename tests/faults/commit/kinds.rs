//! What is committed: each kind of statement alone, and groups whose items go different ways.

use std::time::Duration;

use otpost::domain::attempt::{Outcome, Reason, Receipt, ReceiptStatus, State};
use otpost::domain::channel::Channel;
use otpost::domain::decide::{Begin, decide};
use otpost::domain::dispatch::{Dispatch, Stop};
use otpost::ledger::{
    Admission, AdvanceRequest, AttemptReceipt, BeginRequest, DecisionWrite, Ledger, LedgerError, NewAttempt,
    PublishedEvents, Refusal, StopRequest,
};
use uuid::Uuid;

use crate::support::play::{DESTINATIONS, Play, SMS, VOICE, accepted, job, limit, with_begin};

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
    /// Trace 18 a: a new one, one that its quota refuses, and one that is known.
    Admissions,
    /// A newer code of a sign-in, which stops the older one.
    Superseding,
    /// Refused before the ledger is asked: over AMQP with a row, over HTTP without.
    Refusals,
    /// Trace 18 b: accepted; one that the next carrier gets; one that ends and gives its slot back; and an answer so late that
    /// another attempt is under way.
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
    /// What the first act must be answered, where somebody goes on with it: its claim is known again.
    pub(super) fn goes_on(self, said: &str) -> bool {
        match self {
            Self::Admit | Self::Admissions | Self::Superseding => {
                said.starts_with("Inserted") || said.contains("has_our_claim: true")
            }
            Self::Begin => said.starts_with("Begun"),
            // What decision is told from the row.
            _ => true,
        }
    }
}

/// What is asked of the ledger.
pub(super) enum Act {
    Admit(Box<Admission>),
    Begin(BeginRequest),
    Conclude(Box<DecisionWrite>),
    Record(AttemptReceipt),
    Stop(StopRequest),
    Advance(AdvanceRequest),
    Take(Uuid),
    Publish(PublishedEvents),
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
            Self::Publish(published) => format!("{:?}", ledger.mark_published(published.clone()).await?),
        })
    }
}

/// What is asked at once, and so in one group.
pub(super) struct Asked {
    pub(super) acts: Vec<Act>,
    /// The jobs whose rows it writes,
    pub(super) written: Vec<Admission>,
    /// and those that it must leave alone.
    pub(super) others: Vec<Admission>,
}

impl Asked {
    fn one(job: Admission, act: Act) -> Self {
        Self { acts: vec![act], written: vec![job], others: vec![] }
    }

    fn admissions(written: Vec<Admission>, others: Vec<Admission>) -> Self {
        let acts = written.iter().chain(&others).map(|job| Act::Admit(Box::new(job.clone()))).collect();
        Self { acts, written, others }
    }
}

fn fresh(play: &Play, channels: &[Channel]) -> Admission {
    job(channels, &format!("n{}", Uuid::new_v4().simple()), play.t(300))
}

async fn begun(play: &Play, channels: &[Channel]) -> (Admission, Dispatch) {
    let job = with_begin(fresh(play, channels));
    play.admit(&job).await;
    let seen = play.read(job.order.uid).await;
    (job, seen)
}

/// Dispatches brought to where this is next.
pub(super) async fn prepare(play: &Play, kind: Kind) -> Asked {
    match kind {
        Kind::Admit => Asked::admissions(vec![with_begin(fresh(play, &[SMS, VOICE]))], vec![]),
        Kind::Admissions => admissions(play).await,
        Kind::Superseding => superseding(play).await,
        Kind::Refusals => refusals(play),
        Kind::Finishes => finishes(play).await,
        _ => single(play, kind).await,
    }
}

async fn single(play: &Play, kind: Kind) -> Asked {
    let mut job = fresh(play, &[SMS, VOICE]);
    let uid = job.order.uid;
    let (tenant, id) = (job.order.tenant.clone(), job.order.id);
    if !matches!(kind, Kind::Begin | Kind::Take) {
        job = with_begin(job);
    }
    play.admit(&job).await;
    let seen = play.read(uid).await;
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
        Kind::Finish => Act::Conclude(Box::new(play.finishing(&seen, accepted("SM1")).await.0)),
        Kind::Decide => {
            play.finish(&seen, accepted("SM1")).await;
            play.delivered(uid, 1).await;
            let seen = play.read(uid).await;
            let decision = decide(&seen, play.t(0), &play.policy);
            Act::Conclude(Box::new(DecisionWrite::transition_only(&seen, decision.transition, DESTINATIONS)))
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
            play.finish(&seen, accepted("SM1")).await;
            Act::Advance(AdvanceRequest { tenant, id, step: None })
        }
        Kind::Publish => {
            play.finish(&seen, accepted("SM1")).await;
            let versions = play.read(uid).await.pending_events.iter().map(|event| event.version).collect();
            Act::Publish(PublishedEvents { uid, versions })
        }
        _ => unreachable!("it is a group"),
    };
    Asked::one(job, act)
}

async fn admissions(play: &Play) -> Asked {
    let new = with_begin(fresh(play, &[SMS]));
    // Its number has no room for another.
    let mut first = fresh(play, &[SMS]);
    first.limits = vec![limit(&first.limits[0].key, &["1/10m"])];
    play.admit(&first).await;
    let mut full = with_begin(fresh(play, &[SMS]));
    full.limits.clone_from(&first.limits);
    let (known, _) = begun(play, &[SMS]).await;
    let mut again = known.clone();
    again.order.uid = Uuid::now_v7();
    let mut asked = Asked::admissions(vec![new, full], vec![with_begin(again)]);
    // What is in the ledger has the first one's name.
    asked.others = vec![first, known];
    asked
}

async fn superseding(play: &Play) -> Asked {
    let sign_in = format!("k{}", Uuid::new_v4().simple());
    let mut older = with_begin(fresh(play, &[SMS, VOICE]));
    older.supersedes = Some((sign_in.clone(), play.t(1)));
    play.admit(&older).await;
    play.finish(&play.read(older.order.uid).await, accepted("SM1")).await;
    let mut newer = with_begin(fresh(play, &[SMS, VOICE]));
    newer.supersedes = Some((sign_in, play.t(2)));
    let mut asked = Asked::admissions(vec![newer], vec![]);
    asked.written.push(older);
    asked
}

fn refusals(play: &Play) -> Asked {
    let mut kept = fresh(play, &[SMS]);
    kept.refusal = Some(Refusal { state: State::Refused, reason: Reason::NumberNotPossible });
    let mut answered = fresh(play, &[SMS]);
    (answered.refusal, answered.keep_refusal) = (kept.refusal, false);
    Asked::admissions(vec![kept, answered], vec![])
}

async fn finishes(play: &Play) -> Asked {
    let (mut acts, mut written) = (vec![], vec![]);
    for judgement in
        [accepted("SM1"), Outcome::Unavailable.into(), Outcome::Rejected(Reason::Landline).into()]
    {
        let (job, seen) = begun(play, &[SMS]).await;
        acts.push(Act::Conclude(Box::new(play.finishing(&seen, judgement).await.0)));
        written.push(job);
    }
    let (job, seen) = begun(play, &[SMS]).await;
    acts.push(Act::Conclude(Box::new(play.finishing(&seen, accepted("SM4")).await.0)));
    // Somebody else closed it, and repeats it.
    play.finish(&seen, Outcome::Unknown.into()).await;
    let again = Begin {
        step: 1,
        channel: SMS,
        carriers: vec!["c1".to_owned()],
        repeats: Some(1),
        query_status_of: None,
    };
    play.begin(job.order.uid, Some(again)).await;
    written.push(job);
    Asked { acts, written, others: vec![] }
}
