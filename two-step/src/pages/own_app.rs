//! `/app`: the product's own app, as an installable page.

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

/// The static files of the app.
const FILES: [(&str, &str, &str); 6] = [
    ("app.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/app.js")),
    ("api.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/api.js")),
    ("signer.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/signer.js")),
    ("store.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/store.js")),
    ("texts.js", "text/javascript; charset=utf-8", include_str!("../../assets/app/texts.js")),
    ("app.css", "text/css; charset=utf-8", include_str!("../../assets/app/app.css")),
];
/// The default icon. Also for phones that do not support SVG, or that cut icons to a circle.
const ICON: &[u8] = include_bytes!("../../assets/app/icon.png");
const WORKER: &str = include_str!("../../assets/app/sw.js");

fn named(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let product = pairs.find(|(key, _)| key == "product").map(|(_, product)| product.into_owned());
    product.filter(|name| !name.is_empty())
}

/// Returns the product in the query if it has an app, or else the only product with an app.
fn product_of(pages: &Pages, query: Option<&str>) -> Option<String> {
    let config = pages.core.config();
    let mut with_app = config.products.iter().filter(|(_, product)| product.app.is_some());
    match named(query) {
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
    let product = match product_of(&pages, query.as_deref()) {
        Some(product) => product,
        None if named(query.as_deref()).is_some() => {
            return pages.error(&visitor, &super::answer::PageError::NoPage);
        }
        None => String::new(),
    };
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
    let icon = Icon::read(&pages, &product).await;
    let manifest = json!({
        "id": start, "start_url": start, "scope": "/app", "name": name, "short_name": name, "display": "standalone",
        "background_color": "#ffffff", "theme_color": colour.unwrap_or_else(|| "#ffffff".to_owned()),
        "icons": [{"src": format!("/app/icon?product={product}"), "sizes": icon.sizes(), "type": icon.kind, "purpose": icon.purpose}],
    });
    fresh("application/manifest+json", manifest.to_string().into_bytes())
}

/// `GET /app/icon`
pub(super) async fn icon(State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery) -> Response {
    let product = product_of(&pages, query.as_deref()).unwrap_or_default();
    let icon = Icon::read(&pages, &product).await;
    fresh(icon.kind, icon.bytes)
}

/// The icon of an app.
struct Icon {
    kind: &'static str,
    bytes: Vec<u8>,
    /// Whether a phone may cut it to a circle.
    purpose: &'static str,
}

impl Icon {
    /// Returns a product's own icon, or ours.
    async fn read(pages: &Pages, product: &str) -> Self {
        let config = pages.core.config();
        let path = config.product(product).and_then(|p| p.app.as_ref()?.icon_file.clone());
        let ours = || Self { kind: "image/png", bytes: ICON.to_vec(), purpose: "any maskable" };
        let Some(path) = path else { return ours() };
        let is_png = path.extension().is_some_and(|extension| extension == "png");
        let kind = if is_png { "image/png" } else { "image/svg+xml" };
        match tokio::fs::read(&path).await {
            Ok(bytes) => Self { kind, bytes, purpose: "any" },
            Err(e) => {
                tracing::warn!(product, reason = %e.kind(), "app.icon_file cannot be read");
                ours()
            }
        }
    }

    /// Returns width and height for the manifest. A PNG has them in its first chunk (W3C PNG, 11.2.1).
    fn sizes(&self) -> String {
        let number =
            |at: usize| self.bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        match (self.kind, number(16), number(20)) {
            ("image/png", Some(width), Some(height)) => format!("{width}x{height}"),
            _ => "any".to_owned(),
        }
    }
}

/// `GET /app/{name}`: scripts, styles, the service worker.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    if name == "sw.js" {
        let worker = WORKER.replace("VERSION", &format!("{:08x}", assets::APP_VERSION));
        let mut response = fresh("text/javascript; charset=utf-8", worker.into_bytes());
        // The page is at `/app`, and the service worker's path is below it.
        let allowed = HeaderName::from_static("service-worker-allowed");
        response.headers_mut().insert(allowed, HeaderValue::from_static("/app"));
        return response;
    }
    if name == "icon.png" {
        return fresh("image/png", ICON.to_vec());
    }
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, body)) => fresh(kind, body.as_bytes().to_vec()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Returns a file that browsers revalidate each time, so that a new version shows at once.
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
