//! An account: one user of one product, and its pauses after wrong codes.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::after;

/// Whether two-step verification is on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// Off: the password suffices.
    Off,
    /// On: sign-ins need a second step.
    On,
    /// On, and a support case that turns it off is waiting.
    OffDue,
}

/// One user of one product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The id.
    pub id: Uuid,
    /// The product's name in the configuration.
    pub product: String,
    /// The product's id of the user; opaque to us.
    pub user_ref: String,
    /// Whether two-step verification is on.
    pub state: AccountState,
    /// Wrong codes since the last right one, over all challenges.
    pub wrong: u32,
    /// No code is checked before this time.
    pub paused_until: Option<Timestamp>,
    /// BCP 47 tag of the language that the user chose last, or that the product named last.
    pub locale: Option<String>,
    /// When the account was created.
    pub created_at: Timestamp,
    /// How often the account was turned on or off. Support cases and sessions with an older value are void.
    pub version: i64,
}

/// Number of wrong codes in a row, and how long each pauses the account. The last pause repeats after every five more.
const PAUSES: [(u32, Duration); 4] = [
    (5, Duration::from_secs(60)),
    (10, Duration::from_secs(5 * 60)),
    (15, Duration::from_secs(15 * 60)),
    (20, Duration::from_secs(60 * 60)),
];
const PAUSE_STEP: u32 = 5;

impl Account {
    /// Creates an account that is off.
    pub fn new(id: Uuid, product: &str, user_ref: &str, now: Timestamp) -> Self {
        Self {
            id,
            product: product.to_owned(),
            user_ref: user_ref.to_owned(),
            state: AccountState::Off,
            wrong: 0,
            paused_until: None,
            locale: None,
            created_at: now,
            version: 0,
        }
    }

    /// Returns whether sign-ins need a second step.
    pub fn is_on(&self) -> bool {
        self.state != AccountState::Off
    }

    /// Returns when the pause ends, or `None` if the account is not paused.
    pub fn pause(&self, now: Timestamp) -> Option<Timestamp> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Counts a wrong code. Returns when the pause ends, if this code started one.
    pub fn count_wrong(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.wrong = self.wrong.saturating_add(1);
        let pause = pause_after(self.wrong)?;
        self.paused_until = Some(after(now, pause));
        self.paused_until
    }

    /// Resets the count of wrong codes after a right one.
    pub fn count_right(&mut self) {
        self.wrong = 0;
        self.paused_until = None;
    }
}

/// The length of the pause that starts with this many wrong codes in a row.
pub fn pause_after(wrong: u32) -> Option<Duration> {
    if wrong == 0 || !wrong.is_multiple_of(PAUSE_STEP) {
        return None;
    }
    PAUSES.iter().rev().find(|(at, _)| wrong >= *at).map(|(_, pause)| *pause)
}

/// Returns whether a text is a valid user id: 1 to 128 characters, without control characters and `@`.
pub fn is_user_ref(text: &str) -> bool {
    (1..=128).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control() || c == '@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_minute_to_an_hour_and_a_right_code_ends_them() {
        let now = Timestamp::UNIX_EPOCH;
        let mut account = Account::new(Uuid::nil(), "shop", "u1", now);
        let pauses: Vec<u64> = (1..=30)
            .filter_map(|_| account.count_wrong(now))
            .map(|until| crate::clock::between(now, until).as_secs() / 60)
            .collect();
        assert_eq!(pauses, [1, 5, 15, 60, 60, 60]);
        account.count_right();
        assert_eq!((account.wrong, account.pause(now)), (0, None));
    }

    #[test]
    fn user_ids_with_a_nul_an_at_sign_or_129_characters_are_refused() {
        for bad in ["", "a\0b", "a@b", "a\nb", &"x".repeat(129)] {
            assert!(!is_user_ref(bad), "{bad:?}");
        }
        assert!(is_user_ref("Ünal/42") && is_user_ref(&"ü".repeat(128)));
    }
}
