//! Waiting for what gives no signal: asked again and again, and never beyond a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Nothing that a test waits for takes longer, unless it says so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_millis(20);

/// Asks until there is an answer; none when the time is over, even amid a question. Each no says when to ask again.
pub(crate) async fn as_told<T>(
    patience: Duration, mut ask: impl AsyncFnMut() -> Result<T, Duration>,
) -> Option<T> {
    let asking = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(again) => sleep(again).await,
            }
        }
    };
    timeout(patience, asking).await.ok()
}

/// The same, asked every 20 ms.
pub(crate) async fn within<T>(patience: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    as_told(patience, async || ask().await.ok_or(AGAIN)).await
}

/// Asks until there is an answer.
pub(crate) async fn answer<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, ask).await.unwrap_or_else(|| panic!("in vain: {what}"))
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
    assert!(within(time + PATIENCE, all).await.is_some(), "a look does not end");
}
