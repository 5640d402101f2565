//! One request under way: sent, judged, and its outcome written with what follows from it.

use std::time::Duration;

use uuid::Uuid;

use super::{Seen, Todo, Worker};
use crate::carriers::Letter;
use crate::delivery::routing::Ready;
use crate::domain::attempt::{Attempt, AttemptId, BEGIN_TO_SEND, Cause, Details, Judgement, Outcome};
use crate::domain::clock::between;
use crate::domain::decide::next;
use crate::domain::dispatch::PhoneNumber;
use crate::domain::dispatch::Words;
use crate::ledger::health::AGAIN;
use crate::ledger::{Closing, Concluded, Deciding, LedgerError};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::Attempted;

/// What a carrier may take to say what became of something.
pub(super) const STATUS_TIME_OUT: Duration = Duration::from_secs(3);

/// What is sent, and by whom.
pub(super) struct Flight {
    pub(super) to: PhoneNumber,
    pub(super) words: Words,
    pub(super) ready: Ready,
    /// The claim of the attempt that it is for.
    pub(super) claim: Uuid,
    /// Boot time at which the begin was handed to the ledger.
    pub(super) handed_at: Duration,
}

impl Worker {
    /// Sends the open attempt, and writes what became of it.
    pub(super) async fn fly(&self, seen: Seen, flight: Flight) -> Todo {
        let mine = seen.d.open().filter(|open| open.claim == flight.claim).cloned();
        let Some(open) = mine else { return Todo::Nothing };
        let metrics = &self.parts.metrics;
        metrics.in_flight.inc();
        let judgement = self.send(&seen, &flight).await;
        metrics.in_flight.dec();
        metrics
            .request_seconds
            .observe(crate::domain::clock::boot().saturating_sub(flight.handed_at).as_secs_f64());
        let labels = Attempted {
            carrier: open.carrier.clone(),
            channel: open.channel.as_str(),
            outcome: judgement.outcome.word(),
        };
        metrics.attempts.get_or_create(&labels).inc();
        let account = &flight.ready.account;
        account.learn(open.channel, seen.d.order.country.as_deref(), judgement.outcome);
        if judgement.outcome == Outcome::NotSent(Cause::TooLate) {
            tracing::warn!(
                dispatch.id = %seen.d.order.id, attempt = open.n,
                "too much time went by between an attempt's commit and its request: nothing was sent"
            );
        } else if let Outcome::Misconfigured(_) = judgement.outcome {
            tracing::error!(
                dispatch.id = %seen.d.order.id, attempt = open.n, carrier = open.carrier,
                detail = judgement.outcome.detail(), carrier_code = judgement.details.carrier_code,
                "a carrier refuses what is configured for it: see its section in carriers"
            );
        } else if judgement.outcome != Outcome::Accepted {
            tracing::warn!(
                dispatch.id = %seen.d.order.id, attempt = open.n, carrier = open.carrier,
                outcome = judgement.outcome.word(), detail = judgement.outcome.detail(),
                carrier_code = judgement.details.carrier_code, "a carrier did not take a message"
            );
        }
        drop(flight);
        crash::at(Point::AttemptAnswered);
        self.finish(seen, &open, judgement).await
    }

    async fn send(&self, seen: &Seen, flight: &Flight) -> Judgement {
        let Some(open) = seen.d.open() else {
            return Outcome::Unknown.into();
        };
        crash::at(Point::AttemptBegun);
        let account = &flight.ready.account;
        let callback = self.callback(&flight.ready, AttemptId { uid: seen.d.order.uid, n: open.n });
        let life = between(seen.now(), seen.d.order.expires_at);
        let admitter = self.parts.admitter.now();
        let sender = admitter.sender(&seen.d.order.tenant, &account.name, open.channel);
        let reference = seen.d.reference_of(open);
        let letter = Letter {
            to: &flight.to,
            words: &flight.words,
            sender,
            life,
            reference: &reference,
            callback: &callback,
        };
        let request = account.carrier.build(&letter);
        let late = crate::domain::clock::boot().saturating_sub(flight.handed_at) > BEGIN_TO_SEND;
        if late || life < flight.ready.min_life {
            return Outcome::NotSent(Cause::TooLate).into();
        }
        crash::at(Point::AttemptToBeSent);
        match account.client.send(&request, account.client.time_out).await {
            Ok(answer) => account.carrier.judge(open.channel, &answer),
            Err(outcome) => outcome.into(),
        }
    }

    /// Writes an outcome with what follows.
    pub(super) async fn finish(&self, seen: Seen, open: &Attempt, judgement: Judgement) -> Todo {
        let now = seen.now();
        let mut closed = Seen { d: seen.d.clone(), read_at: seen.read_at };
        if let Some(a) = closed.d.attempts.last_mut() {
            a.outcome = Some(judgement.outcome);
            a.closed_at = Some(now);
            a.details.clone_from(&judgement.details);
        }
        let follows = next(&closed.d, now, &self.policy(&closed.d));
        let closing = Closing { n: open.n, claim: open.claim, judgement, at: now };
        let owes = self.parts.admitter.now().owes(&seen.d.order.tenant);
        let deciding = Deciding::finish(&seen.d, closing, Some(follows.conclusion.clone()), owes);
        match self.conclude(deciding).await {
            Some(Concluded::Written) => {
                crash::at(Point::AttemptFinished);
                self.call_for(&closed, &follows);
                let seen = self.stands(closed, &follows);
                follows.begin.map_or(Todo::Nothing, |begin| Todo::Begin(seen, begin))
            }
            // The row changed meanwhile: what follows is decided on it as it is now.
            Some(Concluded::OutcomeOnly(row)) => Todo::Look(Seen::new(*row)),
            Some(Concluded::Late { fact }) => {
                if fact {
                    self.parts.waker.wake(seen.d.order.uid);
                }
                Todo::Nothing
            }
            Some(Concluded::Lost(_)) | None => Todo::Nothing,
        }
    }

    /// Writes an outcome. While the ledger is away it is kept, and tried again every second. None: it cannot be kept, and
    /// the deadline closes the attempt.
    pub(super) async fn conclude(&self, mut deciding: Deciding) -> Option<Concluded> {
        loop {
            match self.parts.ledger.conclude(deciding.clone()).await {
                Ok(concluded) => return Some(concluded),
                // What a carrier said beside its outcome cannot be kept: the outcome alone can.
                Err(LedgerError::Data { .. }) if has_details(&deciding) => drop_details(&mut deciding),
                Err(e @ LedgerError::Data { .. }) => {
                    self.outage.begins(&e);
                    return None;
                }
                Err(e) => {
                    self.outage.begins(&e);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

fn has_details(deciding: &Deciding) -> bool {
    deciding.outcome.as_ref().is_some_and(|c| c.judgement.details != Details::default())
}

fn drop_details(deciding: &mut Deciding) {
    if let Some(closing) = &mut deciding.outcome {
        closing.judgement.details = Details::default();
    }
}
