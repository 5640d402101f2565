//! The names of methods, for several pages.

use super::Lang;

/// The kind of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// A telephone.
    Phone,
    /// An authenticator app.
    Totp,
    /// A mailbox.
    Email,
    /// The product's own app.
    App,
    /// A set of recovery codes.
    Recovery,
}

impl MethodKind {
    /// The name of the kind: "Phone", "Authenticator app".
    pub fn name(self, lang: Lang) -> &'static str {
        let texts = &lang.texts().methods;
        match self {
            Self::Phone => texts.phone,
            Self::Totp => texts.authenticator,
            Self::Email => texts.email,
            Self::App => texts.app,
            Self::Recovery => texts.recovery,
        }
    }

    /// The text for a trusted browser instead of a method.
    pub fn trusted_device(lang: Lang) -> &'static str {
        lang.texts().methods.trusted_device
    }

    /// The name of the icon.
    pub(crate) fn icon(self) -> &'static str {
        match self {
            Self::Phone | Self::App => "phone",
            Self::Totp => "key",
            Self::Email => "mail",
            Self::Recovery => "list",
        }
    }

    /// The masked target: "Number that ends in 42", the address, or nothing.
    pub fn place(self, lang: Lang, hint: &str) -> String {
        match self {
            Self::Phone if !hint.is_empty() => (lang.texts().sign_in.number)(hint),
            _ => hint.to_owned(),
        }
    }

    /// Kind and masked target, for a line of the history: "Phone · Number that ends in 42".
    pub fn describe(self, lang: Lang, hint: &str) -> String {
        let (name, place) = (self.name(lang), self.place(lang, hint));
        if place.is_empty() { name.to_owned() } else { format!("{name} · {place}") }
    }
}

/// The channel of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// By text message.
    Sms,
    /// By voice call.
    Voice,
    /// By e-mail.
    Email,
}

impl Channel {
    /// The value of the form field `channel`.
    pub const fn value(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Voice => "voice",
            Self::Email => "email",
        }
    }
}

/// How a user proves their identity. The names are the values of the result's claim `method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A code by text message.
    Sms,
    /// A code by voice call.
    Voice,
    /// A code of an authenticator app.
    Totp,
    /// A code by e-mail.
    Email,
    /// The product's own app: digits typed into it, or the code that it shows.
    App,
    /// A recovery code.
    Recovery,
}

impl Proof {
    /// The channel of the code; `None` if nothing is sent.
    pub const fn channel(self) -> Option<Channel> {
        match self {
            Self::Sms => Some(Channel::Sms),
            Self::Voice => Some(Channel::Voice),
            Self::Email => Some(Channel::Email),
            Self::Totp | Self::App | Self::Recovery => None,
        }
    }

    /// The value of the form field `proof`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Voice => "voice",
            Self::Totp => "totp",
            Self::Email => "email",
            Self::App => "app",
            Self::Recovery => "recovery",
        }
    }

    /// Reads the claim `method`.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Sms, Self::Voice, Self::Totp, Self::Email, Self::App, Self::Recovery]
            .into_iter()
            .find(|p| p.word() == word)
    }

    /// The name on pages: "Text message".
    pub fn name(self, lang: Lang) -> &'static str {
        let texts = &lang.texts().ways;
        match self {
            Self::Sms => texts.sms,
            Self::Voice => texts.voice,
            Self::Totp => texts.totp,
            Self::Email => texts.email,
            Self::App => texts.app,
            Self::Recovery => texts.recovery,
        }
    }

    /// Whether the code is sent over the telephone network, where it can be intercepted.
    pub(crate) const fn is_telephone(self) -> bool {
        matches!(self, Self::Sms | Self::Voice)
    }

    /// The name of the icon.
    pub(crate) const fn icon(self) -> &'static str {
        match self {
            Self::Sms => "text",
            Self::Voice => "call",
            Self::Totp => "key",
            Self::Email => "mail",
            Self::App => "phone",
            Self::Recovery => "list",
        }
    }
}
