//! The buttons that send a code, and the checkbox that trusts the device.

use super::super::{Channel, Lang, when};
use super::Delivery;

/// Whether a code can be sent, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Not offered: the button is not shown.
    Hidden,
    /// Allowed now.
    Now,
    /// Allowed in this many seconds. The button is shown disabled.
    In(u64),
    /// Not allowed any more. A sentence says so instead of a button.
    UsedUp,
}

impl Offer {
    /// Creates an offer that starts in `seconds`; 0 means now.
    pub const fn after(seconds: u64) -> Self {
        if seconds == 0 { Self::Now } else { Self::In(seconds) }
    }

    /// The seconds to wait; `None` if the button is enabled.
    pub(crate) const fn wait(self) -> Option<u64> {
        match self {
            Self::In(seconds) => Some(seconds),
            _ => None,
        }
    }

    /// Whether the button is shown.
    pub(crate) const fn is_shown(self) -> bool {
        matches!(self, Self::Now | Self::In(_))
    }
}

/// The buttons that send a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sends {
    /// "Send again"; for a call, "Call again".
    pub again: Offer,
    /// "Call me instead", for a text; hidden for everything else.
    pub call: Offer,
    /// "Send a text instead", for a call; hidden for everything else.
    pub text: Offer,
}

/// One button that sends a code.
#[derive(Debug, Clone)]
pub(crate) struct SendButton {
    /// The value of the field `channel`.
    pub(crate) channel: &'static str,
    /// The label of the button.
    pub(crate) label: &'static str,
    /// The name of the icon.
    pub(crate) icon: &'static str,
    /// "You can ask again in 25 s", and the seconds; `None` if the button is enabled.
    pub(crate) wait: Option<(String, u64)>,
}

impl Sends {
    /// Creates no button, for methods that send nothing.
    pub const NONE: Self = Self { again: Offer::Hidden, call: Offer::Hidden, text: Offer::Hidden };

    /// Creates the buttons for a code of this channel and delivery state.
    pub(crate) fn buttons(self, lang: Lang, channel: Channel, delivery: Option<Delivery>) -> Vec<SendButton> {
        let texts = &lang.texts().sign_in;
        let again = match (delivery, channel) {
            (Some(Delivery::NotSent | Delivery::Limited(_)), _) => texts.send_first,
            (_, Channel::Voice) => texts.call_again,
            _ => texts.send_again,
        };
        let all = [
            (channel.value(), again, "again", self.again),
            ("voice", texts.call_instead, "call", self.call),
            ("sms", texts.text_instead, "text", self.text),
        ];
        let shown = all.into_iter().filter(|(.., offer)| offer.is_shown());
        let button = |(channel, label, icon, offer): (_, _, _, Offer)| {
            let wait = offer.wait().map(|s| ((texts.ask_again_in)(&when::wait(lang, s)), s));
            SendButton { channel, label, icon, wait }
        };
        shown.map(button).collect()
    }

    /// Whether no code can be sent any more.
    pub(crate) fn are_used_up(self) -> bool {
        self.again == Offer::UsedUp && !self.call.is_shown() && !self.text.is_shown()
    }
}

/// The checkbox "Trust this device".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The product does not allow it.
    Hidden,
    /// For this many days.
    Days(u32),
    /// Until the user signs out.
    UntilSignOut,
}

impl Trust {
    /// The label of the checkbox; `None` if it is hidden.
    pub(crate) fn label(self, lang: Lang) -> Option<String> {
        let texts = &lang.texts().sign_in;
        match self {
            Self::Hidden => None,
            Self::Days(days) => Some((texts.trust_days)(days)),
            Self::UntilSignOut => Some(texts.trust_until_sign_out.to_owned()),
        }
    }
}
