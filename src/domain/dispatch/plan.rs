//! Plans: the channels of a dispatch, in order.

use serde::{Deserialize, Serialize};

use super::bounds;
use crate::domain::channel::Channel;

/// The error of a list of channels that is not a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// The list is empty.
    #[error("channels must name at least one channel")]
    Empty,
    /// The list has more than four entries.
    #[error("channels may have at most 4 entries")]
    TooLong,
    /// A channel occurs more than twice.
    #[error("a channel may occur in channels at most twice")]
    TooOften,
}

/// One to four channels, each at most twice. A position is a step, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Channel>", into = "Vec<Channel>")]
pub struct Plan(Vec<Channel>);

impl Plan {
    /// Returns the number of steps.
    #[expect(clippy::len_without_is_empty, reason = "a plan is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the channel of a step, counted from 1, or `None` if there is no such step.
    pub fn step(&self, step: u8) -> Option<Channel> {
        self.0.get(usize::from(step).checked_sub(1)?).copied()
    }

    /// Returns the step number that means "the plan has ended": the number of steps plus 1.
    pub fn end_step(&self) -> u8 {
        self.0.len() as u8 + 1
    }

    /// Returns the channels, in order.
    pub fn channels(&self) -> &[Channel] {
        &self.0
    }

    /// Returns the channels as the ledger stores them, such as `sms,voice`.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|channel| channel.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Reads a text of [`Plan::to_text`]. `None` if it has another form.
    pub fn from_text(text: &str) -> Option<Self> {
        let channels: Option<Vec<Channel>> = text.split(',').map(|name| name.parse().ok()).collect();
        Self::try_from(channels?).ok()
    }
}

impl TryFrom<Vec<Channel>> for Plan {
    type Error = BadPlan;

    fn try_from(channels: Vec<Channel>) -> Result<Self, BadPlan> {
        if channels.is_empty() {
            return Err(BadPlan::Empty);
        }
        if channels.len() > usize::from(bounds::MAX_STEPS) {
            return Err(BadPlan::TooLong);
        }
        let twice = |c| channels.iter().filter(|x| **x == c).count() <= 2;
        if Channel::ALL.iter().all(|c| twice(*c)) { Ok(Self(channels)) } else { Err(BadPlan::TooOften) }
    }
}

impl From<Plan> for Vec<Channel> {
    fn from(plan: Plan) -> Self {
        plan.0
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self(vec![Channel::Sms])
    }
}

#[cfg(test)]
mod tests {
    use super::{BadPlan, Channel::Sms, Channel::Voice, Plan};

    #[test]
    fn a_channel_may_stand_twice_but_not_three_times() {
        assert!(Plan::try_from(vec![Sms, Voice, Sms, Voice]).is_ok());
        assert_eq!(Plan::try_from(vec![Sms, Sms, Sms]), Err(BadPlan::TooOften));
        assert_eq!(Plan::try_from(vec![]), Err(BadPlan::Empty));
        assert_eq!(Plan::try_from(vec![Sms, Voice, Sms, Voice, Sms]), Err(BadPlan::TooLong));
    }

    #[test]
    fn a_text_is_read_as_it_was_written() {
        let plan = Plan::try_from(vec![Sms, Voice]).expect("a plan");
        assert_eq!(plan.to_text(), "sms,voice");
        assert_eq!(Plan::from_text("sms,voice"), Some(plan));
        assert_eq!((Plan::from_text(""), Plan::from_text("sms,fax")), (None, None));
    }

    #[test]
    fn steps_count_from_one() {
        let plan = Plan::try_from(vec![Sms, Voice]).unwrap();
        assert_eq!(
            (plan.step(0), plan.step(1), plan.step(2), plan.step(3)),
            (None, Some(Sms), Some(Voice), None)
        );
        assert_eq!(plan.end_step(), 3);
    }
}
