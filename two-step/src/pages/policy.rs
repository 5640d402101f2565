//! The headers of every page.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, HeaderValue, header};

use super::Pages;
use crate::config::ProductConfig;

/// Adds what the app needs: its manifest and its service worker.
pub(super) fn allow_app(headers: &mut HeaderMap) {
    let csp = headers.get(header::CONTENT_SECURITY_POLICY).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&format!("{csp}; manifest-src 'self'; worker-src 'self'")) {
        headers.insert(header::CONTENT_SECURITY_POLICY, value);
    }
}

/// Sets the headers of a page. Forms may redirect to the product: Chrome checks redirects against `form-action` too.
pub(super) fn set(headers: &mut HeaderMap, pages: &Pages, product: Option<&ProductConfig>) {
    let urls = product.into_iter().flat_map(|p| p.return_urls.iter());
    let parsed = urls.filter_map(|url| reqwest::Url::parse(url).ok());
    let origins: BTreeSet<String> = parsed.map(|url| url.origin().ascii_serialization()).collect();
    let form_action = std::iter::once("'self'".to_owned()).chain(origins).collect::<Vec<_>>().join(" ");
    let ancestors = pages.framed_by.as_deref().unwrap_or("'none'");
    let csp = format!(
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action {form_action}; frame-ancestors {ancestors}"
    );
    let mut put = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(header::CONTENT_SECURITY_POLICY, &csp);
    put(header::CACHE_CONTROL, "no-store");
    // With `no-referrer`, browsers would send `Origin: null` with our own forms.
    put(header::REFERRER_POLICY, "same-origin");
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    put(header::HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()");
    if pages.framed_by.is_none() {
        put(header::X_FRAME_OPTIONS, "DENY");
    }
    if pages.core.config().public_url.is_secure() {
        put(header::STRICT_TRANSPORT_SECURITY, "max-age=63072000; includeSubDomains");
    }
}
