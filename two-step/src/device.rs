//! Devices: browsers with our cookie, and the accounts that trust them.
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
    /// The id. It is in results, and on the settings page.
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

/// The check that a trust replaces.
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
    /// The check that it replaces.
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
pub enum DeviceCheck {
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
    pub fn check_and_rotate(&mut self, generation: i64, now: Timestamp) -> DeviceCheck {
        let judged = self.judge(generation, now);
        match judged {
            DeviceCheck::Good => {
                self.seen_at = now;
                // The current secret shows that the browser has it. The previous one means that the last answer was lost,
                // or that another tab was faster. Then the current secret is sent again.
                if generation == self.generation && now >= self.overlap_until {
                    self.generation += 1;
                    self.overlap_until = after(now, SECRET_OVERLAP);
                }
            }
            DeviceCheck::Replayed => self.void = true,
            DeviceCheck::Unknown => {}
        }
        judged
    }

    fn judge(&self, generation: i64, now: Timestamp) -> DeviceCheck {
        match self.generation - generation {
            _ if self.void || generation < 1 => DeviceCheck::Unknown,
            0 | 1 => DeviceCheck::Good,
            2 if now < self.overlap_until => DeviceCheck::Good,
            2.. => DeviceCheck::Replayed,
            _ => DeviceCheck::Unknown,
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
    fn two_tabs_and_a_lost_answer_do_not_void_a_device() {
        let mut device = Device::new(Uuid::nil(), "", at(0));
        assert_eq!(device.check_and_rotate(1, at(100)), DeviceCheck::Good);
        assert_eq!(device.generation, 2);
        assert_eq!(device.check_and_rotate(1, at(100)), DeviceCheck::Good, "a second tab");
        assert_eq!(device.generation, 2, "it gets the same secret");
        assert_eq!(device.check_and_rotate(1, at(9000)), DeviceCheck::Good, "the answer was lost");
        assert_eq!(device.check_and_rotate(2, at(9001)), DeviceCheck::Good);
        assert_eq!((device.generation, device.check_and_rotate(1, at(9060))), (3, DeviceCheck::Good));
    }

    #[test]
    fn replaying_a_copied_cookie_voids_the_device() {
        let mut device = Device::new(Uuid::nil(), "", at(0));
        device.check_and_rotate(1, at(100));
        device.check_and_rotate(2, at(200));
        assert_eq!(device.check_and_rotate(1, at(261)), DeviceCheck::Replayed);
        assert_eq!(device.check_and_rotate(3, at(262)), DeviceCheck::Unknown, "void for everybody");
    }

    #[test]
    fn a_generation_from_the_future_is_unknown() {
        let mut device = Device::new(Uuid::nil(), "", at(0));
        assert_eq!(device.check_and_rotate(2, at(1)), DeviceCheck::Unknown);
        assert_eq!(device.check_and_rotate(0, at(1)), DeviceCheck::Unknown);
        assert!(!device.void);
    }

    proptest! {
        /// A browser that keeps the cookie of its last answer, with lost answers and tabs that overlap for less than a
        /// minute, is never treated as an attacker.
        #[test]
        fn an_honest_browser_is_never_void(visits in prop::collection::vec((0u64..100_000, any::<bool>(), 0u64..50), 1..60)) {
            let mut device = Device::new(Uuid::nil(), "", at(0));
            let (mut cookie, mut now) = (1, 0);
            for (pause, lost, tab_delay) in visits {
                now += pause;
                let before = cookie;
                prop_assert_eq!(device.check_and_rotate(cookie, at(now)), DeviceCheck::Good);
                if !lost { cookie = device.generation; }
                now += tab_delay;
                prop_assert_eq!(device.check_and_rotate(before, at(now)), DeviceCheck::Good);
            }
        }
    }
}
