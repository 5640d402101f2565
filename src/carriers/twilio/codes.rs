//! Twilio's error codes, and what an operator can do about them.
//!
//! Source: twilio.com/docs/api/errors.

use crate::domain::attempt::{Judgement, Outcome, Reason, RefusalScope};

/// The callback URL is not valid.
const CALLBACK_REFUSED: i64 = 21609;
/// The account's daily limit of messages is reached. The answer has status 429.
const DAILY_LIMIT: i64 = 63038;

/// This number has received too many messages. The answer has status 429, but a retry does not help.
pub(super) const TOO_MANY_TO_NUMBER: i64 = 60203;

/// The account's geographic permissions lack the country: for texts, for calls, and for SIP.
const COUNTRY_REFUSED: [i64; 4] = [21408, 21215, 13227, 32205];
/// The sender is not valid, is not the account's, or cannot send to this country.
const SENDER_REFUSED: [i64; 10] = [21212, 21606, 21657, 21659, 21660, 21703, 21704, 21705, 21210, 21267];
/// A trial account sends to verified numbers only.
const TRIAL: [i64; 2] = [21608, 21219];

/// Whether the country or the sender is refused, and not the whole account.
fn is_narrow(code: i64) -> bool {
    COUNTRY_REFUSED.contains(&code) || SENDER_REFUSED.contains(&code) || TRIAL.contains(&code)
}

/// Maps error codes of the send call to outcomes.
pub(super) fn outcome_of_code(code: i64) -> Option<Outcome> {
    Some(match code {
        21211 | 21217 => Outcome::Rejected(Reason::InvalidNumber),
        21614 | 21635 => Outcome::Rejected(Reason::Landline),
        21610 => Outcome::Rejected(Reason::OptedOut),
        // With 60410, Twilio suspects fraud and blocks the destination.
        21214 | 21216 | 60410 => Outcome::Rejected(Reason::Blocked),
        // Only this request is refused: another sender or carrier may accept it.
        21612 | 21617 | 21619 | 21603 | 21624 | TOO_MANY_TO_NUMBER | 90007 => {
            Outcome::Rejected(Reason::Request)
        }
        code if is_narrow(code) => Outcome::Misconfigured(RefusalScope::Narrow),
        // The account, its callback URL, or its daily limit.
        20003 | 20404 | 20005 | CALLBACK_REFUSED | DAILY_LIMIT => {
            Outcome::Misconfigured(RefusalScope::Account)
        }
        20429 | 21611 => Outcome::Throttled { retry_after: None },
        _ => return None,
    })
}

/// Returns whether [`outcome_of_code`] has an outcome for a code.
pub(super) fn is_known(code: &str) -> bool {
    code.parse().is_ok_and(|code| outcome_of_code(code).is_some())
}

/// Maps error codes of a failed message's receipt to reasons.
pub(super) fn reason_of(code: i64) -> Reason {
    match code {
        30003 | 30453 | 30485 => Reason::Unreachable,
        30005 => Reason::InvalidNumber,
        30006 => Reason::Landline,
        30004 | 30038 | 30450 => Reason::Blocked,
        30007 => Reason::Content,
        30001 | 30017 | 30022 | 30023 | 30035 | 30410 | 30500 | 14107 => Reason::Congestion,
        30036 => Reason::CarrierExpired,
        30002 | 30037 | 30454 | 63038 => Reason::Account,
        30010 | 30018 | 30024 | 30032..=30034 | 30040..=30042 => Reason::Permission,
        21610 => Reason::OptedOut,
        _ => Reason::Unexplained,
    }
}

/// Says what the operator should check after a refusal of the account or the sender.
pub(super) fn advice(judgement: &Judgement, has_api_key: bool) -> &'static str {
    let code = judgement.details.carrier_code.as_deref().and_then(|code| code.parse::<i64>().ok());
    match (code, judgement.outcome) {
        (Some(CALLBACK_REFUSED), _) => "it does not accept the callback URL: check receipts.public_url",
        (Some(DAILY_LIMIT), _) => {
            "the account's daily limit is reached: raise it at the carrier, or wait for the next day"
        }
        (Some(code), _) if COUNTRY_REFUSED.contains(&code) => {
            "the account's geographic permissions lack this country: allow it in the carrier's console"
        }
        (Some(code), _) if SENDER_REFUSED.contains(&code) => {
            "check from, voice_from and messaging_service_sid, and the tenants' senders"
        }
        (Some(code), _) if TRIAL.contains(&code) => "a trial account sends to verified numbers only",
        (_, Outcome::Misconfigured(RefusalScope::Account)) if has_api_key => {
            "check account_sid, api_key_sid and api_key_secret, and whether the account is active"
        }
        (_, Outcome::Misconfigured(RefusalScope::Account)) => {
            "check account_sid and auth_token, and whether the account is active"
        }
        _ => "check its section in carriers",
    }
}
