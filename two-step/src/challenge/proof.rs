//! How a challenge was proved, and what the proof is worth to the product.

use strum::{Display, EnumString, IntoStaticStr};

/// How a challenge was proved: the claim `method` of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Proof {
    /// A code by text.
    Sms,
    /// A code by call.
    Voice,
    /// An authenticator's code.
    Totp,
    /// A code by e-mail.
    Email,
    /// The product's own app.
    App,
    /// A recovery code.
    Recovery,
    /// A trusted device: nothing was typed.
    Trust,
}

impl Proof {
    /// Authentication method references: those of RFC 8176 where it has one, else our own words.
    pub fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Sms => &["otp", "sms"],
            Self::Voice => &["otp", "tel"],
            Self::Totp => &["otp"],
            Self::Email => &["otp", "email"],
            Self::App => &["swk"],
            Self::Recovery => &["recovery"],
            Self::Trust => &["device"],
        }
    }
}

/// What a proof is worth: the claim `acr` of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Acr {
    /// A second factor was shown now.
    Second,
    /// A second factor was shown earlier on this device.
    Trusted,
    /// The account is off, and the user was confirmed by a code.
    Confirm,
    /// A recovery code was used.
    Recovery,
}
