//! Waiting for what gives no signal: asked again and again, and never beyond a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Nothing that a test waits for takes longer, unless it says so.
const PATIENCE: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_millis(20);

/// Asks until there is an answer; none when the time is over, even amid a question.
pub(crate) async fn within<T>(patience: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(AGAIN).await;
        }
    };
    timeout(patience, asking).await.ok()
}

/// Asks until there is an answer.
pub(crate) async fn answer<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, ask).await.unwrap_or_else(|| panic!("in vain: {what}"))
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    answer(what, async || holds().await.then_some(())).await;
}

/// Looks again and again, for so long.
pub(crate) async fn throughout(time: Duration, mut look: impl AsyncFnMut()) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        look().await;
        sleep(AGAIN).await;
    }
}
