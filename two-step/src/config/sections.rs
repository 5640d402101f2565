//! The sections of the configuration file, each with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Life, read_duration};

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

pub(super) use section;

const fn minutes(n: u64) -> Life {
    Life(Duration::from_secs(n * 60))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The public URL of the pages: https, or http on loopback.
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
        let wrong = "public_url must be https://host, or http:// on loopback, without a path";
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
        // In the form that browsers use in `Origin`: lower case, no default port.
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

    /// The host, with the port if it is not the default: `verify.shop.example`, `127.0.0.1:8090`
    pub fn authority(&self) -> &str {
        self.text.split_once("://").map_or(&self.text, |(_, authority)| authority)
    }

    /// Whether it is https. Then cookies are `Secure` and have the prefix `__Host-`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

/// Returns whether a host name is loopback.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|a| a.is_loopback())
}

section! {
    /// The listener of the pages.
    PagesConfig {
        /// The address.
        listen: SocketAddr = loopback(8090),
    }
}
section! {
    /// The listener of the API.
    ApiConfig {
        /// The address.
        listen: SocketAddr = loopback(8091),
    }
}
section! {
    /// The listener of health and metrics.
    OpsConfig {
        /// The address.
        listen: SocketAddr = loopback(8092),
        /// Bearer token required for `/metrics`.
        token: Option<SecretString> = None,
        /// A file with the token.
        token_file: Option<PathBuf> = None,
    }
}
section! {
    /// The database.
    DatabaseConfig {
        /// `postgres://…` or `sqlite:…`
        url: Option<SecretString> = None,
        /// A file with the URL.
        url_file: Option<PathBuf> = None,
        /// Maximum number of connections.
        pool: usize = 16,
    }
}

impl DatabaseConfig {
    /// Returns the URL.
    pub fn url(&self) -> &str {
        self.url.as_ref().map_or("sqlite:two-step.db", |u| u.expose_secret())
    }
}

section! {
    /// The root keys.
    KeysConfig {
        /// The root, 64 hexadecimal digits.
        root: Option<SecretString> = None,
        /// A file with the root.
        root_file: Option<PathBuf> = None,
        /// The root's public id.
        id: String = "k1".to_owned(),
        /// Former roots, which only open values.
        previous: Vec<PreviousRoot> = vec![],
        /// The root of the hashes.
        hash_root: Option<SecretString> = None,
        /// A file with the root.
        hash_root_file: Option<PathBuf> = None,
    }
}
section! {
    /// A former root, which only opens values.
    PreviousRoot {
        /// Its public id.
        id: String = String::new(),
        /// The root.
        root: Option<SecretString> = None,
        /// A file with the root.
        root_file: Option<PathBuf> = None,
    }
}

/// The protocol of the connection to otpost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtpostMode {
    /// Over its HTTP API.
    Http,
    /// Over RabbitMQ.
    Amqp,
}

section! {
    /// The connection to otpost.
    OtpostConfig {
        /// `http` or `amqp`.
        mode: OtpostMode = OtpostMode::Http,
        /// The URL of otpost's API, or of the broker.
        url: Option<SecretString> = None,
        /// A file with the URL.
        url_file: Option<PathBuf> = None,
        /// The API key (`http`).
        key: Option<SecretString> = None,
        /// A file with the key.
        key_file: Option<PathBuf> = None,
        /// The tenant whose key seals jobs.
        tenant: String = "default".to_owned(),
        /// The tenant's key, from `otpost keys tenant`.
        tenant_key: Option<SecretString> = None,
        /// A file with the key.
        tenant_key_file: Option<PathBuf> = None,
        /// Whether voice calls are offered.
        calls: bool = true,
    }
}
section! {
    /// The mail server.
    SmtpConfig {
        /// `smtps://user:password@host` or `smtp://127.0.0.1:1025`; `None`: no mail is sent.
        url: Option<SecretString> = None,
        /// A file with the URL.
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
        /// Life of a challenge, from its creation. One that no browser opens expires after 10m.
        life: Life = minutes(30),
    }
}
section! {
    /// Fresh proofs.
    ProofConfig {
        /// How long a proof gives access to the settings.
        fresh: Life = minutes(10),
    }
}

/// The life of a trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustLife(pub Option<Duration>);

impl TrustLife {
    /// Returns whether only sign-out ends a trust.
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
        let wrong = "trust.life must be a duration such as 30d, or until_sign_out";
        read_duration(&text).filter(|d| !d.is_zero()).map(|d| Self(Some(d))).ok_or(wrong)
    }
}

section! {
    /// Trusted devices.
    TrustConfig {
        /// The life of a trust.
        life: TrustLife = TrustLife(Some(Duration::from_secs(30 * 86400))),
    }
}
section! {
    /// E-mail as a second step.
    EmailConfig {
        /// Whether e-mail is accepted as a second step.
        second_step: bool = false,
    }
}
section! {
    /// Authenticator apps.
    TotpConfig {
        /// Allowed clock error of a phone in steps of 30 s, 0 to 2.
        tolerance_steps: u32 = 1,
    }
}
section! {
    /// The products' own apps.
    AppConfig {
        /// Number of digits that a page shows and the user types into the app, 2 to 6.
        number_digits: u32 = 6,
        /// Whether pushes are sent to apps.
        push: bool = true,
        /// Hosts that pushes may be sent to; `*.` matches any one label.
        push_hosts: Vec<String> = ["fcm.googleapis.com", "updates.push.services.mozilla.com", "web.push.apple.com",
            "*.notify.windows.com"].map(str::to_owned).to_vec(),
    }
}
section! {
    /// Support cases.
    SupportConfig {
        /// Delay of the support actions `turn_off` and `remove_method`.
        delay: Life = minutes(24 * 60),
    }
}

/// The format of logs.
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
        /// The filter.
        level: String = "info".to_owned(),
        /// `text` or `json`.
        format: LogFormat = LogFormat::Text,
    }
}
