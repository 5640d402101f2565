//! Devices: browsers with our cookie, and the trust of accounts in them.
//!
//! A device's secret is derived from its id and its generation under a key outside the database. So a lost answer can be
//! repeated, and a replayed secret of an earlier generation is detected.

use std::time::Duration;

use jiff::Timestamp;
use strum::{Display, EnumString, IntoStaticStr};
use uuid::Uuid;

use crate::clock::after;

/// How long the previous secret stays valid after the new one was used, for a second tab or a slow answer.
pub const SECRET_OVERLAP: Duration = Duration::from_secs(60);
/// Life of the cookie.
pub const COOKIE_LIFE: Duration = Duration::from_secs(400 * 86400);

/// A browser with our cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The id. The result and the settings page name it.
    pub id: Uuid,
    /// The generation of its current secret.
    pub generation: i64,
    /// Until this time the secret is not rotated again, and the previous generation is valid.
    pub overlap_until: Timestamp,
    /// Browser and system in words.
    pub label: String,
    /// When it was last seen.
    pub seen_at: Timestamp,
    /// Whether an old secret was replayed. The device is not trusted any more.
    pub void: bool,
}

/// What a trust skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TrustKind {
    /// The device skips the second step of an account that is on.
    Trusted,
    /// The device skips the new-device check of an account that is off.
    Recognised,
}

/// The trust of one account in a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The id.
    pub id: Uuid,
    /// The device.
    pub device: Uuid,
    /// The account.
    pub account: Uuid,
    /// What it skips.
    pub kind: TrustKind,
    /// When it started.
    pub created_at: Timestamp,
    /// When it ends. Use does not extend it. `None`: it ends with sign-out or revocation only.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub used_at: Timestamp,
}

impl Trust {
    /// Returns whether it is valid at this time.
    pub fn holds(&self, kind: TrustKind, now: Timestamp) -> bool {
        self.kind == kind && self.expires_at.is_none_or(|end| now < end)
    }
}

/// The result of checking a device's cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// The current secret, or the previous one within its overlap.
    Good,
    /// An old secret: the cookie was copied.
    Replayed,
    /// A generation that was never issued.
    Unknown,
}

impl Device {
    /// Creates a device for a browser without a cookie.
    pub fn new(id: Uuid, label: &str, now: Timestamp) -> Self {
        Self { id, generation: 1, overlap_until: now, label: label.to_owned(), seen_at: now, void: false }
    }

    /// Checks the generation of a genuine cookie, and rotates the secret. The caller sets a cookie with the device's new
    /// generation.
    pub fn present(&mut self, generation: i64, now: Timestamp) -> Presented {
        let judged = self.judge(generation, now);
        match judged {
            Presented::Good => {
                self.seen_at = now;
                // The current secret shows that the browser has it. The previous one means that the last answer was lost,
                // or that another tab was faster. Then the current secret is sent again.
                if generation == self.generation && now >= self.overlap_until {
                    self.generation += 1;
                    self.overlap_until = after(now, SECRET_OVERLAP);
                }
            }
            Presented::Replayed => self.void = true,
            Presented::Unknown => {}
        }
        judged
    }

    fn judge(&self, generation: i64, now: Timestamp) -> Presented {
        match self.generation - generation {
            _ if self.void || generation < 1 => Presented::Unknown,
            0 | 1 => Presented::Good,
            2 if now < self.overlap_until => Presented::Good,
            2.. => Presented::Replayed,
            _ => Presented::Unknown,
        }
    }
}

/// When a trust that starts now ends. `None`: with sign-out or revocation only.
pub fn trust_until(life: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    life.map(|life| after(now, life))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(s: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(s))
    }

    #[test]
    fn two_tabs_and_a_lost_answer_do_not_harm_a_device() {
        let mut device = Device::new(Uuid::nil(), "", at(0));
        assert_eq!(device.present(1, at(100)), Presented::Good);
        assert_eq!(device.generation, 2);
        assert_eq!(device.present(1, at(100)), Presented::Good, "a second tab");
        assert_eq!(device.generation, 2, "it gets the same secret");
        assert_eq!(device.present(1, at(9000)), Presented::Good, "the answer was lost");
        assert_eq!(device.present(2, at(9001)), Presented::Good);
        assert_eq!((device.generation, device.present(1, at(9060))), (3, Presented::Good));
    }

    #[test]
    fn a_copied_cookie_ends_the_device_when_it_is_used_later() {
        let mut device = Device::new(Uuid::nil(), "", at(0));
        device.present(1, at(100));
        device.present(2, at(200));
        assert_eq!(device.present(1, at(261)), Presented::Replayed);
        assert_eq!(device.present(3, at(262)), Presented::Unknown, "void for everybody");
    }

    #[test]
    fn a_generation_from_the_future_is_unknown() {
        let mut device = Device::new(Uuid::nil(), "", at(0));
        assert_eq!(device.present(2, at(1)), Presented::Unknown);
        assert_eq!(device.present(0, at(1)), Presented::Unknown);
        assert!(!device.void);
    }

    proptest! {
        /// A browser that keeps the cookie of its last answer, with answers that get lost and tabs that overlap for less
        /// than a minute, is never taken for a thief.
        #[test]
        fn an_honest_browser_is_never_void(visits in prop::collection::vec((0u64..100_000, any::<bool>(), 0u64..50), 1..60)) {
            let mut device = Device::new(Uuid::nil(), "", at(0));
            let (mut cookie, mut now) = (1, 0);
            for (pause, lost, tab_delay) in visits {
                now += pause;
                let before = cookie;
                prop_assert_eq!(device.present(cookie, at(now)), Presented::Good);
                if !lost { cookie = device.generation; }
                now += tab_delay;
                prop_assert_eq!(device.present(before, at(now)), Presented::Good);
            }
        }
    }
}
