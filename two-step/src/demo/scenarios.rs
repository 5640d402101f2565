//! The scenarios of `--play` and their expected results. They build on each other: ada turns two-step verification on, uses
//! it, loses her phone, and turns it off.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value as Json;

use super::browser::Browser;
use super::phone_app::PhoneApp;

type ScenarioRun = Pin<Box<dyn Future<Output = anyhow::Result<String>> + Send>>;

/// A scenario.
pub(super) struct Scenario {
    pub(super) title: &'static str,
    pub(super) run: fn(String) -> ScenarioRun,
}

macro_rules! scenarios {
    ($($title:literal => $run:ident),+ $(,)?) => {
        /// In the order of the table.
        pub(super) const SCENARIOS: &[Scenario] = &[$(Scenario { title: $title, run: |site| Box::pin($run(site)) }),+];
    };
}

scenarios! {
    "turned on with a phone and recovery codes" => turned_on,
    "a new browser signs in with a code by text" => by_text,
    "a trusted browser signs in again" => trusted,
    "a call instead of the text" => by_call,
    "a text is undelivered, a call follows" => fallback,
    "five wrong codes lock the challenge" => locked,
    "the shop's own app approves and denies" => by_app,
    "turned off again" => turned_off,
}

/// Maximum time until a code arrives.
const ARRIVAL: Duration = Duration::from_secs(15);

async fn signed_in(site: &str, user: &str, password: &str) -> anyhow::Result<Browser> {
    let mut browser = Browser::new(site)?;
    browser.open("/shop").await?;
    browser.send("/shop/sign-in", &[("user", user), ("password", password)]).await?;
    Ok(browser)
}

/// Returns the newest message to a number: its position among all messages, and its text.
async fn newest(site: &str, number: &str, channel: &str) -> anyhow::Result<(u64, String)> {
    let phones: Json =
        reqwest::Client::builder().build()?.get(format!("{site}/phones")).send().await?.json().await?;
    let phone = phones["phones"].as_array().into_iter().flatten().find(|p| p["number"] == number);
    let messages = phone.and_then(|p| p["messages"].as_array()).cloned().unwrap_or_default();
    let newest = messages.iter().filter(|m| m["channel"] == channel).max_by_key(|m| m["seq"].as_u64());
    let says = newest.and_then(|m| m["body"].as_str().or(m["transcript"].as_str())).unwrap_or_default();
    Ok((newest.and_then(|m| m["seq"].as_u64()).unwrap_or(0), says.to_owned()))
}

/// Returns the position of the newest message, so that a later one can be recognised.
async fn place(site: &str, number: &str, channel: &str) -> anyhow::Result<u64> {
    Ok(newest(site, number, channel).await?.0)
}

/// Returns the code of the first message after a position.
async fn code(site: &str, number: &str, channel: &str, after: u64) -> anyhow::Result<String> {
    let until = tokio::time::Instant::now() + ARRIVAL;
    loop {
        let (place, says) = newest(site, number, channel).await?;
        if let Some(code) = Some(says).filter(|_| place > after).and_then(|t| read_code(&t)) {
            return Ok(code);
        }
        if tokio::time::Instant::now() > until {
            bail!("no {channel} with a code arrived");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Returns the code of a message: after the `#` of a text's last line, or the digits that a call spells. The pauses of a
/// call are written in parentheses.
fn read_code(text: &str) -> Option<String> {
    let spoken =
        text.split('(').map(|part| part.split_once(')').map_or(part, |(_, rest)| rest)).collect::<String>();
    let from = text.rsplit_once(" #").map_or(spoken.as_str(), |(_, code)| code);
    let is_notice = text.contains("/stop/");
    let digits: String = from.chars().filter(char::is_ascii_digit).take(6).collect();
    (digits.len() == 6 && !is_notice).then_some(digits)
}

async fn add_phone(browser: &mut Browser, site: &str, typed: &str, number: &str) -> anyhow::Result<()> {
    browser.open("/settings/phone").await?;
    let before = place(site, number, "sms").await?;
    browser.send("/settings/phone", &[("country", "GB"), ("number", typed), ("channel", "sms")]).await?;
    let code = code(site, number, "sms", before).await?;
    let path = browser.url.path().to_owned();
    browser.send(&path, &[("code", &code)]).await?;
    ensure!(browser.url.path().starts_with("/settings"), "the first code was not accepted: {}", browser.url);
    Ok(())
}

/// Sets up a user with a phone and recovery codes.
async fn set_up(
    site: &str, user: &str, password: &str, typed: &str, number: &str,
) -> anyhow::Result<Browser> {
    let mut browser = signed_in(site, user, password).await?;
    ensure!(
        browser.shows("signed in"),
        "the password alone should sign in before two-step verification is on"
    );
    browser.send("/shop/settings", &[]).await?;
    add_phone(&mut browser, site, typed, number).await?;
    browser.open("/settings/recovery-codes").await?;
    browser.send("/settings/recovery-codes", &[]).await?;
    browser.send("/settings/recovery-codes/saved", &[("saved", "yes")]).await?;
    ensure!(
        browser.url.path() == "/settings/on",
        "the wizard should offer to turn it on, but shows {}",
        browser.url.path()
    );
    browser.send("/settings/on", &[]).await?;
    Ok(browser)
}

async fn turned_on(site: String) -> anyhow::Result<String> {
    let mut browser = set_up(&site, "ada", "lovelace", "07700 900200", "+447700900200").await?;
    browser.send("/settings/leave", &[]).await?;
    ensure!(browser.url.path() == "/shop", "the shop's page should be shown");
    Ok("1 text, 10 recovery codes, on".to_owned())
}

async fn by_text(site: String) -> anyhow::Result<String> {
    let before = place(&site, "+447700900200", "sms").await?;
    let mut browser = signed_in(&site, "ada", "lovelace").await?;
    let code = code(&site, "+447700900200", "sms", before).await?;
    let path = browser.url.path().to_owned();
    browser.send(&path, &[("code", &code)]).await?;
    ensure!(browser.shows("sms (second)"), "the shop should have a result by sms");
    Ok("signed in, result by sms".to_owned())
}

async fn trusted(site: String) -> anyhow::Result<String> {
    let before = place(&site, "+447700900200", "sms").await?;
    let mut browser = signed_in(&site, "ada", "lovelace").await?;
    let code = code(&site, "+447700900200", "sms", before).await?;
    let path = browser.url.path().to_owned();
    browser.send(&path, &[("code", &code), ("trust", "yes")]).await?;
    browser.send("/shop/close", &[]).await?;
    browser.send("/shop/sign-in", &[("user", "ada"), ("password", "lovelace")]).await?;
    ensure!(browser.shows("trust (trusted)"), "a trusted browser should need no code");
    browser.send("/shop/sign-out", &[]).await?;
    browser.send("/shop/sign-in", &[("user", "ada"), ("password", "lovelace")]).await?;
    ensure!(browser.url.path().starts_with("/challenge/"), "after sign-out a code should be needed");
    Ok("no code needed; after sign-out a code is needed again".to_owned())
}

async fn by_call(site: String) -> anyhow::Result<String> {
    let mut browser = signed_in(&site, "ada", "lovelace").await?;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let calls = place(&site, "+447700900200", "voice").await?;
    let path = browser.url.path().to_owned();
    browser.send(&format!("{path}/send"), &[("channel", "voice")]).await?;
    let code = code(&site, "+447700900200", "voice", calls).await?;
    browser.send(&path, &[("code", &code)]).await?;
    ensure!(browser.shows("voice (second)"), "the shop should have a result by voice");
    Ok("signed in, result by voice".to_owned())
}

async fn fallback(site: String) -> anyhow::Result<String> {
    // The mock carrier reports texts to numbers that end in 0102 as undelivered.
    let mut browser = signed_in(&site, "alan", "turing").await?;
    browser.send("/shop/settings", &[]).await?;
    browser.open("/settings/phone").await?;
    browser
        .send("/settings/phone", &[("country", "GB"), ("number", "07700 900102"), ("channel", "sms")])
        .await?;
    let code = code(&site, "+447700900102", "voice", 0).await?;
    let path = browser.url.path().to_owned();
    browser.send(&path, &[("code", &code)]).await?;
    ensure!(!browser.url.path().starts_with("/settings/phone/"), "the code of the call should be accepted");
    Ok("the call spoke the same code".to_owned())
}

async fn locked(site: String) -> anyhow::Result<String> {
    let mut browser = set_up(&site, "grace", "hopper", "07700 900201", "+447700900201").await?;
    browser.open(&format!("{site}/shop")).await?;
    browser.send("/shop/sign-out", &[]).await?;
    let before = place(&site, "+447700900201", "sms").await?;
    browser.send("/shop/sign-in", &[("user", "grace"), ("password", "hopper")]).await?;
    let right = code(&site, "+447700900201", "sms", before).await?;
    let wrong = if right == "000000" { "000001" } else { "000000" };
    let path = browser.url.path().to_owned();
    for _ in 0..5 {
        browser.send(&path, &[("code", wrong)]).await.context("a wrong code")?;
    }
    ensure!(browser.form_is_gone(&path), "no further code should be accepted");
    Ok("a sixth entry is refused".to_owned())
}

/// Returns the text of the first element with this mark.
fn marked(browser: &Browser, mark: &str) -> anyhow::Result<String> {
    let after = browser.page.split_once(mark).with_context(|| format!("the page shows no {mark}"))?.1;
    let text = after.split_once('>').map_or("", |(_, text)| text);
    // The label for screen readers comes before the value.
    let text =
        text.split_once("</span>").filter(|_| text.starts_with("<span")).map_or(text, |(_, rest)| rest);
    Ok(text.split('<').next().unwrap_or_default().trim().to_owned())
}

async fn by_app(site: String) -> anyhow::Result<String> {
    let mut browser = signed_in(&site, "alan", "turing").await?;
    browser.send("/shop/settings", &[]).await?;
    browser.open("/settings/app").await?;
    let app = PhoneApp::new(&browser.url)?;
    let digits = app.register(&marked(&browser, "id=\"set-up-code\"")?).await?;
    browser.open("/settings/app").await?;
    let method = browser.hidden("/settings/app", "method").context("the page has no field for the digits")?;
    browser.send("/settings/app", &[("method", &method), ("code", &digits)]).await?;
    browser.open("/settings/recovery-codes").await?;
    browser.send("/settings/recovery-codes", &[]).await?;
    browser.send("/settings/recovery-codes/saved", &[("saved", "yes")]).await?;
    browser.send("/settings/on", &[]).await?;
    let mut other = signed_in(&site, "alan", "turing").await?;
    let path = other.url.path().to_owned();
    let number: String = marked(&other, "class=\"number\"")?.chars().filter(char::is_ascii_digit).collect();
    app.approve(&number).await?;
    other.send_to(&path, &format!("{path}/app"), &[]).await?;
    ensure!(other.shows("app (second)"), "the shop should have a result by the app");
    let mut attacker = signed_in(&site, "alan", "turing").await?;
    let path = attacker.url.path().to_owned();
    app.deny().await?;
    attacker.open(&path).await?;
    ensure!(attacker.form_is_gone(&path), "the denied sign-in should have ended");
    Ok("a number typed into the app; “It was not me” ends a sign-in".to_owned())
}

async fn turned_off(site: String) -> anyhow::Result<String> {
    let before = place(&site, "+447700900200", "sms").await?;
    let mut browser = signed_in(&site, "ada", "lovelace").await?;
    let sign_in = code(&site, "+447700900200", "sms", before).await?;
    let path = browser.url.path().to_owned();
    browser.send(&path, &[("code", &sign_in)]).await?;
    browser.send("/shop/settings", &[]).await?;
    let before = place(&site, "+447700900200", "sms").await?;
    browser.send("/settings/proof", &[]).await?;
    let fresh = code(&site, "+447700900200", "sms", before).await?;
    let path = browser.url.path().to_owned();
    browser.send(&path, &[("code", &fresh)]).await?;
    browser.open("/settings/off").await?;
    browser.send("/settings/off", &[("phones", "erase")]).await?;
    let back = signed_in(&site, "ada", "lovelace").await?;
    ensure!(back.shows("The password alone signed you in"), "the password alone should sign in");
    Ok("after a fresh proof; then the password alone signs in".to_owned())
}
