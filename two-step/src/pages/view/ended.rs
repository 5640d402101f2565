//! Pages without a form: ended challenges and errors.

use askama::Template;

use super::{Page, when};

/// Why the page has no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The challenge has expired.
    Expired,
    /// Too many wrong codes. Seconds until the user may sign in again, if known.
    Locked(Option<u64>),
    /// Too many wrong codes of an account whose sign-in is still open. Seconds until codes are accepted again.
    Paused(u64),
    /// The user cancelled.
    Cancelled,
    /// The user chose "It was not me".
    Denied,
    /// The challenge is already verified, here or in another window.
    Used,
    /// Another browser opened the URL before.
    OtherBrowser,
    /// The browser sent no cookie.
    NoCookies,
    /// The page does not exist.
    NotFound,
    /// The settings session has ended.
    SessionExpired,
    /// The service is unavailable. Seconds to wait before a retry.
    Unavailable(u64),
    /// The request is too big.
    TooBig,
    /// The `Origin` or the CSRF value of the form is wrong.
    Forbidden,
    /// Too many requests. Seconds until the next one is accepted.
    RateLimited(u64),
    /// The form is malformed.
    BadRequest,
}

/// A page without a form. Handlers choose the HTTP status.
#[derive(Debug, Clone, Template)]
#[template(path = "ended.html")]
pub struct Ended {
    /// Language, product, home link. The CSRF value may be empty, because the page has no form.
    pub page: Page,
    /// Why the page has no form.
    pub end: End,
    /// The target of "Try again", for temporary errors. `None` hides the link.
    pub retry: Option<String>,
}

impl Ended {
    /// The title, the cause, and the next step.
    fn words(&self) -> (&'static str, String, String) {
        let texts = &self.page.t().ended;
        let text = match self.end {
            End::Expired => &texts.expired,
            End::Locked(_) => &texts.locked,
            End::Paused(_) => &texts.paused,
            End::Cancelled => &texts.cancelled,
            End::Denied => &texts.denied,
            End::Used => &texts.used,
            End::OtherBrowser => &texts.other_browser,
            End::NoCookies => &texts.no_cookies,
            End::NotFound => &texts.not_found,
            End::SessionExpired => &texts.session_expired,
            End::Unavailable(_) => &texts.unavailable,
            End::TooBig => &texts.too_big,
            End::Forbidden => &texts.forbidden,
            End::RateLimited(_) => &texts.rate_limited,
            End::BadRequest => &texts.bad_request,
        };
        let lang = self.page.lang;
        let next = match self.end {
            End::Locked(Some(seconds)) | End::Paused(seconds) => {
                (texts.sign_in_again_in)(&when::wait(lang, seconds))
            }
            End::Unavailable(seconds) | End::RateLimited(seconds) => {
                (texts.try_again_in)(&when::wait(lang, seconds))
            }
            _ => text.next.to_owned(),
        };
        (text.title, text.happened.to_owned(), next)
    }

    /// The icon, by severity.
    fn icon(&self) -> &'static str {
        match self.end {
            End::Used => "check",
            End::Expired | End::SessionExpired | End::Unavailable(_) | End::RateLimited(_) => "clock",
            End::Locked(_) | End::Paused(_) | End::Denied => "lock",
            _ => "info",
        }
    }

    /// Steps for a browser without cookies.
    fn steps(&self) -> &'static [&'static str] {
        match self.end {
            End::NoCookies => &self.page.t().ended.cookie_steps,
            _ => &[],
        }
    }
}
