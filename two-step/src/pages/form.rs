//! Parses forms, and checks that they come from our own pages.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::HeaderMap;
use uuid::Uuid;

use super::Pages;
use super::answer::PageError;
use super::visitor::Visitor;

use crate::seal::same;

/// Maximum size of a form in bytes.
const MAX_FORM_BYTES: usize = 16 * 1024;

/// The fields of a form. Only the first value of a repeated field is used.
pub(super) struct Form(HashMap<String, String>);

impl Form {
    /// Reads a form of a challenge or a session. Its CSRF value must match this browser and the subject, and its
    /// `Origin` must be ours.
    pub(super) async fn read(
        pages: &Pages, visitor: &Visitor, headers: &HeaderMap, body: Body, subject: Uuid,
    ) -> Result<Self, PageError> {
        let form = Self::read_unbound(pages, headers, body).await?;
        if !visitor.had_cookie {
            return Err(PageError::NoCookie);
        }
        let expected = pages.core.csrf(&visitor.visit.browser, subject);
        if same(&expected, form.text("csrf")) { Ok(form) } else { Err(PageError::Forbidden) }
    }

    /// Reads a form whose URL is a secret itself, so it needs no CSRF value.
    pub(super) async fn read_unbound(
        pages: &Pages, headers: &HeaderMap, body: Body,
    ) -> Result<Self, PageError> {
        let origin = headers.get("origin").and_then(|v| v.to_str().ok());
        if origin != Some(pages.core.config().public_url.as_str()) {
            return Err(PageError::Forbidden);
        }
        let bytes = crate::body::read(body, MAX_FORM_BYTES).await.map_err(|_| PageError::TooBig)?;
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(&bytes) {
            fields.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
        Ok(Self(fields))
    }

    /// Returns a field; empty if it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Returns whether a box is ticked.
    pub(super) fn is_ticked(&self, name: &str) -> bool {
        self.text(name) == "yes"
    }

    /// Returns a field that is an id.
    pub(super) fn id(&self, name: &str) -> Option<Uuid> {
        self.text(name).parse().ok()
    }
}
