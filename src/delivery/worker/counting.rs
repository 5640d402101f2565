//! Counts decisions after they are written.

use std::time::Duration;

use super::Worker;
use crate::broker::Delivery;
use crate::domain::attempt::State;
use crate::domain::channel::Channel;
use crate::domain::clock::between;
use crate::domain::decide::Decision;
use crate::domain::dispatch::{Dispatch, Event, Order};

impl Worker {
    /// Records how long ago a job was published, if its publisher has set the time. It has whole seconds.
    pub(super) fn observe_age(&self, delivery: &Delivery) {
        if let Some(published_at) = delivery.published_at {
            let age = crate::domain::clock::now().as_second().saturating_sub(published_at);
            self.deps.metrics.intake.observe_job_age(Duration::from_secs(u64::try_from(age).unwrap_or(0)));
        }
    }

    /// Counts an attempt that a decision has closed because its deadline had passed.
    pub(super) fn count_passed_deadline(&self, d: &Dispatch, decision: &Decision) {
        let closed = decision.transition.close.and_then(|n| d.attempts.iter().find(|a| a.n == n));
        if let Some(attempt) = closed {
            self.deps.metrics.delivery.count_unknown(attempt, "deadline");
        }
    }

    /// Counts a dispatch that is final from the beginning, because its job was refused.
    pub(super) fn count_refused(&self, order: &Order, state: State) {
        let channel = order.plan.step(1).unwrap_or(Channel::Sms);
        self.deps.metrics.delivery.count_state(None, state, channel, order);
    }

    /// Counts a state change of a dispatch. A delivered one is timed by the receipt that reports it.
    pub(super) fn count_event(&self, d: &Dispatch, before: State, event: &Event) {
        let metrics = &self.deps.metrics.delivery;
        let channel = event.channel.or_else(|| last_channel(d)).unwrap_or(Channel::Sms);
        metrics.count_state(Some(before), event.state, channel, &d.order);
        if event.state == State::Delivered {
            let attempt = event.attempt.and_then(|n| d.attempts.iter().find(|a| a.n == n));
            if let Some(at) = attempt.and_then(|a| a.receipt_at) {
                metrics.observe_delivery(channel, between(d.admitted_at, at));
            }
        }
    }
}

/// The channel of the current step, or of the last one if the plan is over.
fn last_channel(d: &Dispatch) -> Option<Channel> {
    let steps = u8::try_from(d.order.plan.len()).unwrap_or(u8::MAX);
    d.order.plan.step(d.step.min(steps))
}
