//! Devices: browsers with our cookie, and what they are trusted for.
//!
//! A device's secret follows from its id and its generation under a key outside the database, so a lost answer can be
//! given again, and a secret of any earlier generation is recognised when somebody replays it.

use std::time::Duration;

use jiff::Timestamp;
use strum::{Display, EnumString, IntoStaticStr};
use uuid::Uuid;

use crate::clock::after;

/// How long the secret of the generation before stays good after the new one was used: a second tab, a slow answer.
pub const OVERLAP: Duration = Duration::from_secs(60);
/// Life of the cookie.
pub const COOKIE_LIFE: Duration = Duration::from_secs(400 * 86400);

/// A browser that has our cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Our id; the result and the settings page name it.
    pub id: Uuid,
    /// The generation of its secret.
    pub generation: i64,
    /// Until when the secret is not rotated again, and the generation before the previous one is still good.
    pub overlap_until: Timestamp,
    /// Browser and system, for people.
    pub label: String,
    /// When it was last seen.
    pub seen_at: Timestamp,
    /// Whether an old secret was replayed: it is trusted for nothing any more.
    pub void: bool,
}

/// What a trust allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TrustKind {
    /// The device skips the second step of an account that is on.
    Trusted,
    /// The device skips the new-device check of an account that is off.
    Recognised,
}

/// A device skips the second step for one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Our id.
    pub id: Uuid,
    /// Which device.
    pub device: Uuid,
    /// For which account.
    pub account: Uuid,
    /// What it allows.
    pub kind: TrustKind,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends; use does not extend it. None: with sign-out or revocation only.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub used_at: Timestamp,
}

impl Trust {
    /// Whether it still holds.
    pub fn holds(&self, kind: TrustKind, now: Timestamp) -> bool {
        self.kind == kind && self.expires_at.is_none_or(|end| now < end)
    }
}

/// What the secret of a cookie says about its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// The current secret, or the one before within its overlap.
    Good,
    /// An old secret: somebody has a copy of the cookie.
    Replayed,
    /// A generation that was never given out.
    Unknown,
}

impl Device {
    /// A browser that gets its first secret now.
    pub fn new(id: Uuid, label: &str, now: Timestamp) -> Self {
        Self { id, generation: 1, overlap_until: now, label: label.to_owned(), seen_at: now, void: false }
    }

    /// Judges the generation that a genuine cookie names, and rotates the secret. The cookie to give back has the
    /// generation that the device has afterwards.
    pub fn present(&mut self, generation: i64, now: Timestamp) -> Presented {
        let judged = self.judge(generation, now);
        match judged {
            Presented::Good => {
                self.seen_at = now;
                // The current secret arrived, so the browser has it. An older one means that the last answer was lost,
                // or that another tab was quicker: the current secret is given again.
                if generation == self.generation && now >= self.overlap_until {
                    self.generation += 1;
                    self.overlap_until = after(now, OVERLAP);
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

/// When a trust that begins now ends; none: with sign-out or revocation only.
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
