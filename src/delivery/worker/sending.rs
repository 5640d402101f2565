//! Sends an attempt, interprets the answer, and writes the outcome together with the decision from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Action, Snapshot, Worker};
use crate::carriers::{Callbacks, OutboundMessage};
use crate::delivery::routing::{Account, Ready};
use crate::domain::attempt::{
    Attempt, AttemptId, BEGIN_TO_SEND, Details, Judgement, NotSentCause, Outcome, RefusalScope,
};
use crate::domain::clock::between;
use crate::domain::decide::decide;
use crate::domain::dispatch::PhoneNumber;
use crate::domain::dispatch::RenderedMessage;
use crate::ledger::health::RETRY_INTERVAL;
use crate::ledger::{AttemptOutcome, DecisionWrite, LedgerError, WriteResult};
use crate::ops::crash::{self, Point};

/// A message and the account that sends it.
pub(super) struct Sending {
    pub(super) to: PhoneNumber,
    pub(super) rendered: RenderedMessage,
    pub(super) ready: Ready,
    /// The claim of the attempt.
    pub(super) claim: Uuid,
    /// Boot time at which the begin was handed to the ledger.
    pub(super) handed_at: Duration,
}

impl Worker {
    /// Sends the open attempt and writes its outcome.
    pub(super) async fn send_attempt(&self, snapshot: Snapshot, sending: Sending) -> Action {
        let open = snapshot.d.open_attempt().filter(|open| open.claim == sending.claim).cloned();
        let Some(open) = open else { return Action::Nothing };
        let order = &snapshot.d.order;
        let country = order.country.as_deref();
        let metrics = &self.deps.metrics.delivery;
        metrics.count_begin(&open);
        let judgement = self.send(&snapshot, &sending).await;
        let since_begin = crate::domain::clock::boot().saturating_sub(sending.handed_at);
        metrics.count_outcome(&open, country, judgement.outcome, &judgement.details, since_begin);
        let account = &sending.ready.account;
        let changes = account.record_outcome(open.channel, country, judgement.outcome);
        self.report_breakers(&account.name, &changes);
        let is_refused = matches!(judgement.outcome, Outcome::Misconfigured(_)) && changes.has_opened();
        if judgement.outcome == Outcome::NotSent(NotSentCause::TooLate) {
            tracing::warn!(
                dispatch.uid = %order.uid, dispatch.id = %order.id, trace_id = order.trace_id(), attempt = open.n,
                "attempt too late after its commit: nothing sent"
            );
        } else if judgement.outcome == Outcome::NotSent(NotSentCause::Paused) {
            tracing::info!(
                dispatch.uid = %order.uid, dispatch.id = %order.id, trace_id = order.trace_id(), attempt = open.n,
                carrier = open.carrier,
                "an operator has paused the carrier: nothing sent"
            );
        } else if is_refused {
            tracing::error!(
                dispatch.uid = %order.uid, dispatch.id = %order.id, trace_id = order.trace_id(), attempt = open.n,
                carrier = open.carrier, channel = open.channel.as_str(), country, detail = judgement.outcome.detail(),
                carrier_code = judgement.details.carrier_code, advice = account.carrier.advice(&judgement),
                "carrier refuses the configured account or sender: it gets single requests until it accepts one"
            );
        } else if account.is_new_code(&judgement) {
            tracing::error!(
                dispatch.uid = %order.uid, dispatch.id = %order.id, trace_id = order.trace_id(), attempt = open.n,
                carrier = open.carrier, channel = open.channel.as_str(), country, outcome = judgement.outcome.word(),
                carrier_code = judgement.details.carrier_code,
                "carrier refused a message with a code that otpost does not know"
            );
        } else if judgement.outcome != Outcome::Accepted {
            tracing::warn!(
                dispatch.uid = %order.uid, dispatch.id = %order.id, trace_id = order.trace_id(), attempt = open.n,
                carrier = open.carrier, channel = open.channel.as_str(), country, outcome = judgement.outcome.word(),
                detail = judgement.outcome.detail(), carrier_code = judgement.details.carrier_code,
                "carrier did not accept a message"
            );
        }
        let account = Arc::clone(account);
        drop(sending);
        crash::at(Point::AttemptAnswered);
        self.store_message_id(&account, &open, order.uid, &judgement).await;
        // Boxed, so that the future is small while the request is under way.
        Box::pin(self.finish(snapshot, &open, judgement)).await
    }

    async fn send(&self, snapshot: &Snapshot, sending: &Sending) -> Judgement {
        let Some(open) = snapshot.d.open_attempt() else {
            return Outcome::Unknown.into();
        };
        crash::at(Point::AttemptBegun);
        let account = &sending.ready.account;
        let attempt = AttemptId { uid: snapshot.d.order.uid, n: open.n };
        let url = self.callback_url(&snapshot.rules, account, attempt);
        let asks_for_key = account.carrier.asks_for_key()
            && matches!(&sending.rendered, RenderedMessage::Speech(spoken) if spoken.key_prompt.is_some());
        let speech_url = asks_for_key.then(|| format!("{url}?{}", crate::carriers::SPEECH_QUERY));
        // The URL of the account cannot say that a call asks for a key.
        let callback = (account.callbacks == Callbacks::Message || asks_for_key).then_some(url);
        let life = between(snapshot.now(), snapshot.d.order.expires_at);
        let admitter = &snapshot.rules.admitter;
        let sender = admitter.sender(&snapshot.d.order.tenant, &account.name, open.channel);
        let reference = snapshot.d.reference_of(open);
        let message = OutboundMessage {
            channel: open.channel,
            to: &sending.to,
            content: &sending.rendered,
            sender,
            life,
            reference: &reference,
            callback: callback.as_deref(),
            speech_url: speech_url.as_deref(),
        };
        // The routes contain only channels that the account carries.
        let Some(request) = account.carrier.build(&message) else {
            return Outcome::Misconfigured(RefusalScope::Narrow).into();
        };
        let late = crate::domain::clock::boot().saturating_sub(sending.handed_at) > BEGIN_TO_SEND;
        if late || life < sending.ready.min_life {
            return Outcome::NotSent(NotSentCause::TooLate).into();
        }
        // The commit may have taken seconds, and an operator may have paused the carrier meanwhile.
        let country = snapshot.d.order.country.as_deref();
        if snapshot.rules.restrictions.current().is_paused(&account.name, country) {
            return Outcome::NotSent(NotSentCause::Paused).into();
        }
        crash::at(Point::AttemptToBeSent);
        let metrics = &self.deps.metrics.delivery;
        if open.n == 1 {
            metrics.observe_first_request(open, between(snapshot.d.admitted_at, snapshot.now()));
        }
        let sent_at = Instant::now();
        let answered = account.client.send(&request, account.client.time_out).await;
        metrics.observe_answer(open, sent_at.elapsed());
        match answered {
            Ok(answer) => account.carrier.judge(open.channel, &answer),
            Err(outcome) => outcome.into(),
        }
    }

    /// Stores the carrier's message id if the account's callbacks contain nothing else. This happens before the outcome is written,
    /// so that a receipt finds the attempt even if this process ends between the two.
    async fn store_message_id(&self, account: &Account, open: &Attempt, uid: Uuid, judgement: &Judgement) {
        let Some(reference) = &judgement.details.message_id else { return };
        if account.callbacks == Callbacks::Message || account.carrier.keeps_references(open.channel) {
            return;
        }
        let attempt = AttemptId { uid, n: open.n };
        while let Err(e) = self.deps.ledger.store_message_id(&account.name, reference, attempt).await {
            self.ledger_health.report_failure(&e);
            if !e.is_temporary() {
                return;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Writes an outcome together with the decision from it.
    pub(super) async fn finish(&self, snapshot: Snapshot, open: &Attempt, judgement: Judgement) -> Action {
        let now = snapshot.now();
        let mut closed =
            Snapshot { d: snapshot.d.clone(), read_at: snapshot.read_at, rules: Arc::clone(&snapshot.rules) };
        if let Some(a) = closed.d.attempts.last_mut() {
            a.outcome = Some(judgement.outcome);
            a.closed_at = Some(now);
            a.details.clone_from(&judgement.details);
        }
        let is_unknown = judgement.outcome == Outcome::Unknown;
        let decision = decide(&closed.d, now, &closed.policy());
        let closing = AttemptOutcome { n: open.n, claim: open.claim, judgement, at: now };
        let destinations = snapshot.rules.admitter.destinations(&snapshot.d.order.tenant);
        let (uid, rules) = (snapshot.d.order.uid, snapshot.rules);
        let write =
            DecisionWrite::with_outcome(snapshot.d, closing, Some(decision.transition.clone()), destinations);
        let written = self.write_outcome(write).await;
        // If the deadline has closed the attempt, it was counted there.
        if is_unknown && matches!(written, Some(WriteResult::Written | WriteResult::OutcomeOnly(_))) {
            self.deps.metrics.delivery.count_unknown(open, "answer");
        }
        match written {
            Some(WriteResult::Written) => {
                crash::at(Point::AttemptFinished);
                self.schedule_wake(&closed, &decision);
                let snapshot = self.apply_written(closed, &decision);
                decision.begin.map_or(Action::Nothing, |begin| Action::Begin(snapshot, begin))
            }
            // The row changed meanwhile, so the decision is made again on the current row.
            Some(WriteResult::OutcomeOnly(row)) => Action::Decide(Snapshot::new(*row, &rules)),
            Some(WriteResult::CommitLost(lost)) => {
                self.report_lost_commit(&closed.d, lost);
                Action::Nothing
            }
            Some(WriteResult::AlreadyClosed { proved_acceptance }) => {
                if proved_acceptance {
                    self.deps.waker.wake(uid);
                }
                Action::Nothing
            }
            Some(WriteResult::VersionConflict(_)) | None => Action::Nothing,
        }
    }

    /// Writes an outcome. During a ledger outage the write is repeated every second. Returns `None` if the ledger refuses the
    /// outcome; the deadline then closes the attempt.
    pub(super) async fn write_outcome(&self, write: DecisionWrite) -> Option<WriteResult> {
        let mut write = Arc::new(write);
        loop {
            match self.deps.ledger.write_decision(Arc::clone(&write)).await {
                Ok(result) => return Some(result),
                // The ledger refuses the details of the answer. Only the outcome can be written.
                Err(LedgerError::Data { .. }) if has_details(&write) => {
                    drop_details(Arc::make_mut(&mut write));
                }
                Err(e @ LedgerError::Data { .. }) => {
                    self.ledger_health.report_failure(&e);
                    return None;
                }
                // Another version has changed the row. After the deadline it has closed the attempt too.
                Err(e @ LedgerError::UnknownForm) if write.is_late(self.deps.ledger.now()) => {
                    self.ledger_health.report_failure(&e);
                    return None;
                }
                Err(e) => {
                    self.ledger_health.report_failure(&e);
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }
}

fn has_details(write: &DecisionWrite) -> bool {
    write.outcome.as_ref().is_some_and(|c| c.judgement.details != Details::default())
}

fn drop_details(write: &mut DecisionWrite) {
    if let Some(closing) = &mut write.outcome {
        closing.judgement.details = Details::default();
    }
}
