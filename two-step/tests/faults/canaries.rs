//! Uses every secret of two-step once, with and without faults. The checker searches for each of them everywhere.

use two_step::totp;

use crate::checker;
use crate::journal::{Journal, ObservedResult};
use crate::killed::prepared;
use crate::relay::Direction;
use crate::site::{Site, Transport};
use crate::user::{User, none_of, open_session, request_code_by_email};
use crate::wait;

/// Returns the key on a page of a new authenticator.
fn key_of(page: &str, journal: &Journal) -> Vec<u8> {
    let text = page.split("secret=").nth(1).unwrap().split('&').next().unwrap();
    journal.secret("TOTP key", text);
    let mut bits = text.bytes().flat_map(|c| {
        let value = if c.is_ascii_uppercase() { c - b'A' } else { c - b'2' + 26 };
        (0..5).rev().map(move |n| value >> n & 1)
    });
    let bytes: Vec<u8> =
        std::iter::from_fn(|| (0..8).try_fold(0, |byte, _| Some(byte << 1 | bits.next()?))).collect();
    journal.secret("TOTP key", &bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
    bytes
}

/// Adds an authenticator. Returns its key.
async fn add_authenticator(site: &Site, user: &str) -> Vec<u8> {
    let mut browser = site.browser();
    open_session(site, &mut browser, user, "set_up").await;
    browser.open("/settings/authenticator").await.unwrap();
    let key = key_of(&browser.page, &site.journal);
    let code = totp::at_step(&key, two_step::clock::machine_now().as_second() / totp::STEP_S);
    browser.send("/settings/authenticator", &[("code", &code)]).await.unwrap();
    assert_eq!(browser.url.path(), "/settings", "{}", browser.page);
    key
}

/// Signs in with a recovery code on the page that lists the ways.
async fn sign_in_by_recovery_code(site: &Site, user: &User) {
    let mut browser = site.browser();
    let (challenge, _) = user.open_challenge(site, &mut browser).await;
    let page = format!("/challenge/{challenge}");
    let code = &user.recovery_codes[0];
    browser.send(&page, &[("code", code)]).await.unwrap();
    site.journal.entry(challenge, true, ObservedResult::Verified);
    let new =
        browser.page.split("id=\"new-code\">").nth(1).and_then(|t| t.split('<').next()).unwrap_or_default();
    assert!(new.len() >= 16, "the new code is shown: {}", browser.page);
    site.journal.secret("recovery code", new);
    site.journal.secret("recovery code", &new.replace(['-', ' '], ""));
    browser.send(&format!("{page}/lost"), &[("answer", "keep")]).await.unwrap();
    let ticket = browser.ticket().expect("the browser should be redirected with a ticket");
    site.journal.ticket(challenge, &ticket);
    assert!(site.backend.redeem(&ticket).await.is_some());
}

/// Fails if a log line contains the entry, if an event contains the number or the address, or if a job is not sealed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_logs_tables_queues_events_or_webhooks() {
    let (site, user, _otpost, _two_step) = prepared(Transport::Amqp).await;
    site.tap.bind("otpost.events", &["#"]).await;
    // An authenticator and an address of a user whose account is off.
    let address = "canary@mail.example";
    let mut emails = request_code_by_email(&site, "tim", address).await;
    let email = wait::answer("a letter", async || site.mailbox.emails(address).pop()).await;
    let code = email.code().unwrap();
    site.journal.secret("code", &code);
    emails.send("/settings/email", &[("code", &code)]).await.unwrap();
    add_authenticator(&site, "tim").await;
    // A trusted browser that returns.
    let mut browser = site.browser();
    let (challenge, code) = user.open_challenge(&site, &mut browser).await;
    assert_eq!(
        browser.enter(challenge, &none_of(std::slice::from_ref(&code)), false, false).await,
        ObservedResult::Wrong
    );
    assert_eq!(browser.enter(challenge, &code, true, true).await, ObservedResult::Verified);
    assert!(site.backend.redeem(&browser.ticket().unwrap()).await.is_some());
    let (challenge, url) = site.backend.create_for_browser(&user.name).await;
    browser.open(&url).await.unwrap();
    let ticket = browser.ticket().expect("a trusted browser should need no code");
    site.journal.ticket(challenge, &ticket);
    sign_in_by_recovery_code(&site, &user).await;
    // Faults in the middle of requests with secrets, because errors are logged too.
    for _ in 0..2 {
        site.journal.fault();
        site.links.database.cut_when(Direction::ToUpstream, b"challenge.verified", false);
        let (challenge, before) = user.request_code(&site).await;
        let code = site.phones.code_after(&user.number, before).await;
        assert_eq!(site.backend.verify(challenge, &code, true).await, ObservedResult::Unknown);
        site.links.broker.cut_when(Direction::ToUpstream, b"\"template\":\"two_step\"", true);
        user.sign_in(&site).await;
    }
    checker::check(&site).await;
}
