//! Why an entry was refused.

use super::super::{Lang, when};

/// Why an entry was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryError {
    /// The code is wrong.
    Wrong {
        /// Entries left.
        left: u32,
    },
    /// The code has expired.
    Expired,
    /// The entry does not have six digits. It was not counted.
    NotSixDigits,
    /// The entry does not have the 16 characters of a recovery code. It was not counted.
    NotRecoveryCode,
    /// The account is paused.
    Paused {
        /// Seconds until it ends.
        seconds: u64,
    },
    /// The authenticator's clock is behind. The entry counted as wrong.
    ClockBehind {
        /// Minutes of difference.
        minutes: u32,
        /// Entries left.
        left: u32,
    },
    /// The authenticator's clock is ahead. The entry counted as wrong.
    ClockAhead {
        /// Minutes of difference.
        minutes: u32,
        /// Entries left.
        left: u32,
    },
}

impl EntryError {
    /// The sentence next to the field.
    pub fn text(self, lang: Lang) -> String {
        let texts = &lang.texts().entry_error;
        match self {
            Self::Wrong { left } => format!("{} {}", texts.wrong, (texts.tries_left)(left)),
            Self::Expired => texts.expired.to_owned(),
            Self::NotSixDigits => texts.not_six_digits.to_owned(),
            Self::NotRecoveryCode => texts.not_recovery_code.to_owned(),
            Self::Paused { seconds } => (texts.paused)(&when::wait(lang, seconds)),
            Self::ClockBehind { minutes, left } => {
                format!("{} {}", (texts.clock_behind)(minutes), (texts.tries_left)(left))
            }
            Self::ClockAhead { minutes, left } => {
                format!("{} {}", (texts.clock_ahead)(minutes), (texts.tries_left)(left))
            }
        }
    }
}
