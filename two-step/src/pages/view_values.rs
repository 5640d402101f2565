//! Converts rows to the values of the views.

use crate::challenge::Purpose;
use crate::clock::{after, seconds_until};
use crate::config::Config;
use crate::flow::{ChallengeSnapshot, MailState};
use crate::method::{Channel, Kind, Method};
use crate::store::DispatchState;

use super::view::sign_in::{Delivery, Offer, Sends, Trust};
use super::view::{MethodKind, Proof};

/// Time after which the page offers other methods if a job was not published.
const SLOW_PUBLISH_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

/// Converts the kind of a method.
pub(super) fn kind(kind: Kind) -> MethodKind {
    match kind {
        Kind::Phone => MethodKind::Phone,
        Kind::Totp => MethodKind::Totp,
        Kind::Email => MethodKind::Email,
        Kind::App => MethodKind::App,
        Kind::Recovery => MethodKind::Recovery,
    }
}

/// Returns the kind of proof of the page's method.
pub(super) fn proof(snapshot: &ChallengeSnapshot) -> Proof {
    match snapshot.method().map(|m| m.kind) {
        Some(Kind::Phone) if snapshot.challenge.channel == Some(Channel::Voice) => Proof::Voice,
        Some(Kind::Phone) => Proof::Sms,
        Some(Kind::Email) => Proof::Email,
        Some(Kind::Recovery) => Proof::Recovery,
        Some(Kind::App) => Proof::App,
        _ => Proof::Totp,
    }
}

/// Returns the state of the last code.
pub(super) fn delivery(snapshot: &ChallengeSnapshot) -> Option<Delivery> {
    let method = snapshot.method()?;
    match method.kind {
        Kind::Email => {
            return Some(match snapshot.mail {
                None => Delivery::NotSent,
                Some(MailState::Waiting { since }) if after(since, SLOW_PUBLISH_AFTER) < snapshot.now => {
                    Delivery::Slow
                }
                Some(MailState::Waiting { .. }) => Delivery::Sending,
                Some(MailState::Sent) => Delivery::OnItsWay,
                Some(MailState::Refused) => Delivery::Failed,
            });
        }
        Kind::Phone => {}
        _ => return None,
    }
    let Some(dispatch) = &snapshot.dispatch else {
        return Some(Delivery::NotSent);
    };
    let wants_call = dispatch.call_due_at.is_some();
    Some(match dispatch.state {
        DispatchState::Waiting if after(dispatch.issued_at, SLOW_PUBLISH_AFTER) < snapshot.now => {
            Delivery::Slow
        }
        DispatchState::Waiting | DispatchState::Queued | DispatchState::Sending => Delivery::Sending,
        _ if wants_call => Delivery::Sending,
        DispatchState::Sent => Delivery::OnItsWay,
        DispatchState::Delivered => Delivery::Delivered,
        DispatchState::Refused => Delivery::Refused,
        DispatchState::Limited => {
            Delivery::Limited(dispatch.retry_at.map(|at| seconds_until(snapshot.now, at)))
        }
        DispatchState::Expired => Delivery::Expired,
        DispatchState::Superseded | DispatchState::Cancelled => return None,
        DispatchState::Undelivered | DispatchState::Failed | DispatchState::Unconfirmed => {
            match dispatch.reason.as_deref() {
                Some("landline") => Delivery::Landline,
                Some("opted_out") => Delivery::OptedOut,
                _ => Delivery::Failed,
            }
        }
    })
}

/// Returns the seconds until the next send.
pub(super) fn wait_s(snapshot: &ChallengeSnapshot) -> u64 {
    let until = snapshot.challenge.next_send_at.filter(|at| *at > snapshot.now);
    until.map_or(0, |at| seconds_until(snapshot.now, at))
}

/// Returns the send buttons of the page.
pub(super) fn sends(snapshot: &ChallengeSnapshot, config: &Config) -> Sends {
    let Some(method) = snapshot.method().filter(|m| matches!(m.kind, Kind::Phone | Kind::Email)) else {
        return Sends::NONE;
    };
    let limits = &config.limits;
    let wait = wait_s(snapshot);
    let offer = |possible: bool| match possible {
        false => Offer::Hidden,
        true if snapshot.challenge.sends >= limits.sends_per_challenge => Offer::UsedUp,
        true => Offer::after(wait),
    };
    let by_call = snapshot.challenge.channel == Some(Channel::Voice);
    let calls_left = snapshot.challenge.calls < limits.calls_per_challenge;
    let phone = method.kind == Kind::Phone;
    Sends {
        again: if by_call && !calls_left { Offer::UsedUp } else { offer(true) },
        call: offer(phone && !by_call && calls_left && config.otpost.calls),
        text: offer(phone && by_call && !method.no_texts),
    }
}

/// Returns the checkbox "Trust this device".
pub(super) fn trust(purpose: Purpose, config: &Config) -> Trust {
    if purpose != Purpose::SignIn {
        return Trust::Hidden;
    }
    trust_life(config)
}

/// Returns the label of that box.
pub(super) fn trust_life(config: &Config) -> Trust {
    match config.trust.life.0 {
        Some(life) => Trust::Days(life.as_secs().div_ceil(86400) as u32),
        None => Trust::UntilSignOut,
    }
}

/// Returns the masked target of a method.
pub(super) fn hint(method: &Method) -> String {
    match method.kind {
        Kind::Totp => method.label.clone().unwrap_or_default(),
        _ => method.hint.clone(),
    }
}
