//! The sender of a request: cookies, address, language.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::Pages;
use super::view::Lang;
use crate::client;
use crate::device::COOKIE_LIFE;
use crate::flow::Visit;
use crate::seal::{is_token, random_token};

const BROWSER: &str = "ts_browser";
const DEVICE: &str = "ts_device";
const LANG: &str = "ts_lang";
/// Maximum length of a browser's description, in characters.
const MAX_AGENT_CHARS: usize = 60;

/// The sender of a request.
pub(super) struct Visitor {
    /// Cookies and address, for the flows.
    pub(super) visit: Visit,
    /// Whether the browser sent our cookie.
    pub(super) had_cookie: bool,
    /// The language from the URL or the cookie; `None`: use the browser's.
    pub(super) chosen: Option<Lang>,
    /// The language from the URL, to be stored in the cookie.
    pub(super) choose: Option<Lang>,
    /// The language that the browser prefers.
    accepted: Lang,
    secure: bool,
}

impl FromRequestParts<Arc<Pages>> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, pages: &Arc<Pages>) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
        let config = &pages.core.config();
        let secure = config.public_url.is_secure();
        let browser = cookie(&parts.headers, &name(BROWSER, secure)).filter(|c| is_token(c));
        let text = |header: &str| parts.headers.get(header).and_then(|v| v.to_str().ok());
        let query = parts.uri.query().unwrap_or_default();
        let choose = form_urlencoded::parse(query.as_bytes())
            .find(|(k, _)| k == "lang")
            .and_then(|(_, v)| Lang::from_tag(&v));
        let kept = cookie(&parts.headers, LANG).and_then(|tag| Lang::from_tag(&tag));
        let accepted = Lang::from_header(text("accept-language").unwrap_or_default());
        let lang = choose.or(kept).unwrap_or(accepted);
        let visit = Visit {
            locale: Some(lang.tag().to_owned()),
            browser: browser.clone().unwrap_or_else(random_token),
            device: cookie(&parts.headers, &name(DEVICE, secure)),
            agent: describe_agent(text("user-agent").unwrap_or_default()),
            client: peer.map(|peer| client::address(peer, &parts.headers, config)),
        };
        Ok(Self { visit, had_cookie: browser.is_some(), chosen: choose.or(kept), choose, accepted, secure })
    }
}

impl Visitor {
    /// Returns the language of a page: from URL or cookie, else the product's, else the browser's.
    pub(super) fn lang(&self, locale: Option<&str>) -> Lang {
        self.chosen.or_else(|| locale.and_then(Lang::from_tag)).unwrap_or(self.accepted)
    }

    /// Returns the cookie that identifies this browser until it is closed.
    pub(super) fn browser_cookie(&self) -> String {
        self.set(BROWSER, &self.visit.browser, None)
    }

    /// Returns the cookie of a device.
    pub(super) fn device_cookie(&self, value: &str) -> String {
        self.set(DEVICE, value, Some(COOKIE_LIFE.as_secs()))
    }

    /// Returns the cookie of a language.
    pub(super) fn lang_cookie(lang: Lang) -> String {
        format!("{LANG}={}; Path=/; SameSite=Lax; Max-Age=31536000", lang.tag())
    }

    fn set(&self, base: &str, value: &str, max_age_s: Option<u64>) -> String {
        let life = max_age_s.map_or_else(String::new, |s| format!("; Max-Age={s}"));
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{life}", name(base, self.secure))
    }
}

/// `__Host-` binds a cookie to this host. Browsers accept the prefix only with `Secure`.
fn name(base: &str, secure: bool) -> String {
    if secure { format!("__Host-{base}") } else { base.to_owned() }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all("cookie").iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

/// "Firefox on Windows": lets users recognise a device.
fn describe_agent(agent: &str) -> String {
    let first = |pairs: &[(&str, &str)]| {
        pairs.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| (*name).to_owned())
    };
    let browser = first(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("HeadlessChrome/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = first(&[
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "Mac"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    let text = match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} · {system}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "Browser".to_owned(),
    };
    text.chars().take(MAX_AGENT_CHARS).collect()
}
