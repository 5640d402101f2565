//! The magic numbers: the last four digits of a number select the outcome of a text or call.

use serde::Serialize;

use crate::outcome::Outcome::{
    Busy, CallFailed, Deliver, Failed, HangUp, Hold, InvalidNumber, LateDelivery, Machine, NoAnswer, NoKey,
    NoPermission, NotMobile, ReceiptFirst, ServerError, Silent, Slow, Throttle, Unauthorized, Unavailable,
    Undelivered, Unsubscribed,
};
use crate::outcome::{Channel, Outcome};

/// One row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct MagicNumber {
    /// The last four digits of the number.
    pub(crate) ends: &'static str,
    /// Outcomes of texts in order. After the last one they restart.
    pub(crate) sms: &'static [Outcome],
    /// The same for calls.
    pub(crate) voice: &'static [Outcome],
    /// The row in one sentence, for the page.
    pub(crate) says: &'static str,
}

const fn row(
    ends: &'static str, sms: &'static [Outcome], voice: &'static [Outcome], says: &'static str,
) -> MagicNumber {
    MagicNumber { ends, sms, voice, says }
}

/// The outcome of all other numbers.
static PLAIN: &[Outcome] = &[Outcome::Deliver];

static TWICE_UNAVAILABLE: &[Outcome] = &[Unavailable, Unavailable, Deliver];
static HANG_UP_ONCE: &[Outcome] = &[HangUp, Deliver];
static HOLD_ONCE: &[Outcome] = &[Hold { seconds: 60 }, Deliver];
static THROTTLE_ONCE: &[Outcome] = &[Throttle { retry_after_s: 1 }, Deliver];
static THROTTLE_LONG: &[Outcome] = &[Throttle { retry_after_s: 600 }];
static SLOW: &[Outcome] = &[Slow { ms: 2_000 }];

/// The table.
#[rustfmt::skip]
pub(crate) static MAGIC: &[MagicNumber] = &[
    row("0102", &[Undelivered { error_code: Some(30003) }], PLAIN, "Text: undelivered, the phone is off (30003)."),
    row("0103", &[Failed { error_code: Some(30007) }], PLAIN, "Text: failed, filtered as unwanted (30007)."),
    row("0104", &[Silent], PLAIN, "Text: accepted; no callback is sent."),
    row("0105", TWICE_UNAVAILABLE, TWICE_UNAVAILABLE, "503 twice, then accepted; over again after that."),
    row("0106", HANG_UP_ONCE, HANG_UP_ONCE, "Accepted, then the connection is closed without an answer; the next request is normal."),
    row("0107", HOLD_ONCE, HOLD_ONCE, "Accepted, but never answered; the next request is normal."),
    row("0108", THROTTLE_ONCE, THROTTLE_ONCE, "429 with Retry-After: 1; the next request is normal."),
    row("0109", THROTTLE_LONG, THROTTLE_LONG, "429 with Retry-After: 600, always."),
    row("0110", &[InvalidNumber], PLAIN, "Text: refused, the number is not valid (21211)."),
    row("0111", &[NotMobile], PLAIN, "Text: refused, a landline (21614)."),
    row("0112", &[Unsubscribed], PLAIN, "Text: refused, the person unsubscribed (21610)."),
    row("0113", &[NoPermission], &[NoPermission], "Refused, the region is not enabled (21408, calls 21215)."),
    row("0114", &[Unauthorized], &[Unauthorized], "401, wrong credentials (20003)."),
    row("0115", &[ServerError], &[ServerError], "500, always; nothing was accepted."),
    row("0116", SLOW, SLOW, "Answered after 2 seconds, then delivered."),
    row("0117", &[ReceiptFirst], PLAIN, "Text: the delivered callback is sent before the answer."),
    row("0118", &[LateDelivery], PLAIN, "Text: undelivered (30003), and delivered a moment later."),
    row("0119", &[Unavailable], &[Unavailable], "503, always."),
    row("0121", PLAIN, &[Busy], "Call: busy."),
    row("0122", PLAIN, &[NoAnswer], "Call: not answered."),
    row("0123", PLAIN, &[CallFailed { sip_response_code: 404 }], "Call: failed, SIP response 404."),
    row("0124", PLAIN, &[Machine], "Call: an answering machine picks up."),
    row("0125", PLAIN, &[NoKey], "Call: a person answers and presses no key."),
    row("0126", &[HangUp], &[HangUp], "Accepted, then the connection is closed without an answer, every time."),
];

/// Returns the outcomes of a number, which repeat in order.
pub(crate) fn outcomes(channel: Channel, digits: &str) -> &'static [Outcome] {
    let Some(row) = MAGIC.iter().find(|row| digits.ends_with(row.ends)) else {
        return PLAIN;
    };
    match channel {
        Channel::Sms => row.sms,
        Channel::Voice => row.voice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_four_digits_of_a_number_count() {
        assert_eq!(outcomes(Channel::Sms, "447700900119"), &[Unavailable]);
        assert_eq!(outcomes(Channel::Sms, "14155550119"), &[Unavailable]);
        assert_eq!(outcomes(Channel::Sms, "447701190000"), PLAIN);
    }

    #[test]
    fn no_last_digits_are_listed_twice() {
        for (i, row) in MAGIC.iter().enumerate() {
            assert!(MAGIC[i + 1..].iter().all(|other| other.ends != row.ends), "{}", row.ends);
        }
    }
}
