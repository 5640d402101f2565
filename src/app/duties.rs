//! Periodic tasks of a process: heartbeats, sharing of rate limits, clock comparison, deletion of old rows, lengths of queues.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::broker::topology::{DEAD, QueueLengths};
use crate::config::live::Live;
use crate::delivery::rules::Rules;
use crate::ledger::{Backlog, Ledger, LedgerError, Receiver};
use crate::ops::metrics::Metrics;

/// Interval of heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which old rows are deleted and stray receipts are matched again.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(60);
/// After this time without a sign of the worker that does it, another one takes over.
const HOUSEKEEPING_LEASE: Duration = Duration::from_secs(150);

/// Above this number of dead letters, the log says what to do.
const MANY_DEAD_LETTERS: u32 = 10_000;

/// Reports the lengths of the queues as metrics. Warns once when there are many dead letters, and again after they were fewer.
pub(super) async fn queue_lengths(mut lengths: watch::Receiver<QueueLengths>, metrics: Arc<Metrics>) {
    let mut were_many = false;
    loop {
        let current = lengths.borrow_and_update().clone();
        for (queue, length) in &current {
            metrics.broker.set_queue(queue, length.messages, length.consumers);
        }
        let dead = current.get(DEAD).map_or(0, |length| length.messages);
        if warns(dead, &mut were_many) {
            tracing::warn!(
                messages = dead,
                "otpost.dead holds many dead letters: list their reasons with otpost dead list, then replay or drop them"
            );
        }
        if lengths.changed().await.is_err() {
            return;
        }
    }
}

/// Whether to warn about this number of dead letters. `were_many` holds whether the last number was too large.
fn warns(dead: u32, were_many: &mut bool) -> bool {
    let are_many = dead > MANY_DEAD_LETTERS;
    let begins = are_many && !*were_many;
    *were_many = are_many;
    begins
}

/// Records heartbeats, divides the rate limits by the number of live workers, and compares the clocks.
pub(super) async fn heartbeats(ledger: Ledger, name: String, rules: Live<Rules>, metrics: Arc<Metrics>) {
    let (mut tick, mut live_workers) = (tokio::time::interval(HEARTBEAT_INTERVAL), 1);
    loop {
        tick.tick().await;
        // During an outage the last share stays. `LedgerHealth` logs the outage.
        if let Ok(alive) = ledger.heartbeat(&name).await {
            live_workers = alive;
            rules.current().routes.share(alive);
        }
        metrics.process.set_workers(live_workers);
        let before = crate::domain::clock::now();
        if let Ok(theirs) = ledger.check().await {
            let after = crate::domain::clock::now();
            metrics.process.set_clock_ahead(clock_ahead(before, theirs, after));
        }
    }
}

/// Deletes old rows, matches stray receipts, and measures what waits, while no other worker does it. A slow or failed step is repeated
/// after a minute.
///
/// `receivers` returns the configured receivers of events. Events for others are forgotten after the retention time.
pub(super) async fn housekeeping(
    ledger: Ledger, worker: String, retention_days: u32, receivers: impl Fn() -> Vec<Receiver>,
    metrics: Arc<Metrics>,
) {
    let mut tick = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    loop {
        tick.tick().await;
        // Claimed before each step, because deleting many rows may take longer than the lease.
        let claims = async || ledger.claim_housekeeping(&worker, HOUSEKEEPING_LEASE).await.unwrap_or(false);
        if !claims().await {
            metrics.outbox.forget_waiting();
            continue;
        }
        match ledger.backlog().await {
            Ok(backlog) => show_backlog(&metrics, &backlog),
            // An old number would hide that nobody knows the current one.
            Err(_) => metrics.outbox.forget_waiting(),
        }
        let kept = Duration::from_secs(u64::from(retention_days) * 86_400);
        let before = ledger.now().checked_sub(kept).unwrap_or(jiff::Timestamp::MIN);
        let receivers = receivers();
        let is_full = |gone: Result<u64, LedgerError>| gone.is_ok_and(|gone| gone == 1000);
        while is_full(ledger.forget_events(before, &receivers, 1000).await) && claims().await {}
        while is_full(ledger.purge(before, 1000).await) && claims().await {}
        while is_full(ledger.purge_quotas(1000).await) && claims().await {}
        let _ = ledger.tidy_statistics().await;
        let by_attempt = ledger.match_strays().await.unwrap_or(0);
        let by_message_id = ledger.match_message_ids().await.map_or(0, |changed| changed.len());
        if by_attempt + by_message_id > 0 {
            tracing::info!(
                matched = by_attempt + by_message_id,
                "matched earlier receipts with their attempts"
            );
        }
    }
}

fn show_backlog(metrics: &Metrics, backlog: &Backlog) {
    let Backlog { due, broker, webhooks, given_up } = backlog;
    metrics.outbox.set_due(due.rows, due.oldest);
    metrics.outbox.set_outbox("broker", broker.rows, broker.oldest, 0);
    metrics.outbox.set_outbox("webhook", webhooks.rows, webhooks.oldest, *given_up);
}

/// The seconds by which this machine's clock is ahead at least. The ledger's clock was read between the two moments; a slow answer is no
/// sign of a wrong clock.
fn clock_ahead(before: jiff::Timestamp, theirs: jiff::Timestamp, after: jiff::Timestamp) -> f64 {
    let seconds = |from: jiff::Timestamp, to: jiff::Timestamp| to.duration_since(from).as_secs_f64();
    if theirs < before {
        seconds(theirs, before)
    } else if theirs > after {
        -seconds(after, theirs)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::{clock_ahead, warns};

    #[test]
    fn a_slow_answer_is_no_sign_of_a_wrong_clock() {
        let t = |second: i64| jiff::Timestamp::from_second(1_800_000_000 + second).unwrap();
        let ahead = [(0, 3, 8), (5, 3, 8), (0, 9, 8)].map(|(b, t_, a)| clock_ahead(t(b), t(t_), t(a)));
        assert_eq!(ahead.map(|seconds| seconds as i64), [0, 2, -1]);
    }

    /// Fails if each reading above the limit warns, or if a later increase does not.
    #[test]
    fn many_dead_letters_are_reported_once_until_they_are_fewer() {
        let mut were_many = false;
        let warned =
            [0, 10_000, 10_001, 20_000, 10_001, 9_000, 10_000, 10_001].map(|n| warns(n, &mut were_many));
        assert_eq!(warned, [false, false, true, false, false, false, false, true]);
    }
}
