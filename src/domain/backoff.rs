//! Waiting times between attempts. Each end time is computed only from the row, so an early wake-up does not change it.

use std::time::Duration;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Upper bound of the first back-off. Each further round doubles it.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Upper bound of every back-off.
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// Snooze lengths in seconds, used after a carrier throttled a request or had no room.
const SNOOZES_S: [u64; 4] = [1, 2, 5, 15];

/// Returns the wait after round `round`, counted from 1. In a round every usable carrier is tried once. `n` is the last attempt
/// of the round. The wait has full jitter, with an upper bound that doubles from 1 s to 15 s.
pub fn backoff(uid: Uuid, n: u16, round: u32) -> Duration {
    let bound = FIRST_BACKOFF.saturating_mul(1 << round.saturating_sub(1).min(8)).min(MAX_BACKOFF);
    bound.mul_f64(jitter(uid, n))
}

/// Returns the length of the n-th snooze (from 1): 1, 2, 5, then 15 s.
pub fn snooze_length(nth: u32) -> Duration {
    let i = nth.saturating_sub(1).min(SNOOZES_S.len() as u32 - 1);
    Duration::from_secs(SNOOZES_S[i as usize])
}

/// Returns a number in 0..1 that is derived from the attempt's id, so repeated calls return the same number.
fn jitter(uid: Uuid, n: u16) -> f64 {
    let hash = Sha256::new().chain_update(uid.as_bytes()).chain_update(n.to_be_bytes()).finalize();
    let mut word = [0; 4];
    word.copy_from_slice(&hash[..4]);
    f64::from(u32::from_be_bytes(word)) / 2f64.powi(32)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::{backoff, snooze_length};

    #[test]
    fn backoff_is_jittered_bounded_and_the_same_for_everyone() {
        let uid = Uuid::from_u128(7);
        for round in 1..12 {
            let bound = Duration::from_secs(1 << (round - 1).min(4)).min(Duration::from_secs(15));
            for n in 1..20 {
                let d = backoff(uid, n, round);
                assert!(d < bound.max(Duration::from_secs(1)), "round {round} attempt {n}: {d:?}");
                assert_eq!(d, backoff(uid, n, round));
            }
        }
        let spread: std::collections::BTreeSet<_> =
            (1..50).map(|n| backoff(uid, n, 5).as_millis() / 1000).collect();
        assert!(spread.len() > 8, "full jitter spreads over the whole window: {spread:?}");
    }

    #[test]
    fn snoozes_are_one_two_five_fifteen() {
        assert_eq!([1, 2, 3, 4, 9].map(|n| snooze_length(n).as_secs()), [1, 2, 5, 15, 15]);
    }
}
