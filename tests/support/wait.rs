//! Polling with a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Default time limit.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Repeats the attempt until it returns `Ok`. Returns `None` after the time limit, even during an attempt.
/// `Err` is the pause before the next attempt.
pub(crate) async fn retry<T>(
    time_limit: Duration, mut attempt: impl AsyncFnMut() -> Result<T, Duration>,
) -> Option<T> {
    let attempts = async {
        loop {
            match attempt().await {
                Ok(answer) => return answer,
                Err(again) => sleep(again).await,
            }
        }
    };
    timeout(time_limit, attempts).await.ok()
}

/// The same, every 20 ms.
pub(crate) async fn within<T>(
    time_limit: Duration, mut attempt: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    retry(time_limit, async || attempt().await.ok_or(POLL_INTERVAL)).await
}

/// Repeats the attempt until it returns a value. Panics after the default time limit.
pub(crate) async fn answer<T>(what: &str, attempt: impl AsyncFnMut() -> Option<T>) -> T {
    within(TIMEOUT, attempt).await.unwrap_or_else(|| panic!("timed out: {what}"))
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    answer(what, async || holds().await.then_some(())).await;
}

/// Repeats a check for this time. Panics if a check hangs.
pub(crate) async fn throughout(time: Duration, mut look: impl AsyncFnMut()) {
    let end = Instant::now() + time;
    let all = async || {
        look().await;
        (Instant::now() >= end).then_some(())
    };
    assert!(within(time + TIMEOUT, all).await.is_some(), "a check hangs");
}
