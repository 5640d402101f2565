//! Places at which a process may be killed, so that tests can see what each crash leaves behind. Only builds with debug
//! assertions have them: in a release build there is nothing here.
//!
//! `OTPOST_CRASH_AT=<point>` kills the process (SIGKILL) when it comes there for the first time, `<point>:<n>` for the n-th.
//! `OTPOST_FREEZE_AT` stops it there instead (SIGSTOP), until somebody lets it go on.
//! `OTPOST_CRASH_ON=<text>` kills it when it reads a message with that text, `OTPOST_PANIC_ON=<text>` makes that one reader
//! panic.

/// A step of the path, after which nothing of it is known to anybody but the ledger and the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is said in a word")]
pub enum Point {
    // A job from the broker, and one over HTTP.
    JobRead,
    JobAdmitted,
    JobAcked,
    HttpAdmitted,
    // A request.
    AttemptBegun,
    AttemptToBeSent,
    AttemptAnswered,
    AttemptFinished,
    // What is due.
    DueTaken,
    DueDecided,
    DueToBegin,
    // Telling.
    EventConfirmed,
    EventRemoved,
    HookTaken,
    HookPosted,
    // Receipts.
    ReceiptBelieved,
    ReceiptRecorded,
    ReceiptSetAside,
    KeptReceiptRecorded,
    // Acts, and what is set aside.
    ActWritten,
    DeadLetterConfirmed,
    SuspectConfirmed,
}

impl Point {
    /// All of them.
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
        Self::EventRemoved,
        Self::HookTaken,
        Self::HookPosted,
        Self::ReceiptBelieved,
        Self::ReceiptRecorded,
        Self::ReceiptSetAside,
        Self::KeptReceiptRecorded,
        Self::ActWritten,
        Self::DeadLetterConfirmed,
        Self::SuspectConfirmed,
    ];
}

/// The process has come to a point.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn at(_: Point) {}

/// The process reads a message.
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

    /// Which point, and how often it is still passed.
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
            // The signal may stop another thread first: this one must not go on meanwhile.
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
        assert!(!PANIC_ON.as_ref().is_some_and(has), "a test does this");
    }

    fn die() -> ! {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}
