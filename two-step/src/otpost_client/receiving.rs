//! Opens the stream of otpost's events again after each failure, until shutdown.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use super::OtpostUnavailable;

/// Upper bound of the pause between two connections.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Runs `receive` again and again. A stream that lasted longer than `healthy_after` starts the back-off anew.
pub(super) async fn receive_until_stopped<F: Future<Output = Result<(), OtpostUnavailable>>>(
    stop: &CancellationToken, healthy_after: Duration, receive: impl Fn() -> F,
) {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(MAX_PAUSE)
        .with_jitter()
        .without_max_times();
    let mut pause = pauses.build();
    loop {
        let began = tokio::time::Instant::now();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = receive() => ended,
        };
        if began.elapsed() > healthy_after {
            pause = pauses.build();
        }
        let wait = pause.next().unwrap_or(MAX_PAUSE);
        if let Err(OtpostUnavailable(reason)) = ended {
            tracing::warn!(
                reason,
                retry_ms = wait.as_millis() as u64,
                "the otpost event stream failed; it is opened again"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
