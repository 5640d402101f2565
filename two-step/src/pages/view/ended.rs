//! Pages without a next step of their own: ended challenges and refusals.

use askama::Template;

use super::{Page, when};

/// Why there is nothing to do on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The challenge's time is over.
    Expired,
    /// Too many wrong codes. Seconds until the user may sign in again, where known.
    Locked(Option<u64>),
    /// Too many wrong codes of an account whose sign-in is still open. Seconds until codes are taken again.
    Paused(u64),
    /// The user cancelled.
    Cancelled,
    /// The user said that it was not them.
    Denied,
    /// The proof was given already, here or in another window.
    Used,
    /// The address was opened in another browser before.
    OtherBrowser,
    /// The browser sent no cookie.
    NoCookies,
    /// Nothing is at this address.
    NotFound,
    /// The settings session is over.
    SessionExpired,
    /// The service cannot work now. Seconds until a retry makes sense.
    Unavailable(u64),
    /// The request was too big.
    TooBig,
    /// The form did not come from our page, or its CSRF value is wrong.
    Forbidden,
    /// Too many requests. Seconds until the next is taken.
    RateLimited(u64),
    /// The form could not be read.
    BadRequest,
}

/// Any page that ends a path. Handlers choose the HTTP status.
#[derive(Debug, Clone, Template)]
#[template(path = "ended.html")]
pub struct Ended {
    /// Language, product, home link. The CSRF value may be empty: the page has no form.
    pub page: Page,
    /// Why there is nothing to do.
    pub end: End,
    /// Where "Try again" leads, for ends that pass. None hides the link.
    pub retry: Option<String>,
}

impl Ended {
    /// Title, what happened, what to do next.
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

    /// The icon: how serious it is.
    fn icon(&self) -> &'static str {
        match self.end {
            End::Used => "check",
            End::Expired | End::SessionExpired | End::Unavailable(_) | End::RateLimited(_) => "clock",
            End::Locked(_) | End::Paused(_) | End::Denied => "lock",
            _ => "info",
        }
    }

    /// Steps that help, for a browser without cookies.
    fn steps(&self) -> &'static [&'static str] {
        match self.end {
            End::NoCookies => &self.page.t().ended.cookie_steps,
            _ => &[],
        }
    }
}
