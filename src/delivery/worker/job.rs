//! A job from the broker: read, and admitted with its first begin.

use std::time::Duration;

use super::aside::Aside;
use super::flight::Flight;
use super::messages::{Claimed, Then};
use super::{Seen, Worker};
use crate::broker::Delivery;
use crate::delivery::routing::NoRoom;
use crate::domain::attempt::State;
use crate::domain::backoff;
use crate::domain::channel::Channel;
use crate::domain::clock::between;
use crate::domain::decide::MIN_LIFE;
use crate::domain::dispatch::Event;
use crate::intake::admission::Door;
use crate::intake::{BadMessage, Job};
use crate::ledger::{Admission, Admitted, NewAttempt};
use crate::ops::crash::{self, Point};

impl Worker {
    /// Reads a job and admits it, with its first begin where a carrier has room.
    pub(super) async fn job(&self, delivery: &Delivery) -> Result<Then, Aside> {
        let now = self.parts.ledger.now();
        // How far ahead an expiry may lie is judged generously: one of the clocks may be wrong.
        let latest = now.max(crate::domain::clock::now());
        crash::on(&delivery.body);
        let job = self.parts.admitter.now().decode(&delivery.body, None, latest)?;
        self.parts.admitter.now().trusts(delivery.user_id.as_deref(), &job.tenant)?;
        crash::at(Point::JobRead);
        let mut admission =
            self.parts.admitter.now().admission(&job, Door::Amqp, delivery.traceparent.as_deref(), now);
        let flight = if admission.refusal.is_none() {
            self.first_flight(&job, &mut admission)
        } else {
            Err(NoRoom { wait: None })
        };
        self.admit(admission, flight).await
    }

    /// Asks for room and puts the job into words; without room the dispatch is born with a snooze.
    fn first_flight(&self, job: &Job, admission: &mut Admission) -> Result<Flight, NoRoom> {
        const NOBODY: NoRoom = NoRoom { wait: None };
        let order = &admission.order;
        let channel = order.plan.step(1).ok_or(NOBODY)?;
        let country = order.country.as_deref();
        let life = between(self.parts.ledger.now(), order.expires_at);
        let policy = self.parts.routes.now().policy(country);
        let carriers: Vec<String> = policy
            .candidates(channel)
            .iter()
            .filter(|c| life >= c.min_life)
            .map(|c| c.carrier.clone())
            .collect();
        if carriers.is_empty() {
            // No route, or none for this life: the taker decides what that means.
            return Err(NOBODY);
        }
        let ready = match self.parts.routes.now().choose(channel, country, &carriers, false) {
            Ok(ready) => ready,
            Err(no_room) => {
                admission.snooze = Some(no_room.wait.unwrap_or(backoff::snooze(1)));
                return Err(no_room);
            }
        };
        let words = self
            .parts
            .admitter
            .now()
            .render(order, channel, job.code.as_ref(), &job.params, life)
            .map_err(|_| NOBODY)?;
        let account = &ready.account;
        let attempt = NewAttempt::new(channel, &account.name, account.client.time_out, None);
        if channel == Channel::Voice {
            admission.voice = Some(self.parts.admitter.now().voice_limit(&job.tenant, job.kind(), &job.to));
        }
        let claim = attempt.claim;
        admission.attempt = Some(attempt);
        Ok(Flight { to: job.to.clone(), words, ready, claim, handed_at: Duration::ZERO })
    }

    /// Admits until the ledger answers: the delivery is held meanwhile, with the same uid and the same claim.
    async fn admit(&self, mut admission: Admission, flight: Result<Flight, NoRoom>) -> Result<Then, Aside> {
        let first_handed_at = crate::domain::clock::boot();
        let mut turn = flight.as_ref().err().and_then(|no_room| no_room.wait);
        let mut flight = flight.ok();
        let claim = flight.as_ref().map(|flight| flight.claim);
        let admitted = loop {
            if let Some(flight) = &mut flight {
                flight.handed_at = crate::domain::clock::boot();
            }
            match self.parts.ledger.admit(admission.clone()).await {
                Ok(admitted) => break admitted,
                Err(e) if e.bars().is_some() => {
                    return Err(BadMessage::new("body", e.bars().unwrap_or_default()).into());
                }
                Err(e) => {
                    self.outage.begins(&e);
                    self.until_it_answers().await?;
                    if let Some(flight) = &flight {
                        flight.ready.paced_again().await;
                    }
                    let life = between(self.parts.ledger.now(), admission.order.expires_at);
                    if flight.take_if(|flight| life < flight.ready.min_life).is_some() {
                        // Another carrier may do with less.
                        admission.begin_nothing();
                        turn = Some(Duration::ZERO);
                    }
                    if life < MIN_LIFE {
                        admission.expire();
                    }
                }
            }
        };
        let metrics = &self.parts.metrics;
        match admitted {
            Admitted::Born { state, reason, slots, now, retry_after_s, superseded } => {
                metrics.admitted("amqp", state.as_str());
                crash::at(Point::JobAdmitted);
                for uid in superseded {
                    self.parts.waker.wake(uid);
                }
                match state {
                    State::Sending => {
                        if let (Some(d), Some(flight)) = (admission.born(now, slots), flight) {
                            return Ok(Then::Send(Box::new((Seen::new(d), flight))));
                        }
                    }
                    State::Queued => {
                        if let Some(turn) = turn {
                            self.parts.waker.wake_after(admission.order.uid, turn);
                        }
                    }
                    refused => {
                        let event = Event {
                            version: 1,
                            state: refused,
                            at: now,
                            step: admission.refused_step(reason),
                            attempt: None,
                            channel: None,
                            carrier: None,
                            reason,
                            retry_after_s,
                        };
                        self.tell_refusal(&admission, event);
                    }
                }
                Ok(Then::Nothing)
            }
            Admitted::Known { uid, mine, .. } => {
                metrics.admitted("amqp", "known");
                // An earlier run of this very group came through: the open attempt is ours. It was committed by one of the
                // runs, perhaps the first. Whether it was, where it waited for too long since, the row says.
                let too_long = claim.is_some() && flight.is_none();
                let claim = claim.filter(|_| mine || too_long);
                let flight = flight.map(|flight| Flight { handed_at: first_handed_at, ..flight });
                Ok(claim.map_or(Then::Nothing, |claim| Then::Find(Box::new(Claimed { uid, claim, flight }))))
            }
            Admitted::Conflict => Err(BadMessage::new("id", "is known with other content (conflict)").into()),
            Admitted::Refused { .. } => Ok(Then::Nothing),
        }
    }

    fn tell_refusal(&self, admission: &Admission, event: Event) {
        let events = vec![event];
        self.parts.metrics.reached(&events);
        self.parts.teller.tell(crate::ledger::Owed::of(&admission.order, events));
    }
}
