//! What became of a code that was sent.

use super::super::{Channel, Lang, when};

/// What became of a code that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Not handed to the carrier yet.
    Sending,
    /// The carrier has it.
    OnItsWay,
    /// It arrived.
    Delivered,
    /// It did not arrive.
    Failed,
    /// The number takes no texts: a landline.
    Landline,
    /// The number has blocked our texts.
    OptedOut,
    /// The number is not one that the product serves.
    Refused,
    /// The carrier side refuses more for now; the seconds until it accepts again, where known.
    Limited(Option<u64>),
    /// Nothing was sent yet: the account was paused, or a limit was full.
    NotSent,
    /// Handing over takes longer than five seconds.
    Slow,
    /// The code ended before it could be sent.
    Expired,
}

/// How serious a status line is. It chooses colour and icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Work is going on.
    Busy,
    /// It went well.
    Good,
    /// The user should do something else.
    Warning,
}

impl Tone {
    /// The word in the attribute `data-tone`, and in the field `tone` of the status answer.
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

    /// How serious it is. The status answer may carry the word in a field `tone`.
    pub const fn tone(self) -> Tone {
        match self {
            Self::Sending | Self::OnItsWay => Tone::Busy,
            Self::Delivered => Tone::Good,
            _ => Tone::Warning,
        }
    }

    /// Whether "We sent a code …" would be untrue.
    pub(crate) const fn was_never_sent(self) -> bool {
        matches!(self, Self::Landline | Self::OptedOut | Self::Refused | Self::Limited(_) | Self::NotSent)
    }
}
