//! Waiting for what gives no signal: asked again and again, and never beyond a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Nothing that a test waits for takes longer, unless it says so.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Asks until there is an answer; none when the time is over, even amid a question. Each no says when to attempt again.
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

/// The same, asked every 20 ms.
pub(crate) async fn within<T>(
    time_limit: Duration, mut attempt: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    retry(time_limit, async || attempt().await.ok_or(POLL_INTERVAL)).await
}

/// Asks until there is an answer.
pub(crate) async fn answer<T>(what: &str, attempt: impl AsyncFnMut() -> Option<T>) -> T {
    within(TIMEOUT, attempt).await.unwrap_or_else(|| panic!("in vain: {what}"))
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    answer(what, async || holds().await.then_some(())).await;
}

/// Looks again and again, for so long; a look that does not end fails.
pub(crate) async fn throughout(time: Duration, mut look: impl AsyncFnMut()) {
    let end = Instant::now() + time;
    let all = async || {
        look().await;
        (Instant::now() >= end).then_some(())
    };
    assert!(within(time + TIMEOUT, all).await.is_some(), "a look does not end");
}
