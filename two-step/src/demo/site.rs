//! The demo's page and the shop's pages.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::mailbox::Emails;
use super::shop::{Denied, Shop, Visit};

const COOKIE: &str = "demo_shop";
/// Maximum size of a form in bytes.
const MAX_FORM_BYTES: usize = 16 * 1024;

struct DemoSite {
    shop: Shop,
    gateway: String,
    emails: Emails,
    client: reqwest::Client,
}

#[derive(Template)]
#[template(path = "demo/stage.html")]
struct DemoView {
    /// The URL of the app.
    app: String,
}

#[derive(Template)]
#[template(path = "demo/shop.html")]
struct ShopView {
    visit: Option<Visit>,
    problem: Option<&'static str>,
}

/// The routes.
pub(super) fn router(shop: Shop, gateway: String, emails: Emails, app: String) -> Router {
    let site = move || async move { Html(DemoView { app }.render().unwrap_or_default()) };
    #[expect(clippy::disallowed_methods, reason = "connects to a listener of this process")]
    let client = reqwest::Client::new();
    Router::new()
        .route("/", get(site))
        .route("/demo.css", get(|| async { asset("text/css", include_str!("../../assets/demo.css")) }))
        .route("/demo.js", get(|| async { asset("text/javascript", include_str!("../../assets/demo.js")) }))
        .route("/phones", get(phones))
        .route("/mail", get(mail))
        .route("/shop", get(home))
        .route("/shop/sign-in", post(sign_in))
        .route("/shop/return", get(came_back))
        .route("/shop/settings", post(settings))
        .route("/shop/settings-done", get(back_from_settings))
        .route("/shop/sign-out", post(sign_out))
        .route("/shop/close", post(close))
        .with_state(Arc::new(DemoSite { shop, gateway, emails, client }))
}

fn asset(content_type: &'static str, body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")], body)
}

async fn phones(State(site): State<Arc<DemoSite>>) -> Json<Value> {
    let answer = site.client.get(format!("{}/api/phones", site.gateway)).send().await;
    let read = match answer {
        Ok(answer) => answer.json().await.ok(),
        Err(_) => None,
    };
    Json(read.unwrap_or_else(|| json!({"phones": []})))
}

async fn mail(State(site): State<Arc<DemoSite>>) -> Json<Value> {
    Json(json!({"letters": site.emails.all()}))
}

fn cookie_of(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|l| l.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(&format!("{COOKIE}=")).map(str::to_owned))
}

async fn home(
    State(site): State<Arc<DemoSite>>, headers: HeaderMap, RawQuery(query): RawQuery,
) -> Html<String> {
    let visit = cookie_of(&headers).and_then(|c| site.shop.visit(&c)).filter(|v| v.signed_in);
    let problem = match query.as_deref() {
        Some("denied=password") => Some("User and password do not match."),
        Some("denied=second-step") => Some("You were not signed in: the second step was not finished."),
        Some("denied=away") => Some("Signing in is not possible now. Please try again soon."),
        _ => None,
    };
    Html(ShopView { visit, problem }.render().unwrap_or_default())
}

fn denied(why: Denied) -> Response {
    let word = match why {
        Denied::Password => "password",
        Denied::SecondStep => "second-step",
        Denied::Away => "away",
    };
    Redirect::to(&format!("/shop?denied={word}")).into_response()
}

fn with_cookie(mut response: Response, value: &str, life: &str) -> Response {
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{life}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

async fn sign_in(State(site): State<Arc<DemoSite>>, body: Body) -> Response {
    let bytes = axum::body::to_bytes(body, MAX_FORM_BYTES).await.unwrap_or_default();
    let field = |name: &str| {
        let found = form_urlencoded::parse(&bytes).find(|(k, _)| k == name).map(|(_, v)| v.into_owned());
        found.unwrap_or_default()
    };
    match site.shop.sign_in(field("user").trim(), &field("password")).await {
        Ok((cookie, to)) => with_cookie(Redirect::to(&to).into_response(), &cookie, ""),
        Err(why) => denied(why),
    }
}

/// Reads values of a query. A missing value is returned as an empty text.
fn value_in(query: Option<&str>) -> impl Fn(&str) -> String {
    move |name| {
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}

async fn came_back(
    State(site): State<Arc<DemoSite>>, headers: HeaderMap, RawQuery(query): RawQuery,
) -> Response {
    let value = value_in(query.as_deref());
    let cookie = cookie_of(&headers).unwrap_or_default();
    match site.shop.came_back(&cookie, &value("ticket"), &value("state")).await {
        Ok(()) => Redirect::to("/shop").into_response(),
        Err(why) => denied(why),
    }
}

async fn settings(State(site): State<Arc<DemoSite>>, headers: HeaderMap) -> Response {
    let visit = cookie_of(&headers).and_then(|c| site.shop.visit(&c)).filter(|v| v.signed_in);
    let Some(visit) = visit else { return Redirect::to("/shop").into_response() };
    match site.shop.settings(&visit).await {
        Ok(to) => Redirect::to(&to).into_response(),
        // The password is older than ten minutes. A real shop asks for it again.
        Err(why) => denied(why),
    }
}

async fn back_from_settings(
    State(site): State<Arc<DemoSite>>, RawQuery(query): RawQuery, headers: HeaderMap,
) -> Redirect {
    let value = value_in(query.as_deref());
    let cookie = cookie_of(&headers).unwrap_or_default();
    site.shop.back_from_settings(&cookie, &value("state"), value("device"));
    Redirect::to("/shop")
}

async fn sign_out(State(site): State<Arc<DemoSite>>, headers: HeaderMap) -> Response {
    if let Some(cookie) = cookie_of(&headers) {
        site.shop.sign_out(&cookie).await;
    }
    with_cookie(Redirect::to("/shop").into_response(), "", "; Max-Age=0")
}

async fn close(State(site): State<Arc<DemoSite>>, headers: HeaderMap) -> Response {
    if let Some(cookie) = cookie_of(&headers) {
        site.shop.forget(&cookie);
    }
    with_cookie(Redirect::to("/shop").into_response(), "", "; Max-Age=0")
}
