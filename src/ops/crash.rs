//! Crash points for tests of recovery. They exist only in builds with debug assertions; in release builds they compile to
//! nothing.
//!
//! `OTPOST_CRASH_AT=<point>` kills the process (SIGKILL) the first time it reaches the point, `<point>:<n>` the n-th time.
//! `OTPOST_FREEZE_AT` stops it there (SIGSTOP) until it gets SIGCONT. `OTPOST_CRASH_ON=<text>` kills it when it reads a message
//! with that text. `OTPOST_PANIC_ON=<text>` panics in the task that reads it.

/// A step of processing. After a crash at it, only the ledger and the broker know its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is said in a word")]
pub enum Point {
    // A job, from the broker and over HTTP.
    JobRead,
    JobAdmitted,
    JobAcked,
    HttpAdmitted,
    // An attempt.
    AttemptBegun,
    AttemptToBeSent,
    AttemptAnswered,
    AttemptFinished,
    // Due dispatches.
    DueTaken,
    DueDecided,
    DueToBegin,
    // Events.
    EventConfirmed,
    BatchTried,
    WebhookTaken,
    WebhookPosted,
    // Delivery receipts.
    ReceiptVerified,
    ReceiptRecorded,
    ReceiptQueued,
    QueuedReceiptRecorded,
    // Acts, dead letters and quarantine.
    ActWritten,
    DeadLetterConfirmed,
    QuarantineConfirmed,
}

impl Point {
    /// All crash points.
    pub const ALL: [Self; 22] = [
        Self::JobRead,
        Self::JobAdmitted,
        Self::JobAcked,
        Self::HttpAdmitted,
        Self::AttemptBegun,
        Self::AttemptToBeSent,
        Self::AttemptAnswered,
        Self::AttemptFinished,
        Self::DueTaken,
        Self::DueDecided,
        Self::DueToBegin,
        Self::EventConfirmed,
        Self::BatchTried,
        Self::WebhookTaken,
        Self::WebhookPosted,
        Self::ReceiptVerified,
        Self::ReceiptRecorded,
        Self::ReceiptQueued,
        Self::QueuedReceiptRecorded,
        Self::ActWritten,
        Self::DeadLetterConfirmed,
        Self::QuarantineConfirmed,
    ];
}

/// Crashes or freezes here when a test asks for it.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn at(_: Point) {}

/// Crashes or panics on this message when a test asks for it.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn on(_: &[u8]) {}

#[cfg(debug_assertions)]
pub(crate) use armed::{at, on};

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;

    /// The name of a crash point, and the remaining number of passes.
    type Place = LazyLock<Option<(String, AtomicU64)>>;
    static CRASH: Place = LazyLock::new(|| place("OTPOST_CRASH_AT"));
    static FREEZE: Place = LazyLock::new(|| place("OTPOST_FREEZE_AT"));
    static ON: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("OTPOST_CRASH_ON").ok());
    static PANIC_ON: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("OTPOST_PANIC_ON").ok());

    pub(crate) fn at(point: Point) {
        if is_here(point, &CRASH) {
            die();
        }
        if is_here(point, &FREEZE) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
            // The kernel may stop another thread first. Without the pause this thread would continue for a moment.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    fn place(variable: &str) -> Option<(String, AtomicU64)> {
        let text = std::env::var(variable).ok()?;
        let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(nth.parse().unwrap_or(1))))
    }

    fn is_here(point: Point, place: &Place) -> bool {
        place.as_ref().is_some_and(|(name, left)| {
            format!("{point:?}") == *name && left.fetch_sub(1, Ordering::Relaxed) == 1
        })
    }

    pub(crate) fn on(body: &[u8]) {
        let has = |text: &String| body.windows(text.len()).any(|part| part == text.as_bytes());
        if ON.as_ref().is_some_and(has) {
            die();
        }
        assert!(!PANIC_ON.as_ref().is_some_and(has), "OTPOST_PANIC_ON matched");
    }

    fn die() -> ! {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}
