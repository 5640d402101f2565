//! Jobs from the broker: parsed, and admitted together with their first begin.

use std::sync::Arc;
use std::time::Duration;

use super::consume::{Claimed, FollowUp};
use super::disposition::Disposition;
use super::returned::EXPIRED_IN_QUEUE;
use super::sending::Sending;
use super::{Snapshot, Worker};
use crate::broker::Delivery;
use crate::delivery::rules::Rules;
use crate::domain::attempt::{Reason, State};
use crate::domain::backoff;
use crate::domain::clock::between;
use crate::domain::decide::{MIN_LIFE, NoRoom};
use crate::intake::admission::Ingress;
use crate::intake::{BadMessage, Job};
use crate::ledger::{Admission, AdmissionResult, NewAttempt};
use crate::ops::crash::{self, Point};

/// A job is admitted without a first attempt.
struct NoFirstAttempt {
    /// Time until the dispatch's turn in an account's rate limit, if it has one.
    turn: Option<Duration>,
}

/// No first attempt, and no turn: the worker that takes the dispatch decides.
const LATER: NoFirstAttempt = NoFirstAttempt { turn: None };

impl From<NoRoom> for NoFirstAttempt {
    fn from(no_room: NoRoom) -> Self {
        Self { turn: if let NoRoom::Turn(wait) = no_room { Some(wait) } else { None } }
    }
}

impl Worker {
    /// Parses a job and admits it. The first begin is part of the admission if a carrier has room.
    pub(super) async fn job(&self, delivery: &Delivery) -> Result<FollowUp, Disposition> {
        let now = self.deps.ledger.now();
        // The later of the two clocks limits the expiry, because one of them may be slow.
        let latest = now.max(crate::domain::clock::now());
        crash::on(&delivery.body);
        let rules = self.deps.rules.current();
        let job = rules.admitter.decode(&delivery.body, None, latest)?;
        rules.admitter.trusts(delivery.user_id.as_deref(), &job.tenant)?;
        crash::at(Point::JobRead);
        let mut admission =
            rules.admitter.admission(&job, Ingress::Amqp, delivery.traceparent.as_deref(), now);
        if delivery.expirations > 0 && admission.refusal.is_none() {
            rules.admitter.refuse_expired_message(&mut admission);
        }
        let sending = if admission.refusal.is_none() {
            self.first_sending(&rules, &job, &mut admission)
        } else {
            Err(LATER)
        };
        self.admit(&rules, admission, sending).await
    }

    /// Chooses an account, renders the message, and adds the attempt to the admission. If no account has room, the dispatch is
    /// admitted with a snooze.
    fn first_sending(
        &self, rules: &Rules, job: &Job, admission: &mut Admission,
    ) -> Result<Sending, NoFirstAttempt> {
        let order = &admission.order;
        let channel = order.plan.step(1).ok_or(LATER)?;
        let country = order.country.as_deref();
        let life = between(self.deps.ledger.now(), order.expires_at);
        let policy = rules.routes.policy(country);
        let carriers: Vec<String> = policy
            .candidates(channel)
            .iter()
            .filter(|c| life >= c.min_life)
            .map(|c| c.carrier.clone())
            .collect();
        if carriers.is_empty() {
            // No route, or none for this remaining life: the worker that takes the dispatch decides.
            return Err(LATER);
        }
        let ready = match rules.routes.choose(channel, country, &carriers, false) {
            Ok(ready) => ready,
            // A later step may have a usable carrier. The worker that takes the dispatch decides this.
            Err(NoRoom::Closed) if order.plan.len() > 1 => return Err(LATER),
            Err(no_room) => {
                admission.snooze = Some(match no_room {
                    NoRoom::Turn(wait) => wait,
                    NoRoom::Busy | NoRoom::Closed => backoff::snooze_length(1),
                });
                return Err(no_room.into());
            }
        };
        let rendered =
            rules.admitter.render(order, channel, job.code.as_ref(), &job.params, life).map_err(|_| LATER)?;
        let account = &ready.account;
        let attempt = NewAttempt::new(channel, &account.name, account.client.time_out, None);
        admission.channel_limit = rules.admitter.channel_limit(&job.tenant, channel, job.kind(), &job.to);
        let claim = attempt.claim;
        admission.attempt = Some(attempt);
        Ok(Sending { to: job.to.clone(), rendered, ready, claim, handed_at: Duration::ZERO })
    }

    /// Repeats the admission until the ledger answers, with the same uid and the same claim. The delivery is held meanwhile.
    async fn admit(
        &self, rules: &Arc<Rules>, admission: Admission, sending: Result<Sending, NoFirstAttempt>,
    ) -> Result<FollowUp, Disposition> {
        let first_handed_at = crate::domain::clock::boot();
        let mut admission = Arc::new(admission);
        let mut turn = sending.as_ref().err().and_then(|later| later.turn);
        let mut sending = sending.ok();
        let claim = sending.as_ref().map(|sending| sending.claim);
        let admitted = loop {
            if let Some(sending) = &mut sending {
                sending.handed_at = crate::domain::clock::boot();
            }
            match self.deps.ledger.admit(Arc::clone(&admission)).await {
                Ok(admitted) => break admitted,
                Err(e) if e.dead_letter_reason().is_some() => {
                    return Err(BadMessage::new("body", e.dead_letter_reason().unwrap_or_default()).into());
                }
                Err(e) => {
                    self.ledger_health.report_failure(&e);
                    self.wait_for_ledger().await?;
                    if let Some(sending) = &sending {
                        sending.ready.wait_for_rate_limit().await;
                    }
                    let life = between(self.deps.ledger.now(), admission.order.expires_at);
                    if sending.take_if(|sending| life < sending.ready.min_life).is_some() {
                        // Another carrier may accept a shorter life.
                        Arc::make_mut(&mut admission).remove_attempt();
                        turn = Some(Duration::ZERO);
                    }
                    if life < MIN_LIFE {
                        Arc::make_mut(&mut admission).expire();
                    }
                }
            }
        };
        let metrics = &self.deps.metrics;
        match admitted {
            AdmissionResult::Inserted { state, reason, quota_uses, now, full, superseded, .. } => {
                metrics.intake.count_admission("amqp", state.as_str());
                crash::at(Point::JobAdmitted);
                for uid in superseded {
                    self.deps.waker.wake(uid);
                }
                match state {
                    State::Sending => {
                        if let (Some(d), Some(sending)) = (admission.inserted(now, quota_uses), sending) {
                            return Ok(FollowUp::Send(Box::new((Snapshot::new(d, rules), sending))));
                        }
                    }
                    State::Queued => {
                        if let Some(turn) = turn {
                            self.deps.waker.wake_after(admission.order.uid, turn);
                        }
                    }
                    refused => {
                        let reason = reason.map_or(refused.as_str(), Reason::as_str);
                        metrics.intake.count_refusal("amqp", reason);
                        if let Some(full) = full {
                            metrics.intake.count_quota_refusal(full.owner.as_str(), &full.rule.to_string());
                        }
                        self.count_refused(&admission.order, refused);
                    }
                }
                Ok(FollowUp::Nothing)
            }
            AdmissionResult::Known { uid, has_our_claim, .. } => {
                metrics.intake.count_admission("amqp", "known");
                // An earlier try committed this admission, so the open attempt has our claim. The send deadline counts from the
                // first try, which may be the one that was committed. If the attempt waited for too long, the row shows whether it
                // was committed.
                let too_long = claim.is_some() && sending.is_none();
                let claim = claim.filter(|_| has_our_claim || too_long);
                let sending = sending.map(|sending| Sending { handed_at: first_handed_at, ..sending });
                Ok(claim.map_or(FollowUp::Nothing, |claim| {
                    FollowUp::SendIfCommitted(Box::new(Claimed {
                        uid,
                        claim,
                        sending,
                        rules: Arc::clone(rules),
                    }))
                }))
            }
            AdmissionResult::Conflict => {
                Err(BadMessage::new("id", "was used before with other content (conflict)").into())
            }
            // Only a job whose message expired in a queue is refused without a row.
            AdmissionResult::Refused { state, reason, .. } => {
                metrics.intake.count_refusal("amqp", reason.as_str());
                self.count_refused(&admission.order, state);
                Err(BadMessage::new("message", EXPIRED_IN_QUEUE).into())
            }
        }
    }
}
