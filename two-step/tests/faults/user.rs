//! A user of the product, with a browser and a phone. Uses only the pages and the API.

use serde_json::json;
use uuid::Uuid;

use crate::backend::Answer;
use crate::browser::Browser;
use crate::journal::ObservedResult;
use crate::site::{RETURN_URL, Site};

/// A user whose two-step verification is on.
pub(crate) struct User {
    pub(crate) name: String,
    /// In E.164.
    pub(crate) number: String,
    pub(crate) phone: Uuid,
    pub(crate) recovery_codes: Vec<String>,
}

impl User {
    /// Sets two-step verification up, with a phone and recovery codes.
    pub(crate) async fn set_up(site: &Site, name: &str) -> Self {
        let n = site.next_number();
        let (typed, number) = (format!("07{n}"), format!("+447{n}"));
        site.journal.secret("number", &number[3..]);
        site.journal.notes().users.push((name.to_owned(), number.clone()));
        let mut browser = site.browser();
        open_session(site, &mut browser, name, "set_up").await;
        browser.open("/settings/phone").await.unwrap();
        let fields = [("country", "GB"), ("number", typed.as_str()), ("channel", "sms")];
        browser.send("/settings/phone", &fields).await.unwrap();
        let code = site.phones.code_after(&number, 0).await;
        let path = browser.url.path().to_owned();
        browser.send(&path, &[("code", &code)]).await.unwrap();
        assert_eq!(browser.url.path(), "/settings", "the first code is right");
        let recovery_codes = save_recovery_codes(site, &mut browser).await;
        browser.open("/settings/on").await.unwrap();
        browser.send("/settings/on", &[]).await.unwrap();
        let phone = site.backend.method(name, "phone").await;
        // The faults of the scenario start after the set-up.
        site.is_quiet().await;
        Self { name: name.to_owned(), number, phone, recovery_codes }
    }

    /// Returns the number of codes that the phone has received.
    pub(crate) async fn codes(&self, site: &Site) -> usize {
        site.phones.codes(&self.number).await.len()
    }

    /// Creates a challenge over the API, and sends a code. Returns the challenge and the number of earlier codes.
    pub(crate) async fn request_code(&self, site: &Site) -> (Uuid, usize) {
        let (challenge, before, sent) = self.try_to_request_code(site).await;
        assert_eq!(sent.status, Some(202), "{sent:?}");
        (challenge, before)
    }

    /// The same if the database may disconnect after the commit, so that the answer does not matter.
    pub(crate) async fn try_to_request_code(&self, site: &Site) -> (Uuid, usize, Answer) {
        let before = self.codes(site).await;
        let challenge = site.backend.create(&self.name).await.id();
        let sent = site.backend.send(challenge, self.phone).await;
        (challenge, before, sent)
    }

    /// Signs in over the API.
    pub(crate) async fn sign_in(&self, site: &Site) {
        let (challenge, before) = self.request_code(site).await;
        let code = site.phones.code_after(&self.number, before).await;
        assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Verified);
    }

    /// Opens a challenge in a browser, up to the code field. Returns the challenge and its code.
    pub(crate) async fn open_challenge(&self, site: &Site, browser: &mut Browser) -> (Uuid, String) {
        let before = self.codes(site).await;
        let (challenge, url) = site.backend.create_for_browser(&self.name).await;
        browser.open(&url).await.unwrap();
        (challenge, site.phones.code_after(&self.number, before).await)
    }
}

/// Opens the settings of a user in a browser.
pub(crate) async fn open_session(site: &Site, browser: &mut Browser, user: &str, purpose: &str) {
    let now = two_step::clock::machine_now();
    let body = json!({"user": user, "purpose": purpose, "password_at": now, "return_url": RETURN_URL});
    let answer = site.backend.post("/v1/sessions", &body).await;
    let url = answer.body["url"].as_str().unwrap_or_else(|| panic!("no url: {answer:?}"));
    site.journal.secret("session handle", url.rsplit('/').next().unwrap());
    browser.open(url).await.unwrap();
}

/// Creates recovery codes and confirms saving them.
async fn save_recovery_codes(site: &Site, browser: &mut Browser) -> Vec<String> {
    browser.open("/settings/recovery-codes").await.unwrap();
    browser.send("/settings/recovery-codes", &[]).await.unwrap();
    let list = browser.page.split("<ol").nth(1).and_then(|l| l.split("</ol>").next()).unwrap_or_default();
    let codes: Vec<String> =
        list.split("<li>").skip(1).map(|l| l.split("</li>").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(codes.len(), 10, "{}", browser.page);
    for code in &codes {
        site.journal.secret("recovery code", code);
        site.journal.secret("recovery code", &code.replace(['-', ' '], ""));
    }
    browser.send("/settings/recovery-codes/saved", &[("saved", "yes")]).await.unwrap();
    codes
}

/// Returns a six-digit code that is none of these.
pub(crate) fn none_of(codes: &[String]) -> String {
    let mut n = 0;
    loop {
        let code = format!("{n:06}");
        if !codes.contains(&code) {
            return code;
        }
        n += 1;
    }
}

/// Adds an e-mail address in the settings of a new user, up to the code field.
pub(crate) async fn request_code_by_email(site: &Site, user: &str, address: &str) -> Browser {
    site.journal.secret("e-mail address", address);
    let mut browser = site.browser();
    open_session(site, &mut browser, user, "set_up").await;
    browser.open("/settings/email").await.unwrap();
    browser.send("/settings/email", &[("address", address)]).await.unwrap();
    browser
}
