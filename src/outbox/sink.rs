//! What a receiver of events must be able to do.

use std::time::Duration;

use crate::ledger::{PendingEvents, Receiver};

/// Delivers events to one receiver.
pub(super) trait Sink: Send + Sync + 'static {
    /// Maximum number of dispatches whose events are on their way at the same time.
    const MAX_CONCURRENT: usize;
    /// Interval of the scans for events that nobody delivers. `None` if they are not stored.
    const SCAN_INTERVAL: Option<Duration>;

    /// Whose events it delivers.
    fn receiver(&self) -> Receiver;

    /// Whether the receiver takes events now. While it does not, no scan runs.
    fn is_open(&self) -> bool {
        true
    }

    /// Waits until stored events became due before the next scan.
    fn woken(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Delivers the events of one dispatch in order, and stops at the first failure.
    fn deliver(&self, pending: &PendingEvents) -> impl Future<Output = Result<(), Failure>> + Send;

    /// When a batch is tried again that failed after this number of earlier tries.
    fn retry(&self, tries: u16) -> Retry;

    /// Takes note of a result, for metrics and logs.
    fn record(&self, _: &PendingEvents, _: &Result<(), Failure>, _: Retry) {}
}

impl Retry {
    /// Combines the regular retry with the receiver's request, which may lengthen a pause or end the tries. It does not add a try.
    pub(super) fn with_word(self, receivers: Option<Self>) -> Self {
        match (self, receivers) {
            (regular, None) | (regular @ Self::Never, Some(Self::After(_))) => regular,
            (Self::After(regular), Some(Self::After(own))) => Self::After(regular.max(own)),
            (_, Some(own)) => own,
        }
    }
}

/// Why events were not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Number of events that were delivered before the failure.
    pub(super) delivered: usize,
    /// The reason, in our own words.
    pub(super) problem: String,
    /// When the batch is tried again, if the receiver has said so.
    pub(super) retry: Option<Retry>,
}

/// When a batch is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Retry {
    /// When its lease ends. Tries are not counted.
    AtLeaseEnd,
    /// After this pause, during which the receiver gets nothing. This try is not counted.
    Wait(Duration),
    /// After this pause.
    After(Duration),
    /// Never.
    Never,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Retry;

    /// Fails if a receiver that always asks for a pause gets an event for ever, or gets it at once after `Retry-After: 0`.
    #[test]
    fn a_receivers_request_lengthens_a_pause_and_adds_no_try() {
        let after = |s| Retry::After(Duration::from_secs(s));
        let wait = Retry::Wait(Duration::from_secs(9));
        for (regular, word, expected) in [
            (after(300), None, after(300)),
            (after(300), Some(after(600)), after(600)),
            (after(300), Some(after(0)), after(300)),
            (after(300), Some(Retry::Never), Retry::Never),
            (Retry::Never, Some(after(600)), Retry::Never),
            (Retry::Never, Some(wait), wait),
            (after(300), Some(wait), wait),
            (Retry::AtLeaseEnd, None, Retry::AtLeaseEnd),
        ] {
            assert_eq!(regular.with_word(word), expected, "{regular:?} {word:?}");
        }
    }
}
