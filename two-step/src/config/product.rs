//! The configuration of a product.

use std::path::PathBuf;

use base64::Engine;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::BadConfig;
use super::sections::{is_loopback, section};
use crate::method::Kind;

/// The check of unknown browsers for accounts that are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewDeviceCheck {
    /// No check.
    Off,
    /// A code by e-mail.
    Email,
    /// A code by text.
    Sms,
}

impl NewDeviceCheck {
    /// The kind of method that the check uses; `None` without a check.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Off => None,
            Self::Email => Some(Kind::Email),
            Self::Sms => Some(Kind::Phone),
        }
    }
}

section! {
    /// A product: a service that checks passwords and uses two-step for the second step.
    ProductConfig {
        /// Its name on pages and in authenticator apps.
        name: String = String::new(),
        /// Allowed return URLs, compared character by character.
        return_urls: Vec<String> = vec![],
        /// ISO 3166 codes of the countries whose numbers are allowed.
        countries: Vec<String> = vec![],
        /// The colour of the main buttons: `#` and six hexadecimal digits.
        colour: Option<String> = None,
        /// The check of unknown browsers for accounts that are off.
        new_device_check: NewDeviceCheck = NewDeviceCheck::Off,
        /// The product's start page, which pages without a next step link to.
        home_url: Option<String> = None,
        /// Its own app; `None`: the app is not offered.
        app: Option<ProductAppConfig> = None,
        /// The webhook for its events.
        webhook: Option<WebhookConfig> = None,
    }
}
section! {
    /// A product's own app.
    ProductAppConfig {
        /// The app's name on phones; empty: the product's name.
        name: String = String::new(),
        /// An image file with the icon; `None`: a default icon.
        icon_file: Option<PathBuf> = None,
    }
}
section! {
    /// The webhook for a product's events.
    WebhookConfig {
        /// The URL.
        url: String = String::new(),
        /// The signing secret: `whsec_…`
        secret: Option<SecretString> = None,
        /// A file with the secret.
        secret_file: Option<PathBuf> = None,
    }
}

impl ProductConfig {
    /// Adds an allowed return URL.
    pub fn add_return_url(&mut self, url: &str) -> Result<(), BadConfig> {
        if !is_return_url(url) {
            return Err(BadConfig(format!("{url} {PLAIN_URL}")));
        }
        self.return_urls.push(url.to_owned());
        Ok(())
    }

    pub(super) fn check(&self, key: &str) -> Result<(), BadConfig> {
        let bad = |text: String| Err(BadConfig(format!("products.{key}: {text}")));
        let named = (1..=64).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !named {
            return bad("a product's name must be 1 to 64 of a-z, 0-9, - and _".to_owned());
        }
        if self.name.is_empty() || self.name.chars().count() > 40 || self.name.chars().any(char::is_control) {
            return bad("name is required: 1 to 40 characters".to_owned());
        }
        if self.countries.is_empty() {
            return bad(
                "countries is required: the ISO 3166 codes of the countries whose numbers are allowed"
                    .to_owned(),
            );
        }
        if let Some(n) = self.countries.iter().position(|c| !is_country(c)) {
            return bad(format!("countries: entry {} is not an ISO 3166 code such as GB", n + 1));
        }
        if let Some(n) = self.return_urls.iter().position(|url| !is_return_url(url)) {
            return bad(format!("return_urls: entry {} {PLAIN_URL}", n + 1));
        }
        if self.home_url.as_ref().is_some_and(|url| !is_return_url(url)) {
            return bad(format!("home_url {PLAIN_URL}"));
        }
        if self.colour.as_ref().is_some_and(|c| !is_colour(c)) {
            return bad("colour must be # and six hexadecimal digits, such as #1a5fb4".to_owned());
        }
        let icon = self.app.as_ref().and_then(|app| app.icon_file.as_ref());
        let is_image = |path: &PathBuf| path.extension().is_some_and(|e| e == "svg" || e == "png");
        if icon.is_some_and(|path| !is_image(path)) {
            return bad("app.icon_file must end in .svg or .png".to_owned());
        }
        match self.webhook.as_ref().and_then(WebhookConfig::fault) {
            Some(fault) => bad(fault.to_owned()),
            None => Ok(()),
        }
    }
}

/// Allowed length of a webhook's key in bytes (Standard Webhooks: 24 to 64).
const WEBHOOK_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

impl WebhookConfig {
    /// Returns the signing key, or `None` if the secret is malformed.
    pub fn key(&self) -> Option<Vec<u8>> {
        let text = self.secret.as_ref()?.expose_secret().strip_prefix("whsec_")?;
        let key = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        WEBHOOK_KEY_BYTES.contains(&key.len()).then_some(key)
    }

    fn fault(&self) -> Option<&'static str> {
        if !is_https_or_loopback(&self.url) {
            return Some("webhook.url must be https, or http on loopback");
        }
        self.key().is_none().then_some(
            "webhook.secret must be whsec_ and 24 to 64 bytes in base64; store it in a file, and set secret_file",
        )
    }
}

/// The rule for URLs of a product.
const PLAIN_URL: &str = "must be https, or http on loopback, without user, query and fragment";

fn is_https_or_loopback(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|u| {
        u.scheme() == "https" || u.scheme() == "http" && is_loopback(u.host_str().unwrap_or_default())
    })
}

fn is_country(code: &str) -> bool {
    let region = code.parse::<rlibphonenumber::Region>();
    let known =
        region.is_ok_and(|r| rlibphonenumber::PHONE_NUMBER_UTIL.get_country_code_for_region(r).is_some());
    code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()) && known
}

fn is_colour(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_return_url(url: &str) -> bool {
    let plain = reqwest::Url::parse(url)
        .is_ok_and(|u| u.query().is_none() && u.fragment().is_none() && u.username().is_empty());
    plain && is_https_or_loopback(url) && !url.contains('*')
}
