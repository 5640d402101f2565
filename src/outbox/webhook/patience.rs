//! What a receiver says about further requests: that it is gone, or that it wants a pause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode};

use crate::domain::clock::now;
use crate::domain::retry_after::retry_after;
use crate::outbox::sink::Retry;

/// The shortest pause of a receiver that is overloaded.
const PAUSE: Duration = Duration::from_secs(30);
/// The longest pause that is respected: that of the last regular try.
const MAX_PAUSE: Duration = Duration::from_hours(5);

/// A receiver that is gone gets one request in this time, because another process may have replayed its events.
const GONE: Duration = Duration::from_mins(5);

/// The state of a receiver, as this process knows it. A changed configuration begins anew.
#[derive(Default)]
pub(super) struct Patience(Mutex<State>);

#[derive(Default)]
struct State {
    gone_until: Option<Instant>,
    pause_ends: Option<Instant>,
}

impl Patience {
    /// Whether the receiver may get a request now. Otherwise, when its events are tried again, and why.
    pub(super) fn check(&self) -> Result<(), (Retry, &'static str)> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.gone_until.is_some_and(|end| now < end) {
            return Err((Retry::Never, "the receiver has answered 410 (gone); change tenants.NAME.webhook"));
        }
        let left = state.pause_ends.map(|end| end.saturating_duration_since(now));
        match left.filter(|left| !left.is_zero()) {
            Some(left) => Err((Retry::Wait(left), "the receiver has asked for a pause")),
            None => Ok(()),
        }
    }

    /// Notes a refusal. Returns when its event is tried again, if the receiver has said so.
    pub(super) fn refused(&self, tenant: &str, status: StatusCode, headers: &HeaderMap) -> Option<Retry> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if status == StatusCode::GONE {
            if state.gone_until.replace(Instant::now() + GONE).is_none() {
                tracing::error!(
                    tenant,
                    "the webhook's receiver answered 410 (gone): its events are marked as failed; change or remove the webhook, and replay \
                     them with: otpost webhooks replay"
                );
            }
            return Some(Retry::Never);
        }
        let header = |name: &str| headers.get(name)?.to_str().ok();
        let named = header("retry-after").and_then(|text| retry_after(text, header("date"), now()));
        let is_overloaded = matches!(status.as_u16(), 429 | 502 | 504);
        let pause = named.max(is_overloaded.then_some(PAUSE))?.min(MAX_PAUSE);
        state.pause_ends = state.pause_ends.max(Instant::now().checked_add(pause));
        named.map(|_| Retry::After(pause))
    }

    /// Forgets what the receiver has said, because somebody wants its events to be tried again.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(retry_after: Option<&str>) -> HeaderMap {
        retry_after.map(|text| (axum::http::header::RETRY_AFTER, text.parse().unwrap())).into_iter().collect()
    }

    #[test]
    fn a_receivers_word_is_heard_and_capped() {
        let refused = |status: u16, retry_after| {
            let patience = Patience::default();
            let retry =
                patience.refused("shop", StatusCode::from_u16(status).unwrap(), &headers(retry_after));
            (retry, patience.check().err().map(|(retry, _)| retry))
        };
        let about = |retry: Option<Retry>, expected: u64| {
            let Some(Retry::Wait(left)) = retry else { panic!("{retry:?}") };
            assert!(
                left <= Duration::from_secs(expected)
                    && left + Duration::from_secs(5) > Duration::from_secs(expected),
                "{left:?}"
            );
        };
        let (retry, pause) = refused(429, Some("600"));
        assert_eq!(retry, Some(Retry::After(Duration::from_mins(10))));
        about(pause, 600);
        let (retry, pause) = refused(503, Some("86400"));
        assert_eq!(retry, Some(Retry::After(MAX_PAUSE)));
        about(pause, MAX_PAUSE.as_secs());
        for status in [429, 502, 504] {
            let (retry, pause) = refused(status, None);
            assert_eq!(retry, None, "{status}: the regular pause");
            about(pause, PAUSE.as_secs());
        }
        about(refused(429, Some("0")).1, PAUSE.as_secs());
        assert_eq!(refused(503, Some("0")), (Some(Retry::After(Duration::ZERO)), None), "the regular pause");
        assert_eq!(refused(500, None), (None, None));
        assert_eq!(refused(308, None), (None, None));
        assert_eq!(refused(410, Some("1")), (Some(Retry::Never), Some(Retry::Never)));
    }
}
