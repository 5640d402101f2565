//! The sections of the configuration file, each with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{BadConfig, Life, read_duration};
use crate::method::Kind;

macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty = $default:expr),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty),* }

        impl Default for $name {
            fn default() -> Self { Self { $($field: $default),* } }
        }
    };
}

const fn minutes(n: u64) -> Life {
    Life(Duration::from_secs(n * 60))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Where users reach the pages: https, or http on loopback.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl {
    text: String,
    host: String,
    secure: bool,
}

impl Default for PublicUrl {
    fn default() -> Self {
        Self { text: "http://127.0.0.1:8090".to_owned(), host: "127.0.0.1".to_owned(), secure: false }
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "public_url is https://host, or http:// on loopback, without a path";
        let text = text.trim_end_matches('/').to_owned();
        let url = reqwest::Url::parse(&text).map_err(|_| wrong)?;
        let host = url.host_str().ok_or(wrong)?.to_owned();
        let secure = url.scheme() == "https";
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !bare || !(secure || url.scheme() == "http" && is_loopback(&host)) {
            return Err(wrong);
        }
        // As browsers write it in `Origin`: lower case, no default port.
        Ok(Self { text: url.origin().ascii_serialization(), host, secure })
    }
}

impl PublicUrl {
    /// `https://verify.shop.example`
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `verify.shop.example`
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is https: cookies are `Secure` and carry the `__Host-` prefix then.
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

/// Whether a host name is this machine alone.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|a| a.is_loopback())
}

section! {
    /// The pages' listener.
    PagesConfig {
        /// Where it listens.
        listen: SocketAddr = loopback(8090),
    }
}
section! {
    /// The back ends' listener.
    ApiConfig {
        /// Where it listens.
        listen: SocketAddr = loopback(8091),
    }
}
section! {
    /// Health and metrics.
    OpsConfig {
        /// Where it listens.
        listen: SocketAddr = loopback(8092),
        /// Bearer token required for `/metrics`.
        token: Option<SecretString> = None,
        /// A file that holds it.
        token_file: Option<PathBuf> = None,
    }
}
section! {
    /// The store.
    DatabaseConfig {
        /// `postgres://…` or `sqlite:…`
        url: Option<SecretString> = None,
        /// A file that holds it.
        url_file: Option<PathBuf> = None,
        /// Maximum number of connections.
        pool: usize = 16,
    }
}

impl DatabaseConfig {
    /// The URL in force.
    pub fn url(&self) -> &str {
        self.url.as_ref().map_or("sqlite:two-step.db", |u| u.expose_secret())
    }
}

section! {
    /// All keys.
    KeysConfig {
        /// The root, 64 hexadecimal digits.
        root: Option<SecretString> = None,
        /// A file that holds it.
        root_file: Option<PathBuf> = None,
        /// The root's public name.
        id: String = "k1".to_owned(),
        /// Roots that only open.
        previous: Vec<PreviousRoot> = vec![],
        /// The root of the hashes.
        hash_root: Option<SecretString> = None,
        /// A file that holds it.
        hash_root_file: Option<PathBuf> = None,
    }
}
section! {
    /// A root that only opens.
    PreviousRoot {
        /// Its public name.
        id: String = String::new(),
        /// The root.
        root: Option<SecretString> = None,
        /// A file that holds it.
        root_file: Option<PathBuf> = None,
    }
}

/// How otpost is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtpostMode {
    /// Over its HTTP API.
    Http,
    /// Over RabbitMQ.
    Amqp,
}

section! {
    /// otpost, which carries codes.
    OtpostConfig {
        /// `http` or `amqp`.
        mode: OtpostMode = OtpostMode::Http,
        /// otpost's API, or the broker.
        url: Option<SecretString> = None,
        /// A file that holds it.
        url_file: Option<PathBuf> = None,
        /// The bearer key (`http`).
        key: Option<SecretString> = None,
        /// A file that holds it.
        key_file: Option<PathBuf> = None,
        /// The tenant that jobs are sealed for.
        tenant: String = "default".to_owned(),
        /// The tenant's key, from `otpost keys tenant`.
        tenant_key: Option<SecretString> = None,
        /// A file that holds it.
        tenant_key_file: Option<PathBuf> = None,
        /// Whether codes are called out as well.
        calls: bool = true,
    }
}
section! {
    /// The mail server.
    SmtpConfig {
        /// `smtps://user:password@host` or `smtp://127.0.0.1:1025`; none: no mail.
        url: Option<SecretString> = None,
        /// A file that holds it.
        url_file: Option<PathBuf> = None,
        /// The sender's address.
        from: String = "no-reply@localhost".to_owned(),
    }
}
section! {
    /// Codes.
    CodeConfig {
        /// Life of a code.
        life: Life = minutes(10),
    }
}
section! {
    /// Challenges.
    ChallengeConfig {
        /// Life of a challenge, from its creation.
        life: Life = minutes(30),
    }
}
section! {
    /// Fresh proofs.
    ProofConfig {
        /// How long a proof opens the settings.
        fresh: Life = minutes(10),
    }
}

/// How long a device is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustLife(pub Option<Duration>);

impl TrustLife {
    /// Whether trust ends with sign-out alone.
    pub fn is_none(self) -> bool {
        self.0.is_none()
    }
}

impl TryFrom<String> for TrustLife {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "until_sign_out" {
            return Ok(Self(None));
        }
        let wrong = "trust.life is a time such as 30d, or until_sign_out";
        read_duration(&text).filter(|d| !d.is_zero()).map(|d| Self(Some(d))).ok_or(wrong)
    }
}

section! {
    /// Trusted devices.
    TrustConfig {
        /// How long a device is trusted.
        life: TrustLife = TrustLife(Some(Duration::from_secs(30 * 86400))),
    }
}
section! {
    /// E-mail as a second step.
    EmailConfig {
        /// Whether a code by e-mail is a second step.
        second_step: bool = false,
    }
}
section! {
    /// Authenticator apps.
    TotpConfig {
        /// Steps of 30 s that a phone's clock may be off, 0 to 2.
        tolerance_steps: u32 = 1,
    }
}
section! {
    /// Support cases.
    SupportConfig {
        /// How long a support case waits before two-step verification is turned off.
        delay: Life = minutes(24 * 60),
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

section! {
    /// Logs.
    LogConfig {
        /// A filter.
        level: String = "info".to_owned(),
        /// `text` or `json`.
        format: LogFormat = LogFormat::Text,
    }
}

/// What a product does about unknown browsers of accounts that are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewDeviceCheck {
    /// Nothing.
    Off,
    /// A code by e-mail.
    Email,
    /// A code by text.
    Sms,
}

impl NewDeviceCheck {
    /// The kind of method that is asked; none: nothing is asked.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Off => None,
            Self::Email => Some(Kind::Email),
            Self::Sms => Some(Kind::Phone),
        }
    }
}

section! {
    /// A product: a service that checks passwords itself.
    ProductConfig {
        /// Its name on pages and in authenticator apps.
        name: String = String::new(),
        /// Where browsers may be sent back to; compared character for character.
        return_urls: Vec<String> = vec![],
        /// ISO 3166 countries whose numbers are served.
        countries: Vec<String> = vec![],
        /// What happens on unknown browsers of accounts that are off.
        new_device_check: NewDeviceCheck = NewDeviceCheck::Off,
        /// The product's start page, for pages that have nothing else to offer.
        home_url: Option<String> = None,
        /// Where its events go.
        webhook: Option<WebhookConfig> = None,
    }
}
section! {
    /// Where a product's events go.
    WebhookConfig {
        /// The target.
        url: String = String::new(),
        /// The secret that signs: `whsec_…`
        secret: Option<SecretString> = None,
        /// A file that holds it.
        secret_file: Option<PathBuf> = None,
    }
}

impl ProductConfig {
    pub(super) fn check(&self, key: &str) -> Result<(), BadConfig> {
        let bad = |text: String| Err(BadConfig(format!("products.{key}: {text}")));
        let named = (1..=64).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !named {
            return bad("a product's key is 1 to 64 of a-z, 0-9, - and _".to_owned());
        }
        if self.name.is_empty() || self.name.chars().count() > 40 || self.name.chars().any(char::is_control) {
            return bad("name is needed: 1 to 40 characters".to_owned());
        }
        if self.countries.is_empty() {
            return bad("countries is needed: the ISO 3166 codes of the countries whose numbers are served"
                .to_owned());
        }
        if let Some(n) = self.countries.iter().position(|c| !is_country(c)) {
            return bad(format!("countries: entry {} is no ISO 3166 code such as GB", n + 1));
        }
        if let Some(n) = self.return_urls.iter().position(|url| !is_return_url(url)) {
            return bad(format!("return_urls: entry {} {PLAIN_URL}", n + 1));
        }
        if self.home_url.as_ref().is_some_and(|url| !is_return_url(url)) {
            return bad(format!("home_url {PLAIN_URL}"));
        }
        match self.webhook.as_ref().and_then(WebhookConfig::fault) {
            Some(fault) => bad(fault.to_owned()),
            None => Ok(()),
        }
    }
}

/// Bytes that a webhook's key must have (Standard Webhooks: 24 to 64).
const WEBHOOK_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

impl WebhookConfig {
    /// The key that signs; none where the secret has another form.
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
            "webhook.secret must be whsec_ and 24 to 64 bytes in base64; name a file that holds it in secret_file",
        )
    }
}

/// What a URL of a product must be.
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

fn is_return_url(url: &str) -> bool {
    let plain = reqwest::Url::parse(url)
        .is_ok_and(|u| u.query().is_none() && u.fragment().is_none() && u.username().is_empty());
    plain && is_https_or_loopback(url) && !url.contains('*')
}
