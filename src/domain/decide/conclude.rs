//! From facts to a transition: the state, the events, the quota, and when to look again.

use std::time::Duration;

use jiff::Timestamp;

use super::step::{self, OverReason, StepResult};
use super::{Begin, Decision, LEASE, Policy, Slots, Transition, WAIT_FROM_CLOSE};
use crate::domain::attempt::{Attempt, Outcome, Reason, State};
use crate::domain::clock::after;
use crate::domain::dispatch::{Dispatch, Event, Stop};

/// What follows for a dispatch at this time, by the ledger's clock.
pub fn next(seen: &Dispatch, now: Timestamp, policy: &Policy) -> Decision {
    let mut work = Work::new(seen, now);
    work.close_passed_deadline();
    work.follow(policy, |d| step::step_result(d, now, policy))
}

/// What follows when no carrier had room for a begin: it is put off, or the step is left when this was its last chance.
/// `wait` is known where its turn is.
pub fn snooze(
    seen: &Dispatch, begin: &Begin, wait: Option<Duration>, now: Timestamp, policy: &Policy,
) -> Decision {
    let mut work = Work::new(seen, now);
    work.close_passed_deadline();
    work.enter(begin.step, now);
    work.follow(policy, |d| step::put_off(d, wait, now, policy))
}

/// What follows when the quota of calls refused a begin: the step is skipped.
pub fn skip_step(
    seen: &Dispatch, begin: &Begin, retry_after_s: u64, now: Timestamp, policy: &Policy,
) -> Decision {
    let mut work = Work::new(seen, now);
    work.enter(begin.step + 1, now);
    work.follow(policy, |d| match step::step_result(d, now, policy) {
        StepResult::Over(OverReason::PlanOver) => StepResult::Over(OverReason::Limited { retry_after_s }),
        other => other,
    })
}

/// What follows when a dispatch cannot be put into words: its plan is over, for this reason.
pub fn give_up(seen: &Dispatch, reason: Reason, now: Timestamp, policy: &Policy) -> Decision {
    let mut work = Work::new(seen, now);
    work.close_passed_deadline();
    work.follow(policy, |_| StepResult::Over(OverReason::Exhausted(reason)))
}

/// A repeat under the same reference is the same text, where the carrier keeps our references: what is known or reported of
/// one of them holds for the other.
fn share_receipts(d: &mut Dispatch) {
    let ours: Vec<String> = d.attempts.iter().map(|a| d.reference_of(a)).collect();
    for (i, j) in (0..ours.len()).flat_map(|j| (0..j).map(move |i| (i, j))) {
        let kept = |n: usize| d.attempts[n].details.reference.as_ref() == Some(&ours[n]);
        let same = ours[i] == ours[j] && (kept(i) || kept(j));
        if !same || d.attempts[i].outcome.is_none() || d.attempts[j].outcome.is_none() {
            continue;
        }
        let (before, after) = d.attempts.split_at_mut(j);
        let (a, b) = (&mut before[i], &mut after[0]);
        if a.is_accepted() || b.is_accepted() {
            for unknown in [&mut *a, &mut *b].into_iter().filter(|a| a.is_unknown()) {
                unknown.outcome = Some(Outcome::Accepted);
            }
        }
        let (from, to) = if a.is_delivered() || b.receipt.is_none() { (a, b) } else { (b, a) };
        if from.receipt.is_some() && to.is_accepted() {
            to.receipt = from.receipt;
            to.receipt_reason = from.receipt_reason;
        }
    }
}

struct Work {
    /// The dispatch as it will be; starts as a copy of what was seen.
    d: Dispatch,
    seen_version: i64,
    now: Timestamp,
    close: Option<u16>,
    drop_code: bool,
    slots: Slots,
    events: Vec<Event>,
    begin: Option<Begin>,
}

impl Work {
    fn new(seen: &Dispatch, now: Timestamp) -> Self {
        Self {
            d: seen.clone(),
            seen_version: seen.version,
            now,
            close: None,
            drop_code: false,
            slots: Slots::Keep,
            events: vec![],
            begin: None,
        }
    }

    /// Only a passed deadline makes an open attempt unknown.
    fn close_passed_deadline(&mut self) {
        let now = self.now;
        if let Some(a) = self.d.attempts.last_mut().filter(|a| a.outcome.is_none() && a.deadline <= now) {
            a.outcome = Some(Outcome::Unknown);
            a.closed_at = Some(now);
            self.close = Some(a.n);
        }
    }

    fn enter(&mut self, step: u8, now: Timestamp) {
        if self.d.step != step {
            self.d.step = step;
            self.d.step_at = now;
            self.d.snoozes = 0;
            self.d.snoozed_until = None;
        }
    }

    fn follow(mut self, policy: &Policy, step_result: impl FnOnce(&mut Dispatch) -> StepResult) -> Decision {
        share_receipts(&mut self.d);
        let delivered = self.d.attempts.iter().find(|a| a.is_delivered()).cloned();
        if let Some(a) = delivered {
            self.deliver(&a);
        } else if self.d.state.is_final() {
            self.d.wake_at = self.d.open().map(|a| a.deadline);
        } else {
            self.tell_sent();
            if let Some(open) = self.d.open() {
                self.d.wake_at = Some(open.deadline);
            } else if self.now >= self.d.order.expires_at {
                self.settle(OverReason::Life, policy);
            } else {
                match step_result(&mut self.d) {
                    StepResult::Begin(begin) => {
                        self.begin = Some(begin);
                        self.d.wake_at = Some(after(self.now, LEASE));
                    }
                    StepResult::Hold(until) => self.d.wake_at = Some(until.min(self.d.order.expires_at)),
                    StepResult::Over(cause) => self.settle(cause, policy),
                }
            }
        }
        self.done()
    }

    /// `delivered` ends a dispatch at once, whatever else is open, and corrects any other end.
    fn deliver(&mut self, a: &Attempt) {
        match self.d.state {
            State::Delivered => {}
            state if state.is_final() => {
                if !self.d.slots_held && !self.d.slots.is_empty() {
                    self.slots = Slots::TakeAgain;
                }
                self.end(State::Delivered, None, Some(a), None);
            }
            _ => {
                self.tell_sent();
                self.end(State::Delivered, None, Some(a), None);
            }
        }
        self.d.wake_at = self.d.open().map(|a| a.deadline);
    }

    /// Each step in which something was accepted is told once.
    fn tell_sent(&mut self) {
        let mut told = self.d.told_steps;
        let untold: Vec<Attempt> = self
            .d
            .attempts
            .iter()
            .filter(|a| {
                let bit = 1u8 << (a.step - 1);
                let first = a.is_accepted() && told & bit == 0;
                told |= if first { bit } else { 0 };
                first
            })
            .cloned()
            .collect();
        self.d.told_steps = told;
        for a in untold {
            self.event(State::Sent, self.why_reached(a.step), Some(&a), None);
            self.d.state = State::Sent;
        }
    }

    /// Why the plan went on to a step: the failure of the last attempt before it, where one is known.
    fn why_reached(&self, step: u8) -> Option<Reason> {
        let before = self.d.attempts.iter().rev().find(|a| a.step < step)?;
        match before.outcome? {
            Outcome::Accepted if before.is_bad() => {
                Some(before.receipt_reason.unwrap_or(Reason::Unexplained))
            }
            Outcome::Accepted | Outcome::Unknown => None,
            failed => Some(failed.reason()),
        }
    }

    /// The plan is over, or its dispatch stopped: an end, or the wait for a receipt.
    fn settle(&mut self, cause: OverReason, policy: &Policy) {
        let anything = |what: fn(&Attempt) -> bool| self.d.attempts.iter().any(what);
        let (accepted, unknown) = (anything(Attempt::is_accepted), anything(Attempt::is_unknown));
        let last = self.d.attempts.last().cloned();

        if !accepted && !unknown {
            let (state, reason) = match (self.d.stop, &cause) {
                (Some(Stop::Superseded), _) => (State::Superseded, Reason::Newer),
                (Some(Stop::Cancel), _) => (State::Cancelled, Reason::Cancel),
                (Some(Stop::Verified), _) => (State::Cancelled, Reason::Verified),
                (None, OverReason::Limited { .. }) => (State::Limited, Reason::VoiceQuota),
                (None, OverReason::Life) => (State::Expired, self.why_expired()),
                (None, OverReason::Exhausted(reason)) => (State::Failed, *reason),
                (None, OverReason::PlanOver) => {
                    (State::Failed, self.last_reason().unwrap_or(Reason::NoRoute))
                }
            };
            let retry_after_s = match cause {
                OverReason::Limited { retry_after_s } if state == State::Limited => Some(retry_after_s),
                _ => None,
            };
            if self.d.slots_held {
                self.slots = Slots::GiveBack;
            }
            self.end(state, Some(reason), last.as_ref(), retry_after_s);
            return;
        }
        let bad = self.d.attempts.iter().rev().find(|a| a.is_bad()).cloned();
        let all_bad = self.d.attempts.iter().filter(|a| a.is_accepted()).all(Attempt::is_bad);
        let receipt_end = self.receipt_end(policy);
        if accepted && all_bad && !unknown {
            let reason = bad.as_ref().and_then(|a| a.receipt_reason).unwrap_or(Reason::Unexplained);
            self.end(State::Undelivered, Some(reason), bad.as_ref(), None);
        } else if self.now < self.d.order.expires_at {
            self.d.wake_at = Some(self.d.order.expires_at);
        } else if self.now < receipt_end {
            self.drop_code = true;
            self.d.wake_at = Some(receipt_end);
        } else {
            self.end(State::Unconfirmed, None, last.as_ref(), None);
        }
    }

    /// Until when a receipt is awaited. What carriers reported while the ledger was away is written when it is back, as outcomes
    /// are, and may come after them.
    fn receipt_end(&self, policy: &Policy) -> Timestamp {
        let closed = self.d.attempts.iter().filter_map(|a| a.closed_at).max();
        let end = after(self.d.order.expires_at, policy.receipt_wait);
        closed.map_or(end, |closed| end.max(after(closed, WAIT_FROM_CLOSE)))
    }

    fn last_reason(&self) -> Option<Reason> {
        self.d.attempts.last().and_then(|a| a.outcome).map(Outcome::reason)
    }

    fn why_expired(&self) -> Reason {
        let waited = if self.d.snoozes > 0 { Reason::NoPace } else { Reason::Life };
        self.last_reason().unwrap_or(waited)
    }

    fn end(
        &mut self, state: State, reason: Option<Reason>, about: Option<&Attempt>, retry_after_s: Option<u64>,
    ) {
        self.event(state, reason, about, retry_after_s);
        self.d.state = state;
        self.d.reason = reason;
        self.drop_code = true;
        self.d.wake_at = None;
    }

    fn event(
        &mut self, state: State, reason: Option<Reason>, about: Option<&Attempt>, retry_after_s: Option<u64>,
    ) {
        let version = self.seen_version + 1 + self.events.len() as i64;
        self.events.push(Event {
            version,
            state,
            at: self.now,
            step: about.map_or(self.d.step.min(self.d.order.plan.len() as u8), |a| a.step),
            attempt: about.map(|a| a.n),
            channel: about.map(|a| a.channel),
            carrier: about.map(|a| a.carrier.clone()),
            reason,
            retry_after_s,
        });
    }

    fn done(self) -> Decision {
        let d = self.d;
        let transition = Transition {
            version: self.seen_version + 1.max(self.events.len() as i64),
            close: self.close,
            state: d.state,
            reason: d.reason,
            step: d.step,
            step_at: d.step_at,
            snoozes: d.snoozes,
            snoozed_until: d.snoozed_until,
            told_steps: d.told_steps,
            wake_at: d.wake_at,
            drop_code: self.drop_code && d.code.is_some(),
            slots: self.slots,
            events: self.events,
            at: self.now,
        };
        Decision { transition, begin: self.begin }
    }
}
