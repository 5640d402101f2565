//! Chooses the outcome of a request: the next scripted outcome, or else the outcome of the magic number.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::magic;
use crate::outcome::{Channel, Outcome};

/// Maximum number of scripted outcomes over all numbers. A script that would exceed it is refused.
const MAX_SCRIPTED: usize = 100_000;

/// Maximum number of tracked positions in magic sequences. Above it, all sequences restart.
const MAX_TRACKED_SEQUENCES: usize = 100_000;

/// The scripts, and each number's position in its sequence.
#[derive(Default)]
pub(crate) struct Choice(Mutex<State>);

#[derive(Default)]
struct State {
    /// The next outcomes by the digits of the number, for one channel or for both.
    scripts: HashMap<String, VecDeque<(Option<Channel>, Outcome)>>,
    scripted: usize,
    /// Number of requests of a sequence. A missing entry means none.
    turns: HashMap<(String, Channel), usize>,
}

impl Choice {
    /// Returns the outcome of the next request to this number. `own` is the outcome of the carrier's own test
    /// number.
    pub(crate) fn next(&self, channel: Channel, to: &str, own: Option<Outcome>) -> Outcome {
        let digits = digits(to);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scripted) = state.take(channel, &digits) {
            return scripted;
        }
        if let Some(own) = own {
            return own;
        }
        match magic::outcomes(channel, &digits) {
            [only] => only.clone(),
            sequence => state.turn(channel, digits, sequence),
        }
    }

    /// Appends outcomes for a number. Returns false if there are too many.
    pub(crate) fn script(&self, to: &str, channel: Option<Channel>, outcomes: Vec<Outcome>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.scripted + outcomes.len() > MAX_SCRIPTED {
            return false;
        }
        state.scripted += outcomes.len();
        let queue = state.scripts.entry(digits(to)).or_default();
        queue.extend(outcomes.into_iter().map(|outcome| (channel, outcome)));
        true
    }

    /// Deletes all scripts and restarts all sequences.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }
}

impl State {
    fn take(&mut self, channel: Channel, digits: &str) -> Option<Outcome> {
        let queue = self.scripts.get_mut(digits)?;
        let place = queue.iter().position(|(only, _)| only.is_none_or(|only| only == channel))?;
        let (_, outcome) = queue.remove(place)?;
        if queue.is_empty() {
            self.scripts.remove(digits);
        }
        self.scripted -= 1;
        Some(outcome)
    }

    fn turn(&mut self, channel: Channel, digits: String, sequence: &[Outcome]) -> Outcome {
        if self.turns.len() >= MAX_TRACKED_SEQUENCES {
            self.turns.clear();
        }
        let key = (digits, channel);
        let turn = self.turns.remove(&key).unwrap_or(0);
        if turn + 1 < sequence.len() {
            self.turns.insert(key, turn + 1);
        }
        sequence.get(turn).cloned().unwrap_or(Outcome::Deliver)
    }
}

/// Returns only the digits of a number, because a `+` may be lost in a query string.
pub(crate) fn digits(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(choice: &Choice, channel: Channel, to: &str, times: usize) -> Vec<&'static str> {
        (0..times).map(|_| choice.next(channel, to, None).word()).collect()
    }

    #[test]
    fn a_sequence_counts_for_each_number_and_channel_alone_and_starts_over() {
        let choice = Choice::default();
        let expected = ["unavailable", "unavailable", "deliver", "unavailable"];
        assert_eq!(words(&choice, Channel::Sms, "+447700900105", 1), &expected[..1]);
        assert_eq!(words(&choice, Channel::Sms, "+14155550105", 4), expected);
        assert_eq!(words(&choice, Channel::Voice, "+447700900105", 4), expected);
        assert_eq!(words(&choice, Channel::Sms, "+447700900105", 3), &expected[1..]);
    }

    #[test]
    fn a_script_is_used_up_before_the_magic_number_counts() {
        let choice = Choice::default();
        assert!(choice.script("447700900119", None, vec![Outcome::Silent, Outcome::Deliver]));
        assert_eq!(words(&choice, Channel::Sms, "+447700900119", 3), ["silent", "deliver", "unavailable"]);
    }

    #[test]
    fn a_script_for_one_channel_leaves_the_other_alone() {
        let choice = Choice::default();
        choice.script("+447700900000", Some(Channel::Voice), vec![Outcome::Busy]);
        choice.script("+447700900000", None, vec![Outcome::Silent]);
        assert_eq!(words(&choice, Channel::Sms, "+447700900000", 2), ["silent", "deliver"]);
        assert_eq!(words(&choice, Channel::Voice, "+447700900000", 2), ["busy", "deliver"]);
    }

    #[test]
    fn a_script_beats_the_carriers_own_test_number_and_that_beats_the_magic_number() {
        let choice = Choice::default();
        choice.script("+15005550001", None, vec![Outcome::Silent]);
        let own = || Some(Outcome::InvalidNumber);
        assert_eq!(choice.next(Channel::Sms, "+15005550001", own()), Outcome::Silent);
        assert_eq!(choice.next(Channel::Sms, "+15005550001", own()), Outcome::InvalidNumber);
    }

    #[test]
    fn clearing_forgets_scripts_and_sequences() {
        let choice = Choice::default();
        choice.script("+447700900000", None, vec![Outcome::Silent]);
        words(&choice, Channel::Sms, "+447700900105", 2);
        choice.clear();
        assert_eq!(words(&choice, Channel::Sms, "+447700900000", 1), ["deliver"]);
        assert_eq!(words(&choice, Channel::Sms, "+447700900105", 1), ["unavailable"]);
    }

    #[test]
    fn a_script_that_is_too_long_is_refused_whole() {
        let choice = Choice::default();
        assert!(!choice.script("+447700900000", None, vec![Outcome::Silent; MAX_SCRIPTED + 1]));
        assert_eq!(words(&choice, Channel::Sms, "+447700900000", 1), ["deliver"]);
    }
}
