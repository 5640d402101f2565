//! Where a dispatch stands, and which state may follow on which.

use crate::domain::words::words;

words! {
    /// Where a dispatch stands: the best truth over all its attempts.
    State {
        /// Admitted; nothing was begun.
        Queued = "queued",
        /// A request was begun; nothing is known to be accepted.
        Sending = "sending",
        /// A carrier accepted it.
        Sent = "sent",
        /// It reached the phone, or a played call was answered.
        Delivered = "delivered",
        /// Every accepted attempt came back bad, and the plan is over.
        Undelivered = "undelivered",
        /// Something was accepted or is unknown, and nothing more was heard of it.
        Unconfirmed = "unconfirmed",
        /// No carrier took it.
        Failed = "failed",
        /// The code's life ended before anything was accepted.
        Expired = "expired",
        /// The number's quota is full.
        Limited = "limited",
        /// Our policy forbids it: the number, its country.
        Refused = "refused",
        /// A newer dispatch of the same sign-in took its place.
        Superseded = "superseded",
        /// Its sender took it back, or saw the code come back before it was sent.
        Cancelled = "cancelled",
    }
}

impl State {
    /// Whether it is an end. Only `delivered` may follow on another end (the one correction).
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Sent)
    }

    /// Whether a dispatch may go from this state to that one.
    pub fn may_become(self, to: Self) -> bool {
        use State::{Delivered, Queued, Sending, Sent, Unconfirmed, Undelivered};
        match (self, to) {
            (a, b) if a == b => false,
            (Queued, Sending | Sent) | (Sending, Sent) => true,
            (Sent, to) => matches!(to, Delivered | Undelivered | Unconfirmed),
            // `undelivered` and `delivered` pass through `sent`, in one statement at the most.
            (Queued | Sending, to) => to.is_final() && !matches!(to, Delivered | Undelivered),
            (Delivered, _) => false,
            (_, to) => to == Delivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn states_never_go_backwards_but_for_the_one_correction() {
        for from in State::ALL {
            for to in State::ALL {
                let may = from.may_become(*to);
                if from.is_final() {
                    assert_eq!(may, *to == State::Delivered && *from != State::Delivered, "{from} to {to}");
                }
                if *to == State::Queued {
                    assert!(!may, "{from} to {to}");
                }
            }
        }
        assert!(!State::Sent.may_become(State::Sending));
        assert!(!State::Sent.may_become(State::Failed));
    }
}
