//! Messages that are published and not yet confirmed. Determines the result of each message, including returns.
//!
//! RabbitMQ returns an unroutable mandatory message first and confirms it afterwards. lapin queues returned messages. It attaches
//! the front of that queue to whichever confirm completes next, even to the confirm of another message. A single confirm
//! therefore proves nothing. These facts are reliable:
//!
//! - a returned message is in lapin's queue before its own confirm completes;
//! - a confirm without a returned message found the queue empty, so every earlier return is attached to an earlier confirm;
//! - the queue is empty when no message is unconfirmed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::PublishError;

pub(super) type PublishResult = Result<(), PublishError>;

struct Sent<A> {
    message_id: String,
    mandatory: bool,
    returned: bool,
    nacked: bool,
    since: Instant,
    responder: A,
}

impl<A> Sent<A> {
    fn result(self) -> (A, PublishResult) {
        let result = match self {
            Self { returned: true, .. } => Err(PublishError::Returned),
            Self { nacked: true, .. } => Err(PublishError::Refused),
            _ => Ok(()),
        };
        (self.responder, result)
    }
}

/// A publisher confirm that lapin completed.
pub(super) struct Confirmed {
    pub(super) number: u64,
    pub(super) ack: bool,
    /// The `message_id` of the returned message that lapin attached to this confirm.
    pub(super) returned_id: Option<String>,
}

/// The unconfirmed messages of one channel, each with the channel for its result.
pub(super) struct InFlight<A> {
    sent: HashMap<u64, Sent<A>>,
    /// Confirmed messages of which it is not yet known whether they were returned.
    undecided: Vec<Sent<A>>,
    last: u64,
}

impl<A> InFlight<A> {
    pub(super) fn new() -> Self {
        Self { sent: HashMap::new(), undecided: vec![], last: 0 }
    }

    /// Registers a message and returns the number that identifies its confirm.
    pub(super) fn sent(&mut self, message_id: String, mandatory: bool, responder: A) -> u64 {
        self.last += 1;
        let sent =
            Sent { message_id, mandatory, returned: false, nacked: false, since: Instant::now(), responder };
        self.sent.insert(self.last, sent);
        self.last
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Age of the oldest unconfirmed message; zero when there is none.
    pub(super) fn oldest_age(&self) -> Duration {
        self.sent.values().map(|sent| sent.since.elapsed()).max().unwrap_or_default()
    }

    /// Processes completed confirms, in any order, and returns the results that are now known.
    ///
    /// `confirms` must include every confirm that lapin completed before any of these.
    pub(super) fn confirmed(&mut self, confirms: &[Confirmed]) -> Vec<(A, PublishResult)> {
        for id in confirms.iter().filter_map(|confirm| confirm.returned_id.as_deref()) {
            // When two messages share an id, both count as returned. A duplicate is better than a lost message.
            for sent in self.sent.values_mut().chain(&mut self.undecided) {
                sent.returned |= sent.mandatory && sent.message_id == id;
            }
        }
        let emptied = confirms.iter().any(|confirm| confirm.returned_id.is_none());
        let mut decided: Vec<_> = self.undecided.extract_if(.., |sent| sent.returned || emptied).collect();
        for confirm in confirms {
            let Some(mut sent) = self.sent.remove(&confirm.number) else {
                continue;
            };
            sent.nacked = !confirm.ack;
            // The confirm carries another message's return. The return of this message may still be in lapin's queue.
            let open = sent.mandatory && !sent.returned && confirm.returned_id.is_some();
            if open { &mut self.undecided } else { &mut decided }.push(sent);
        }
        if self.sent.is_empty() {
            decided.append(&mut self.undecided);
        }
        decided.into_iter().map(Sent::result).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use proptest::prelude::*;

    use super::{Confirmed, InFlight, PublishError, PublishResult};

    #[derive(Debug, Clone, Copy)]
    struct Kind {
        mandatory: bool,
        routed: bool,
        nacked: bool,
    }

    fn kinds() -> impl Strategy<Value = Vec<Kind>> {
        let kind = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(mandatory, routed, nacked)| Kind { mandatory, routed, nacked });
        prop::collection::vec(kind, 1..25)
    }

    fn truth(kind: Kind) -> PublishResult {
        match kind {
            Kind { mandatory: true, routed: false, .. } => Err(PublishError::Returned),
            Kind { nacked: true, .. } => Err(PublishError::Refused),
            _ => Ok(()),
        }
    }

    proptest! {
        /// Simulates RabbitMQ and lapin's queue. Each step publishes, returns or confirms a message, or lets otpost process the
        /// completed confirms, in an order that differs from lapin's.
        #[test]
        fn each_message_has_its_own_result_in_whatever_order_confirms_and_returns_come(
            kinds in kinds(), steps in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..300),
        ) {
            let mut in_flight = InFlight::new();
            let mut results: HashMap<usize, PublishResult> = HashMap::new();
            let mut numbers = HashMap::new();
            let (mut returning, mut confirming, mut completed) = (vec![], vec![], vec![]);
            let mut lapins_queue = VecDeque::new();
            let mut left: VecDeque<usize> = (0..kinds.len()).collect();
            // After the random steps, every remaining event happens.
            let drawn = steps.into_iter().map(|(step, index)| (step, Some(index)));
            let rest = (0..4 * kinds.len()).map(|i| ((i / kinds.len()) as u8, None));
            for (step, index) in drawn.chain(rest) {
                let index = |len| index.map_or(0, |index: prop::sample::Index| index.index(len));
                match step {
                    0 => if let Some(i) = left.pop_front() {
                        numbers.insert(i, in_flight.sent(i.to_string(), kinds[i].mandatory, i));
                        if kinds[i].mandatory && !kinds[i].routed { returning.push(i) } else { confirming.push(i) }
                    },
                    1 => if !returning.is_empty() {
                        let i = returning.remove(index(returning.len()));
                        lapins_queue.push_back(i.to_string());
                        confirming.push(i);
                    },
                    2 => if !confirming.is_empty() {
                        let i = confirming.remove(index(confirming.len()));
                        let confirmed =
                            Confirmed { number: numbers[&i], ack: !kinds[i].nacked, returned_id: lapins_queue.pop_front() };
                        completed.insert(index(completed.len() + 1), confirmed);
                    },
                    _ => for (i, result) in in_flight.confirmed(&std::mem::take(&mut completed)) {
                        prop_assert!(results.insert(i, result).is_none(), "answered twice");
                    },
                }
            }
            prop_assert!(in_flight.is_empty());
            for (i, kind) in kinds.into_iter().enumerate() {
                prop_assert_eq!(results.get(&i), Some(&truth(kind)), "message {}", i);
            }
        }
    }

    #[test]
    fn of_two_messages_with_one_id_none_counts_as_taken_when_one_was_returned() {
        let mut in_flight = InFlight::new();
        let (a, b) = (in_flight.sent("x".to_owned(), true, 'a'), in_flight.sent("x".to_owned(), true, 'b'));
        let confirmed =
            |number, id: Option<&str>| Confirmed { number, ack: true, returned_id: id.map(str::to_owned) };
        assert_eq!(in_flight.confirmed(&[confirmed(a, Some("x"))]), [('a', Err(PublishError::Returned))]);
        assert_eq!(in_flight.confirmed(&[confirmed(b, None)]), [('b', Err(PublishError::Returned))]);
    }
}
