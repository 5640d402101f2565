//! Refusals and headers of the pages, at an https URL as in production.

use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::service::Service;

const ORIGIN: &str = "https://verify.shop.example";

/// A service behind an HTTPS proxy, and a user with recovery codes and an authenticator.
struct Shop {
    service: Service,
    key: String,
    recovery_codes: Vec<String>,
}

impl Shop {
    async fn open() -> Self {
        let mut service = Service::at(|_| ORIGIN.to_owned());
        service.start();
        let key = service.key();
        let mut shop = Self { service, key, recovery_codes: vec![] };
        let added = shop.api("/v1/users/ada/methods", &json!({"kind": "totp"})).await;
        let key = from_base32(added["key"].as_str().unwrap());
        let step = two_step::clock::machine_now().as_second().div_euclid(30);
        let code = two_step::totp::at_step(&key, step);
        let verify = format!("/v1/users/ada/methods/{}/verify", added["id"].as_str().unwrap());
        assert_eq!(shop.api(&verify, &json!({"code": code})).await["status"], "verified");
        let made = shop.api("/v1/users/ada/recovery-codes", &json!({})).await;
        shop.recovery_codes = serde_json::from_value(made["codes"].clone()).unwrap();
        let user = shop.get("/v1/users/ada").await;
        let methods: Vec<&Value> = user["methods"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
        shop.api("/v1/users/ada/on", &json!({"methods": methods})).await;
        shop
    }

    async fn get(&self, path: &str) -> Value {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{}{path}", self.service.ports[1]);
        http.get(url).bearer_auth(&self.key).send().await.unwrap().json().await.unwrap()
    }

    /// Returns the status and the answer of a call.
    async fn call(&self, path: &str, body: &Value) -> (u16, Value) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{}{path}", self.service.ports[1]);
        let answer = http.post(url).bearer_auth(&self.key).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn api(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Creates a challenge and returns its path.
    async fn challenge(&self) -> String {
        let body = json!({"user": "ada", "return_url": "https://shop.example/2fa", "state": "s1"});
        let url = self.api("/v1/challenges", &body).await["url"].as_str().unwrap().to_owned();
        url.strip_prefix(ORIGIN).unwrap().to_owned()
    }

    fn browser(&self) -> Browser {
        Browser::new(self.service.ports[0], ORIGIN)
    }
}

/// The bytes of a key as an app reads them (RFC 4648, section 6).
fn from_base32(text: &str) -> Vec<u8> {
    let value = |c: u8| u32::from(if c.is_ascii_uppercase() { c - b'A' } else { c - b'2' + 26 });
    let (mut out, mut bits, mut held) = (vec![], 0u32, 0);
    for c in text.bytes() {
        bits = (bits << 5) | value(c);
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}

#[tokio::test]
async fn pages_cannot_be_framed_and_run_only_their_own_files() {
    let shop = Shop::open().await;
    let mut browser = shop.browser();
    let claimed = browser.get(&shop.challenge().await).await;
    for path in [claimed.location(), "/nowhere", "/settings", "/stop/unknown"] {
        let page = browser.get(path).await;
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(page.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(page.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert!(page.header("strict-transport-security").starts_with("max-age="), "{path}");
        assert_eq!(page.header("cache-control"), "no-store", "{path}");
    }
    let policy = browser.get(claimed.location()).await;
    let policy = policy.header("content-security-policy");
    assert!(policy.contains("form-action 'self' https://shop.example;"), "{policy}");
}

#[tokio::test]
async fn cookies_are_secure_hidden_from_scripts_and_bound_to_the_host() {
    let shop = Shop::open().await;
    let mut browser = shop.browser();
    let claimed = browser.get(&shop.challenge().await).await;
    let page = browser.get(claimed.location()).await;
    let form = [("csrf", page.csrf()), ("code", shop.recovery_codes[0].clone()), ("trust", "yes".to_owned())];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let right = browser.post(claimed.location(), &form).await;
    let set = [&claimed, &right].map(|seen| seen.header("set-cookie"));
    for (cookie, name) in set.iter().zip(["__Host-ts_browser=", "__Host-ts_device="]) {
        assert!(cookie.starts_with(name), "{cookie}");
        let flags: Vec<&str> = cookie.split("; ").skip(1).collect();
        for flag in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(flags.contains(&flag), "{flag} in {cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
    }
    assert!(!set[0].contains("Max-Age") && set[1].contains("Max-Age"), "one is a session cookie: {set:?}");
}

#[tokio::test]
async fn a_head_or_a_prefetch_claims_nothing() {
    let shop = Shop::open().await;
    let path = shop.challenge().await;
    let mut ahead = shop.browser();
    assert_eq!(ahead.request(Method::HEAD, &path, None).await.status, 204);
    assert_eq!(ahead.request(Method::GET, &path, Some(("sec-purpose", "prefetch"))).await.status, 204);
    assert_eq!(
        ahead.request(Method::GET, &path, Some(("sec-purpose", "prefetch;prerender"))).await.status,
        204
    );
    let claimed = shop.browser().get(&path).await;
    assert_eq!(claimed.status, 303, "no browser had claimed it");
    let late = shop.browser().get(&path).await;
    assert_eq!(late.status, 403, "another browser has claimed it");
    assert!(late.body.contains("another browser") || late.body.contains("other browser"), "{}", late.body);
}

#[tokio::test]
async fn a_planted_session_is_useless() {
    let shop = Shop::open().await;
    // The attacker claims a challenge, and plants the cookie in the victim's browser.
    let (mut attacker, mut victim) = (shop.browser(), shop.browser());
    let mine = attacker.get(&shop.challenge().await).await;
    victim.cookies.clone_from(&attacker.cookies);
    let theirs = victim.get(&shop.challenge().await).await;
    let page = victim.get(theirs.location()).await;
    let form = [("csrf", page.csrf()), ("code", shop.recovery_codes[0].clone())];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(victim.post(theirs.location(), &form).await.status, 200);
    // The victim verified their own challenge, so the attacker's challenge is still open.
    let page = attacker.get(mine.location()).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("name=\"code\""), "a code is still required");
    // A cookie that we did not issue is replaced.
    let mut forged = shop.browser();
    forged.cookies.insert("__Host-ts_browser".to_owned(), "chosen".to_owned());
    forged.get(&shop.challenge().await).await;
    assert_ne!(forged.cookies["__Host-ts_browser"], "chosen");
}

#[tokio::test]
async fn an_unknown_user_looks_like_one_who_is_off() {
    let shop = Shop::open().await;
    let body = |user: &str| json!({"user": user, "return_url": "https://shop.example/2fa"});
    shop.api(
        "/v1/sessions",
        &json!({"user": "known", "purpose": "settings", "return_url": "https://shop.example/2fa",
        "password_at": two_step::clock::machine_now()}),
    )
    .await;
    let known = shop.call("/v1/challenges", &body("known")).await;
    assert_eq!(shop.call("/v1/challenges", &body("nobody")).await, known);
    // An unknown handle and another user's handle give the same page.
    let handle = format!("/c/{}", "x".repeat(43));
    let (mut one, mut two) = (shop.browser(), shop.browser());
    let unknown = one.get(&handle).await;
    let other = two.get("/challenge/00000000-0000-7000-8000-000000000000").await;
    assert_eq!((unknown.status, other.status), (403, 403));
    let visited = shop.challenge().await;
    let claimed = one.get(&visited).await;
    let (theirs, none) =
        (two.get(claimed.location()).await, two.get("/challenge/00000000-0000-7000-8000-000000000000").await);
    assert_eq!(
        (theirs.status, &theirs.body),
        (none.status, &none.body),
        "another user's challenge looks like an unknown one"
    );
}

#[tokio::test]
async fn an_expired_handle_a_used_ticket_and_a_form_of_ten_megabytes_get_clear_answers() {
    let shop = Shop::open().await;
    let mut browser = shop.browser();
    let claimed = browser.get(&shop.challenge().await).await;
    let path = claimed.location().to_owned();
    let page = browser.get(&path).await;
    let big = browser
        .post_bytes(&path, format!("csrf={}&code={}", page.csrf(), "1".repeat(10 << 20)).into_bytes())
        .await;
    assert_eq!(big.status, 413);
    let form = [("csrf", page.csrf()), ("code", shop.recovery_codes[0].clone())];
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(browser.post(&path, &form).await.status, 200, "nothing was counted");
    let keep = [("csrf", page.csrf()), ("answer", "keep".to_owned())];
    let keep: Vec<(&str, &str)> = keep.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let back = browser.post(&format!("{path}/lost"), &keep).await;
    let ticket = back.location().split("ticket=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert_eq!(shop.call("/v1/tickets/redeem", &json!({"ticket": ticket})).await.0, 200);
    assert_eq!(shop.call("/v1/tickets/redeem", &json!({"ticket": "never given out"})).await.0, 410);
    let cancelled = shop.challenge().await;
    let mut other = shop.browser();
    let open = other.get(&cancelled).await;
    let page = other.get(open.location()).await;
    let csrf = page.csrf();
    other.post(&format!("{}/cancel", open.location()), &[("csrf", &csrf)]).await;
    let over = shop.browser().get(&cancelled).await;
    assert_eq!(over.status, 403, "another browser claimed it");
    let mut again = other.get(&cancelled).await;
    if again.status == 303 {
        again = other.get(open.location()).await;
    }
    assert_eq!(again.status, 410);
    assert!(again.body.contains("href=") && again.body.contains("Shop"), "the page names the product");
}
