//! `/app`: the product's own app, as a page that can be installed.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::ask_app::app_name;
use super::view::own_app::OwnApp;
use super::view::{Page, assets};
use super::visitor::Visitor;
use super::{Pages, policy};

/// The files of the app, beside its page.
const FILES: [(&str, &str, &str); 6] = [
    ("app.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/app.js")),
    ("api.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/api.js")),
    ("signer.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/signer.js")),
    ("store.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/store.js")),
    ("texts.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/texts.js")),
    ("app.css", "text/css; charset=utf-8", include_str!("../../assets/app/app.css")),
];
const WORKER: &str = include_str!("../../assets/app/sw.js");

/// The product that the query names, if it has an app; else the only one that has.
fn product_of(pages: &Pages, query: Option<&str>) -> Option<String> {
    let named = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, _)| key == "product")
        .map(|(_, product)| product.into_owned());
    let config = pages.core.config();
    let mut with_app = config.products.iter().filter(|(_, product)| product.app.is_some());
    match named.filter(|name| !name.is_empty()) {
        Some(name) => config.product(&name).filter(|p| p.app.is_some()).map(|_| name),
        None => with_app.next().map(|(name, _)| name.clone()).filter(|_| with_app.next().is_none()),
    }
}

/// `GET /app`
pub(super) async fn shell(
    State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    if pages.core.config().products.values().all(|product| product.app.is_none()) {
        return pages.error(&visitor, &super::answer::PageError::NoPage);
    }
    let product = product_of(&pages, query.as_deref()).unwrap_or_default();
    let page: Page = pages.page(&visitor, &product, None, Uuid::nil());
    let name = app_name(&pages, &product).unwrap_or_else(|| "Two-step".to_owned());
    let view = OwnApp { page, product: product.clone(), name };
    let mut response = pages.render(&visitor, &product, StatusCode::OK, &view);
    policy::allow_app(response.headers_mut());
    response
}

/// `GET /app/manifest.webmanifest`
pub(super) async fn manifest(State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery) -> Response {
    let Some(product) = product_of(&pages, query.as_deref()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let config = pages.core.config();
    let name = app_name(&pages, &product).unwrap_or_default();
    let colour = config.product(&product).and_then(|p| p.colour.clone());
    let start = format!("/app?product={product}");
    let icon = format!("/app/icon?product={product}");
    let manifest = json!({
        "id": start, "start_url": start, "scope": "/app", "name": name, "short_name": name, "display": "standalone",
        "background_color": "#ffffff", "theme_color": colour.unwrap_or_else(|| "#ffffff".to_owned()),
        "icons": [{"src": icon, "sizes": "any", "type": icon_type(&pages, &product), "purpose": "any"}],
    });
    fresh("application/manifest+json", manifest.to_string().into_bytes())
}

/// `GET /app/icon`
pub(super) async fn icon(State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery) -> Response {
    let product = product_of(&pages, query.as_deref()).unwrap_or_default();
    let kind = icon_type(&pages, &product);
    let config = pages.core.config();
    let file = config.product(&product).and_then(|p| p.app.as_ref()?.icon_file.clone());
    let own = assets::find("two-step.svg").map(|asset| asset.body.into_bytes()).unwrap_or_default();
    match file {
        Some(path) => match tokio::fs::read(&path).await {
            Ok(bytes) => fresh(kind, bytes),
            Err(e) => {
                tracing::warn!(product, reason = %e.kind(), "app.icon_file cannot be read");
                fresh("image/svg+xml", own)
            }
        },
        None => fresh(kind, own),
    }
}

/// The type of a product's icon, by the name of its file.
fn icon_type(pages: &Pages, product: &str) -> &'static str {
    let config = pages.core.config();
    let file = config.product(product).and_then(|p| p.app.as_ref()?.icon_file.clone());
    match file.as_ref().and_then(|path| path.extension()?.to_str()) {
        Some("png") => "image/png",
        _ => "image/svg+xml",
    }
}

/// `GET /app/{name}`: scripts, styles, the service worker.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    if name == "sw.js" {
        let worker = WORKER.replace("VERSION", &format!("{:08x}", assets::APP_VERSION));
        let mut response = fresh("text/javascript; charset=utf-8", worker.into_bytes());
        // The page is at `/app`, the worker below it.
        let allowed = HeaderName::from_static("service-worker-allowed");
        response.headers_mut().insert(allowed, HeaderValue::from_static("/app"));
        return response;
    }
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, body)) => fresh(kind, body.as_bytes().to_vec()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A file that browsers ask for anew each time: a new version shows at once.
fn fresh(kind: &'static str, body: Vec<u8>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; connect-src 'self'"),
    );
    (headers, body).into_response()
}
