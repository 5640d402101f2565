//! The delivery state of a code.

use super::super::{Channel, Lang, when};

/// The delivery state of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// No carrier has accepted it yet.
    Sending,
    /// The carrier has accepted it.
    OnItsWay,
    /// Delivered.
    Delivered,
    /// Not delivered.
    Failed,
    /// The number cannot receive texts, such as a landline.
    Landline,
    /// The number has blocked our texts.
    OptedOut,
    /// The number is not allowed.
    Refused,
    /// otpost refuses more messages for now. Seconds until it accepts the next one, if known.
    Limited(Option<u64>),
    /// Nothing was sent yet, because the account was paused or a limit was reached.
    NotSent,
    /// Sending takes longer than five seconds.
    Slow,
    /// The code expired before it could be sent.
    Expired,
}

/// The severity of a status line. It determines colour and icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// In progress.
    Busy,
    /// Success.
    Good,
    /// The user should choose another method.
    Warning,
}

impl Tone {
    /// The value of the attribute `data-tone`, and of the field `tone` of the status answer.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Good => "good",
            Self::Warning => "warning",
        }
    }
}

impl Delivery {
    /// The sentence for the page and for the field `delivery` of the status answer.
    pub fn text(self, lang: Lang, channel: Channel) -> String {
        let texts = &lang.texts().delivery;
        let by = |sms: &str, voice: &str, email: &str| match channel {
            Channel::Sms => sms.to_owned(),
            Channel::Voice => voice.to_owned(),
            Channel::Email => email.to_owned(),
        };
        match self {
            Self::Sending => by(texts.sms_sending, texts.voice_sending, texts.email_sending),
            Self::OnItsWay => by(texts.sms_on_its_way, texts.voice_on_its_way, texts.email_on_its_way),
            Self::Delivered => by(texts.sms_delivered, texts.voice_delivered, texts.email_delivered),
            Self::Failed => by(texts.sms_failed, texts.voice_failed, texts.email_failed),
            Self::Landline => texts.landline.to_owned(),
            Self::OptedOut => texts.opted_out.to_owned(),
            Self::Refused => texts.refused.to_owned(),
            Self::Limited(Some(seconds)) => (texts.limited_until)(&when::wait(lang, seconds)),
            Self::Limited(None) => texts.limited.to_owned(),
            Self::NotSent => texts.not_sent.to_owned(),
            Self::Slow => texts.slow.to_owned(),
            Self::Expired => texts.expired.to_owned(),
        }
    }

    /// The severity. The status answer may carry the word in a field `tone`.
    pub const fn tone(self) -> Tone {
        match self {
            Self::Sending | Self::OnItsWay => Tone::Busy,
            Self::Delivered => Tone::Good,
            _ => Tone::Warning,
        }
    }

    /// Whether the sentence "We sent a code …" would be false.
    pub(crate) const fn was_never_sent(self) -> bool {
        matches!(self, Self::Landline | Self::OptedOut | Self::Refused | Self::Limited(_) | Self::NotSent)
    }
}
