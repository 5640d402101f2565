//! Answers of the pages: pages, redirects, error pages.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::view::ended::{End, Ended};
use super::view::{Accent, Lang, Page};
use super::visitor::Visitor;
use super::{Pages, policy};
use crate::clock::seconds_until;
use crate::flow::FlowError;

/// An error without a page of its own.
#[derive(Debug)]
pub(super) enum PageError {
    Flow(FlowError),
    /// The CSRF value or the `Origin` of the form is invalid.
    Forbidden,
    /// The browser sent a form without our cookie.
    NoCookie,
    /// The form is too big.
    TooBig,
    /// The page does not exist.
    NoPage,
}

impl From<FlowError> for PageError {
    fn from(e: FlowError) -> Self {
        Self::Flow(e)
    }
}

impl Pages {
    /// Creates the common part of a page: product, CSRF value, language.
    pub(super) fn page(&self, visitor: &Visitor, product: &str, locale: Option<&str>, subject: Uuid) -> Page {
        let config = self.core.config();
        let section = config.product(product);
        let csrf = self.core.csrf(&visitor.visit.browser, subject);
        let mut page = Page::new(visitor.lang(locale), section.map_or(product, |s| s.name.as_str()), csrf);
        page.home = section.and_then(|s| s.home_url.clone());
        page.accent = section.and_then(|s| Accent::parse(s.colour.as_deref()?));
        page
    }

    /// Renders a page.
    pub(super) fn render(
        &self, visitor: &Visitor, product: &str, status: StatusCode, view: &impl Template,
    ) -> Response {
        let Ok(html) = view.render() else {
            tracing::error!("cannot render a page");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let mut response = (status, axum::response::Html(html)).into_response();
        policy::set(response.headers_mut(), self, self.core.config().product(product));
        self.cookies(visitor, &mut response, None);
        response
    }

    /// Redirects after a form or a claim.
    pub(super) fn go(&self, visitor: &Visitor, to: &str, device: Option<&str>) -> Response {
        let mut response = Redirect::to(to).into_response();
        policy::set(response.headers_mut(), self, None);
        self.cookies(visitor, &mut response, device);
        response
    }

    #[expect(clippy::unused_self, reason = "a method like its siblings")]
    fn cookies(&self, visitor: &Visitor, response: &mut Response, device: Option<&str>) {
        let mut set = |cookie: String| {
            if let Ok(value) = HeaderValue::from_str(&cookie) {
                response.headers_mut().append(header::SET_COOKIE, value);
            }
        };
        if !visitor.had_cookie {
            set(visitor.browser_cookie());
        }
        if let Some(lang) = visitor.choose {
            set(Visitor::lang_cookie(lang));
        }
        if let Some(device) = device {
            set(visitor.device_cookie(device));
        }
    }

    /// Returns a page without a next step.
    pub(super) fn ended(
        &self, visitor: &Visitor, product: Option<&str>, locale: Option<&str>, end: End,
    ) -> Response {
        let config = self.core.config();
        let (name, key) = match product {
            Some(key) => (config.product(key).map_or(key, |p| p.name.as_str()), key),
            None => ("", ""),
        };
        let mut page = Page::new(visitor.lang(locale), name, "");
        page.home = config.product(key).and_then(|p| p.home_url.clone());
        self.render(visitor, key, status_of(end), &Ended { page, end, retry: None })
    }

    /// Returns the page of an error.
    pub(super) fn error(&self, visitor: &Visitor, error: &PageError) -> Response {
        let end = match error {
            PageError::Forbidden => End::Forbidden,
            PageError::NoCookie => End::NoCookies,
            PageError::TooBig => End::TooBig,
            PageError::Flow(FlowError::Missing("challenge" | "session")) if !visitor.had_cookie => {
                End::NoCookies
            }
            PageError::Flow(FlowError::Missing("session")) => End::SessionExpired,
            // The settings page requests the proof.
            PageError::Flow(FlowError::ProofMissing) => return self.go(visitor, "/settings", None),
            PageError::NoPage | PageError::Flow(FlowError::Missing(_)) => End::NotFound,
            PageError::Flow(FlowError::Invalid { .. }) => End::BadRequest,
            PageError::Flow(FlowError::Limited { until, now }) => {
                End::RateLimited(seconds_until(*now, *until))
            }
            PageError::Flow(e @ (FlowError::Store(_) | FlowError::Seal(_) | FlowError::Internal(_))) => {
                tracing::error!(reason = %e, "page failed");
                End::Unavailable(5)
            }
        };
        let mut response = self.ended(visitor, None, None, end);
        if let End::Unavailable(s) | End::RateLimited(s) = end {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(s));
        }
        response
    }
}

fn status_of(end: End) -> StatusCode {
    match end {
        End::Expired | End::Cancelled | End::Denied | End::Used | End::SessionExpired => StatusCode::GONE,
        End::Locked(_) | End::OtherBrowser | End::NoCookies | End::Forbidden => StatusCode::FORBIDDEN,
        End::NotFound => StatusCode::NOT_FOUND,
        End::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        End::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
        End::RateLimited(_) | End::Paused(_) => StatusCode::TOO_MANY_REQUESTS,
        End::BadRequest => StatusCode::BAD_REQUEST,
    }
}

pub(super) async fn no_page(State(pages): State<Arc<Pages>>, method: Method, visitor: Visitor) -> Response {
    if method == Method::HEAD {
        return StatusCode::NOT_FOUND.into_response();
    }
    pages.error(&visitor, &PageError::NoPage)
}

/// An invalid path gets the page for missing pages, because the framework's message is not meant for users.
pub(super) async fn no_raw_errors(
    State(pages): State<Arc<Pages>>, visitor: Visitor, request: Request, next: Next,
) -> Response {
    let response = next.run(request).await;
    let plain =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/plain"));
    if response.status() == StatusCode::BAD_REQUEST && plain {
        return pages.error(&visitor, &PageError::NoPage);
    }
    response
}

/// Returns the language of a locale, for texts outside of a page.
pub(super) fn lang_of(visitor: &Visitor, locale: Option<&str>) -> Lang {
    visitor.lang(locale)
}
