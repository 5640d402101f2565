//! Begins a request that is due: chooses an account, renders the message and commits the attempt.

use std::time::Duration;

use uuid::Uuid;

use super::sending::Sending;
use super::{Action, Snapshot, Worker, set_to_now};
use crate::domain::attempt::{BEGIN_TO_SEND, NotSentCause, Outcome, Reason};
use crate::domain::clock::between;
use crate::domain::decide::{Begin, NoRoom, decide_without_room, give_up, skip_step};
use crate::intake::admission::Contents;
use crate::ledger::{
    AttemptOutcome, BeginRequest, BeginResult, DecisionWrite, LedgerError, Limit, NewAttempt, WriteResult,
};
use crate::ops::crash::{self, Point};
use crate::seal::{self, SealError};

/// A dispatch whose key is missing is left to other processes until its remaining life is this short: two leases, and the least life.
const LAST_CHANCE: Duration = Duration::from_secs(20);
/// Delay before a begin with unknown result is tried again. The request must be sent within 3 s.
const RETRY_BEGIN_AFTER: Duration = Duration::from_millis(200);

impl Worker {
    /// Chooses an account, commits the attempt and sends it.
    pub(super) async fn begin(&self, snapshot: Snapshot, begin: Begin) -> Action {
        let (d, now, policy) = (&snapshot.d, snapshot.now(), snapshot.policy());
        let life = between(now, d.order.expires_at);
        let contents = match snapshot.rules.admitter.open(d) {
            Ok(contents) => contents,
            // Another process may have the key, such as one whose configuration was changed first. It takes the dispatch when the lease
            // has ended.
            Err(SealError::UnknownKey) if life > LAST_CHANCE => {
                tracing::error!(
                    dispatch.uid = %d.order.uid, dispatch.id = %d.order.id, trace_id = d.order.trace_id(),
                    key = seal::key_id(&d.order.number),
                    "the values of a dispatch are sealed with a key that this process lacks: add it to keys.previous"
                );
                return Action::Nothing;
            }
            Err(e) => {
                tracing::error!(
                    dispatch.uid = %d.order.uid, dispatch.id = %d.order.id, trace_id = d.order.trace_id(),
                    key = seal::key_id(&d.order.number), reason = %e,
                    "the sealed values of a dispatch cannot be opened: the dispatch fails"
                );
                let decision = give_up(d, Reason::Template, now, &policy);
                return self.write(snapshot, decision, true).await;
            }
        };
        let (code, params) = (contents.code.as_ref(), &contents.params);
        let Ok(rendered) = snapshot.rules.admitter.render(&d.order, begin.channel, code, params, life) else {
            tracing::error!(
                dispatch.uid = %d.order.uid, dispatch.id = %d.order.id, trace_id = d.order.trace_id(),
                template = d.order.template, channel = begin.channel.as_str(),
                "a template cannot be rendered: the dispatch fails"
            );
            let decision = give_up(d, Reason::Template, now, &policy);
            return self.write(snapshot, decision, true).await;
        };
        let country = d.order.country.as_deref();
        let has_waited = d.snoozes > 0 && begin.step == d.step;
        let ready = match snapshot.rules.routes.choose(begin.channel, country, &begin.carriers, has_waited) {
            Ok(ready) => ready,
            Err(no_room) => {
                let no_room = match no_room {
                    NoRoom::Closed if !has_open_step_after(&snapshot, begin.step) => NoRoom::Busy,
                    no_room => no_room,
                };
                let decision = decide_without_room(d, &begin, no_room, now, &policy);
                if no_room == NoRoom::Busy {
                    set_to_now(&self.no_carrier_at);
                }
                // Without a turn, the due scan takes the dispatch, because there may be very many.
                return self.write(snapshot, decision, no_room != NoRoom::Busy).await;
            }
        };
        let account = &ready.account;
        let request = BeginRequest {
            uid: d.order.uid,
            expected_version: d.version,
            step: begin.step,
            channel_limit: channel_limit(&snapshot, &begin, &contents),
            attempt: NewAttempt::new(begin.channel, &account.name, account.client.time_out, begin.repeats),
        };
        crash::at(Point::DueToBegin);
        let sending = Sending {
            to: contents.to,
            rendered,
            claim: request.attempt.claim,
            ready,
            handed_at: crate::domain::clock::boot(),
        };
        match self.commit(request, sending.handed_at).await {
            Some(Ok(BeginResult::Begun(row))) => {
                self.send_attempt(Snapshot::new(*row, &snapshot.rules), sending).await
            }
            Some(Ok(BeginResult::VersionConflict(row))) => Self::if_due(*row, &snapshot.rules),
            Some(Ok(BeginResult::CommitLost(lost))) => {
                self.report_lost_commit(d, lost);
                Action::Nothing
            }
            Some(Ok(BeginResult::ChannelRefused { retry_after_s, full, .. })) => {
                if let Some(full) = full {
                    let rule = full.rule.to_string();
                    self.deps.metrics.intake.count_quota_refusal(full.owner.as_str(), &rule);
                }
                let decision = skip_step(&snapshot.d, &begin, retry_after_s, snapshot.now(), &policy);
                self.write(snapshot, decision, true).await
            }
            Some(Err(e)) => {
                self.ledger_health.report_failure(&e);
                Action::Nothing
            }
            None => {
                let claim = sending.claim;
                drop(sending);
                self.close_unsent(&snapshot, claim).await
            }
        }
    }

    /// Commits an attempt. After a ledger outage the commit is repeated with the same claim, which shows whether the first one
    /// succeeded. Returns `None` when the request could no longer be sent in time.
    async fn commit(
        &self, request: BeginRequest, handed_at: Duration,
    ) -> Option<Result<BeginResult, LedgerError>> {
        loop {
            match self.deps.ledger.begin(request.clone()).await {
                Err(e) if e.is_temporary() => self.ledger_health.report_failure(&e),
                answered => return Some(answered),
            }
            if crate::domain::clock::boot().saturating_sub(handed_at) > BEGIN_TO_SEND {
                return None;
            }
            tokio::time::sleep(RETRY_BEGIN_AFTER).await;
        }
    }

    /// Closes an attempt as not sent, if it was committed. Like every outcome, the write is repeated until the ledger answers,
    /// because the attempt would become unknown otherwise.
    async fn close_unsent(&self, snapshot: &Snapshot, claim: Uuid) -> Action {
        let n = snapshot.d.attempts.last().map_or(1, |a| a.n + 1);
        let order = &snapshot.d.order;
        tracing::warn!(
            dispatch.uid = %order.uid, dispatch.id = %order.id, trace_id = order.trace_id(), attempt = n,
            "attempt commit not confirmed in time: nothing sent"
        );
        let judgement = Outcome::NotSent(NotSentCause::TooLate).into();
        let closing = AttemptOutcome { n, claim, judgement, at: snapshot.now() };
        let destinations = snapshot.rules.admitter.destinations(&snapshot.d.order.tenant);
        match self
            .write_outcome(DecisionWrite::with_outcome(snapshot.d.clone(), closing, None, destinations))
            .await
        {
            Some(WriteResult::OutcomeOnly(row)) => Action::Decide(Snapshot::new(*row, &snapshot.rules)),
            Some(WriteResult::CommitLost(lost)) => {
                self.report_lost_commit(&snapshot.d, lost);
                Action::Nothing
            }
            // The attempt was not committed. The row is due again when its lease ends.
            _ => Action::Nothing,
        }
    }
}

/// Returns whether a step after this one has a carrier that is not paused, and that does not refuse the account or the sender.
fn has_open_step_after(snapshot: &Snapshot, step: u8) -> bool {
    let (d, routes) = (&snapshot.d, &snapshot.rules.routes);
    (step + 1..d.order.plan.end_step())
        .filter_map(|step| d.channel(step))
        .any(|channel| !routes.is_closed(channel, d.order.country.as_deref()))
}

/// Returns the channel's quota, which is checked at the first begin of a step.
fn channel_limit(snapshot: &Snapshot, begin: &Begin, contents: &Contents) -> Option<Limit> {
    let d = &snapshot.d;
    if d.attempts_of(begin.step).next().is_some() {
        return None;
    }
    snapshot.rules.admitter.channel_limit(&d.order.tenant, begin.channel, contents.kind(), &contents.to)
}
