//! The set-up wizard. The settings use the same pages to add a method.

mod app;
mod authenticator;
mod choose;
mod phone;
mod phone_code;
mod recovery_codes;
mod turn_on;

pub use app::AddApp;
pub use authenticator::AddAuthenticator;
pub use choose::{Backup, ChooseMethod};
pub use phone::{AddPhone, Country, PhoneError};
pub use phone_code::PhoneCode;
pub use recovery_codes::{NewRecoveryCodes, RecoveryCodes};
pub use turn_on::{ReadyMethod, SetUpDone, TurnOn};

use super::Page;

/// The position of a page: a step of the wizard, or the settings of an account that is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A step of the wizard: method, backup, turn on.
    Wizard {
        /// The number of the step, from 1.
        step: u32,
        /// The number of steps.
        of: u32,
    },
    /// The settings.
    Settings,
}

impl Place {
    /// "Step 1 of 3" in the wizard.
    pub(crate) fn step_text(self, page: &Page) -> Option<String> {
        match self {
            Self::Wizard { step, of } => Some((page.t().common.step_of)(step, of)),
            Self::Settings => None,
        }
    }
}

/// Formats a key or a code in groups of four. Separators in the input are removed.
pub(crate) fn grouped(code: &str, separator: char) -> String {
    let mut out = String::with_capacity(code.len() + code.len() / 4);
    for (place, symbol) in code.chars().filter(|c| c.is_alphanumeric()).enumerate() {
        if place > 0 && place % 4 == 0 {
            out.push(separator);
        }
        out.push(symbol);
    }
    out
}

/// Percent-encodes a value for a `data:` URL (RFC 3986).
pub(crate) fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
