//! Builds a decision: the new state, the events, the quota uses and the next wake-up time, from a row and the time.

use std::time::Duration;

use jiff::Timestamp;

use super::step::{self, PlanEnd, StepResult};
use super::{Begin, Decision, LEASE, Policy, QuotaChange, Transition, WAIT_FROM_CLOSE};
use crate::domain::attempt::{Attempt, Outcome, Reason, State};
use crate::domain::clock::after;
use crate::domain::dispatch::{Dispatch, Event, Stop};

/// Decides the next transition of a dispatch at `now`, by the ledger's clock.
pub fn decide(dispatch: &Dispatch, now: Timestamp, policy: &Policy) -> Decision {
    let mut builder = DecisionBuilder::new(dispatch, now);
    builder.close_passed_deadline();
    builder.evaluate(policy, |d| step::step_result(d, now, policy))
}

/// Why no carrier had room for a begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// The dispatch has a turn in an account's rate limit, after this time.
    Turn(Duration),
    /// The carriers are busy, or fail for now.
    Busy,
    /// Each carrier of the step refuses the account or the sender, or is paused by an operator. Waiting alone does not help.
    Closed,
}

/// Decides after no carrier had room for a begin. The step is snoozed. It is left instead if this was its last chance, or if its carriers
/// are closed and a later step can begin.
pub fn decide_without_room(
    dispatch: &Dispatch, begin: &Begin, no_room: NoRoom, now: Timestamp, policy: &Policy,
) -> Decision {
    let mut builder = DecisionBuilder::new(dispatch, now);
    builder.close_passed_deadline();
    builder.enter(begin.step, now);
    builder.evaluate(policy, |d| step::snooze_step(d, no_room, now, policy))
}

/// Decides after the channel's quota refused a begin: the step is skipped.
pub fn skip_step(
    dispatch: &Dispatch, begin: &Begin, retry_after_s: u64, now: Timestamp, policy: &Policy,
) -> Decision {
    let mut builder = DecisionBuilder::new(dispatch, now);
    builder.enter(begin.step + 1, now);
    builder.evaluate(policy, |d| match step::step_result(d, now, policy) {
        StepResult::End(PlanEnd::NothingLeft) => StepResult::End(PlanEnd::Limited { retry_after_s }),
        other => other,
    })
}

/// Decides after a message could not be rendered or its sealed values could not be opened: the plan ends with this reason.
pub fn give_up(dispatch: &Dispatch, reason: Reason, now: Timestamp, policy: &Policy) -> Decision {
    let mut builder = DecisionBuilder::new(dispatch, now);
    builder.close_passed_deadline();
    builder.evaluate(policy, |_| StepResult::End(PlanEnd::Exhausted(reason)))
}

/// Shares acceptance and receipts between two attempts with the same reference. Where the carrier keeps our references, a repeat is
/// the same message. A fact about one attempt then also holds for the other.
fn share_facts_of_repeats(d: &mut Dispatch) {
    if d.attempts.len() < 2 {
        return;
    }
    let ours: Vec<String> = d.attempts.iter().map(|a| d.reference_of(a)).collect();
    for (i, j) in (0..ours.len()).flat_map(|j| (0..j).map(move |i| (i, j))) {
        let kept = |n: usize| d.attempts[n].details.message_id.as_ref() == Some(&ours[n]);
        if ours[i] != ours[j] || !(kept(i) || kept(j)) {
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

struct DecisionBuilder {
    /// Starts as a copy of the row that was read; receives the changes.
    d: Dispatch,
    read_version: i64,
    now: Timestamp,
    close: Option<u16>,
    drop_code: bool,
    quota_change: QuotaChange,
    events: Vec<Event>,
    begin: Option<Begin>,
}

impl DecisionBuilder {
    fn new(dispatch: &Dispatch, now: Timestamp) -> Self {
        Self {
            d: dispatch.clone(),
            read_version: dispatch.version,
            now,
            close: None,
            drop_code: false,
            quota_change: QuotaChange::Keep,
            events: vec![],
            begin: None,
        }
    }

    /// Closes an open attempt as unknown. This happens only when its deadline has passed.
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

    fn evaluate(
        mut self, policy: &Policy, step_result: impl FnOnce(&mut Dispatch) -> StepResult,
    ) -> Decision {
        share_facts_of_repeats(&mut self.d);
        let delivered = self.d.attempts.iter().find(|a| a.is_delivered()).cloned();
        if let Some(a) = delivered {
            self.deliver(&a);
        } else if self.d.state.is_final() {
            self.d.wake_at = self.d.open_attempt().map(|a| a.deadline);
        } else {
            self.add_sent_events();
            if let Some(open) = self.d.open_attempt() {
                self.d.wake_at = Some(open.deadline);
            } else if self.now >= self.d.order.expires_at {
                self.settle(PlanEnd::Life, policy);
            } else {
                match step_result(&mut self.d) {
                    StepResult::Begin(begin) => {
                        self.begin = Some(begin);
                        self.d.wake_at = Some(after(self.now, LEASE));
                    }
                    StepResult::WaitUntil(until) => self.d.wake_at = Some(until.min(self.d.order.expires_at)),
                    StepResult::End(end) => self.settle(end, policy),
                }
            }
        }
        self.done()
    }

    /// Ends the dispatch as `delivered` at once, even if an attempt is open. `delivered` also corrects any other final state.
    fn deliver(&mut self, a: &Attempt) {
        match self.d.state {
            State::Delivered => {}
            state if state.is_final() => {
                if !self.d.holds_quota_uses && !self.d.quota_uses.is_empty() {
                    self.quota_change = QuotaChange::TakeAgain;
                }
                self.end(State::Delivered, None, Some(a), None);
            }
            _ => {
                self.add_sent_events();
                self.end(State::Delivered, None, Some(a), None);
            }
        }
        self.d.wake_at = self.d.open_attempt().map(|a| a.deadline);
    }

    /// Adds one `sent` event for each step in which an attempt was accepted.
    fn add_sent_events(&mut self) {
        let mut with_event = self.d.sent_event_steps;
        let without_event: Vec<Attempt> = self
            .d
            .attempts
            .iter()
            .filter(|a| {
                let bit = 1u8 << (a.step - 1);
                let first = a.is_accepted() && with_event & bit == 0;
                with_event |= if first { bit } else { 0 };
                first
            })
            .cloned()
            .collect();
        self.d.sent_event_steps = with_event;
        for a in without_event {
            self.event(State::Sent, self.why_reached(a.step), Some(&a), None);
            self.d.state = State::Sent;
        }
    }

    /// Returns why the plan moved on to `step`: the failure reason of the last attempt before it, if known.
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

    /// Ends the dispatch after its plan, or waits for a receipt that may still arrive.
    fn settle(&mut self, end: PlanEnd, policy: &Policy) {
        let anything = |what: fn(&Attempt) -> bool| self.d.attempts.iter().any(what);
        let (accepted, unknown) = (anything(Attempt::is_accepted), anything(Attempt::is_unknown));
        let last = self.d.attempts.last().cloned();

        if !accepted && !unknown {
            let (state, reason) = match (self.d.stop, &end) {
                (Some(Stop::Superseded), _) => (State::Superseded, Reason::Newer),
                (Some(Stop::Cancel), _) => (State::Cancelled, Reason::Cancel),
                (Some(Stop::Verified), _) => (State::Cancelled, Reason::Verified),
                (None, PlanEnd::Limited { .. }) => (State::Limited, Reason::VoiceQuota),
                (None, PlanEnd::Life) => (State::Expired, self.why_expired()),
                (None, PlanEnd::Exhausted(reason)) => (State::Failed, *reason),
                (None, PlanEnd::NothingLeft) => {
                    (State::Failed, self.last_reason().unwrap_or(Reason::NoRoute))
                }
            };
            let retry_after_s = match end {
                PlanEnd::Limited { retry_after_s } if state == State::Limited => Some(retry_after_s),
                _ => None,
            };
            if self.d.holds_quota_uses {
                self.quota_change = QuotaChange::GiveBack;
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

    /// Returns until when a receipt is awaited. After a ledger outage, queued receipts may be written later than the outcomes. The
    /// wait therefore lasts at least `WAIT_FROM_CLOSE` after the last attempt was closed.
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
        let version = self.read_version + 1 + self.events.len() as i64;
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
            version: self.read_version + 1.max(self.events.len() as i64),
            close: self.close,
            state: d.state,
            reason: d.reason,
            step: d.step,
            step_at: d.step_at,
            snoozes: d.snoozes,
            snoozed_until: d.snoozed_until,
            sent_event_steps: d.sent_event_steps,
            wake_at: d.wake_at,
            drop_code: self.drop_code && d.code.is_some(),
            quota_change: self.quota_change,
            events: self.events,
            at: self.now,
        };
        Decision { transition, begin: self.begin }
    }
}
