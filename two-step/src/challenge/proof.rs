//! How a challenge was verified, and the strength of the proof.

use strum::{Display, EnumString, IntoStaticStr};

/// How a challenge was verified: the claim `method` of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Proof {
    /// A code by text message.
    Sms,
    /// A code by voice call.
    Voice,
    /// An authenticator's code.
    Totp,
    /// A code by e-mail.
    Email,
    /// The product's own app.
    App,
    /// A recovery code.
    Recovery,
    /// A trusted device, without a code.
    Trust,
}

impl Proof {
    /// Authentication method references: values of RFC 8176 if it has one, otherwise our own.
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

/// The strength of a proof: the claim `acr` of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Acr {
    /// A second factor was used now.
    Second,
    /// A second factor was used earlier on this device.
    Trusted,
    /// The account is off, and a code confirmed the user.
    Confirm,
    /// A recovery code was used.
    Recovery,
}
