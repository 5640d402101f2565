//! States of a dispatch, and the allowed transitions between them.

use crate::domain::words::words;

words! {
    /// The state of a dispatch, computed over all its attempts.
    State {
        /// Admitted. No request has begun.
        Queued = "queued",
        /// A request has begun. No request is known to be accepted.
        Sending = "sending",
        /// A carrier accepted a request.
        Sent = "sent",
        /// The message reached the phone, or the call was answered.
        Delivered = "delivered",
        /// Every accepted attempt has a bad receipt, and the plan has ended.
        Undelivered = "undelivered",
        /// An attempt was accepted or is unknown, and no final receipt arrived in time.
        Unconfirmed = "unconfirmed",
        /// No carrier accepted a request.
        Failed = "failed",
        /// The code expired before a request was accepted.
        Expired = "expired",
        /// A quota of the number is full.
        Limited = "limited",
        /// The policy refuses the number or its country.
        Refused = "refused",
        /// A newer dispatch of the same sign-in replaced it.
        Superseded = "superseded",
        /// The sender cancelled it, or reported the code as verified, before a request was accepted.
        Cancelled = "cancelled",
    }
}

impl State {
    /// Returns whether the state is final. Only `delivered` may follow a final state, as a correction.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Sent)
    }

    /// Returns whether a dispatch may change from this state to `to`.
    pub fn may_become(self, to: Self) -> bool {
        use State::{Delivered, Queued, Sending, Sent, Unconfirmed, Undelivered};
        match (self, to) {
            (a, b) if a == b => false,
            (Queued, Sending | Sent) | (Sending, Sent) => true,
            (Sent, to) => matches!(to, Delivered | Undelivered | Unconfirmed),
            // `undelivered` and `delivered` require `sent` first. One statement may write both changes.
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
