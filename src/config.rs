//! The configuration: one TOML file, strict, with the commented default compiled in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::carrier::twilio;
use crate::dispatch::NumberCheck;
use crate::next::UnknownPolicy;
use crate::quota::Rule;
use crate::seal::{Keys, Root};

/// The default, every key commented: the manual of the configuration.
pub const DEFAULT: &str = include_str!("../config/otpost.toml");

/// Why a configuration is not usable: a sentence that says what to change, and quotes no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The memory.
    pub ledger: LedgerConfig,
    /// The broker.
    pub amqp: AmqpConfig,
    /// All keys.
    pub keys: KeysConfig,
    /// The door for jobs.
    pub api: ApiConfig,
    /// The door for callbacks.
    pub receipts: ReceiptsConfig,
    /// Health and metrics.
    pub ops: OpsConfig,
    /// Running dispatches.
    pub worker: WorkerConfig,
    /// Quotas.
    pub limits: LimitsConfig,
    /// Which numbers are served.
    pub numbers: NumbersConfig,
    /// Times of a dispatch.
    pub dispatch: DispatchConfig,
    /// Words.
    pub messages: MessagesConfig,
    /// Logs.
    pub log: LogConfig,
    /// Tenants that differ.
    pub tenants: BTreeMap<String, TenantConfig>,
    /// Accounts at carriers.
    pub carriers: BTreeMap<String, CarrierConfig>,
    /// Who carries what.
    pub routes: RoutesConfig,
}

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

section! {
    /// The memory.
    LedgerConfig {
        /// `postgres://…` or `sqlite:…`
        url: Option<SecretString> = None,
        /// The same, in a file.
        url_file: Option<PathBuf> = None,
        /// Connections at most.
        pool: usize = 8,
        /// Days that final dispatches are kept.
        retention_days: u32 = 30,
    }
}
section! {
    /// The broker.
    AmqpConfig {
        /// `amqp://…`; none: no broker.
        url: Option<SecretString> = None,
        /// The same, in a file.
        url_file: Option<PathBuf> = None,
        /// Declare the topology, or only check it.
        declare: bool = true,
        /// Jobs held at most before they are admitted.
        prefetch: u16 = 512,
    }
}
section! {
    /// All keys.
    KeysConfig {
        /// The root, 64 hexadecimal digits.
        root: Option<SecretString> = None,
        /// The same, in a file.
        root_file: Option<PathBuf> = None,
        /// The root's public name.
        id: String = "k1".to_owned(),
        /// Roots that only open.
        previous: Vec<PreviousRoot> = vec![],
        /// The root of the hashes.
        hash_root: Option<SecretString> = None,
        /// The same, in a file.
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
        /// The same, in a file.
        root_file: Option<PathBuf> = None,
    }
}
section! {
    /// The door for jobs.
    ApiConfig {
        /// Where it listens.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
    }
}
section! {
    /// The door for callbacks.
    ReceiptsConfig {
        /// Where it listens.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8081)),
        /// Where carriers reach it.
        public_url: String = "http://127.0.0.1:8081".to_owned(),
    }
}
section! {
    /// Health and metrics.
    OpsConfig {
        /// Where it listens.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8082)),
    }
}
section! {
    /// Running dispatches.
    WorkerConfig {
        /// Requests under way at once.
        slots: usize = 256,
        /// Seconds for what is under way, when stopping.
        grace_s: u64 = 20,
    }
}
section! {
    /// Quotas.
    LimitsConfig {
        /// Of one number and tenant.
        number: Vec<Rule> = rules(&["5/10m", "10/1d"]),
        /// Calls of one number and tenant.
        voice: Vec<Rule> = rules(&["3/1h"]),
        /// Of one number above all tenants.
        operator: Vec<Rule> = vec![],
        /// Flood control for one number.
        door_number: Rule = Rule { count: 60, window: Duration::from_secs(60) },
        /// Flood control for one client.
        door_client: Rule = Rule { count: 1000, window: Duration::from_secs(10) },
    }
}
section! {
    /// Which numbers are served.
    NumbersConfig {
        /// How strictly.
        check: NumberCheck = NumberCheck::Possible,
        /// Served countries; empty: all.
        countries: Vec<String> = vec![],
        /// Countries that are never served.
        blocked_countries: Vec<String> = vec![],
    }
}
section! {
    /// Times of a dispatch.
    DispatchConfig {
        /// Seconds after the code's end until which a receipt is awaited.
        receipt_wait_s: u64 = 900,
    }
}
section! {
    /// Words.
    MessagesConfig {
        /// The name that messages begin with.
        brand: String = "Example".to_owned(),
        /// Templates of the operator's own.
        templates_dir: Option<PathBuf> = None,
    }
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
section! {
    /// What differs for a tenant.
    TenantConfig {
        /// Its quota.
        number: Option<Vec<Rule>> = None,
        /// Its quota of calls.
        voice: Option<Vec<Rule>> = None,
        /// Its name in messages.
        brand: Option<String> = None,
    }
}
section! {
    /// An account at a carrier.
    CarrierConfig {
        /// The account's rate.
        rate_per_s: u32 = 100,
        /// The longest wait for an answer.
        time_out_s: u64 = 10,
        /// What follows on an unknown text.
        unknown_sms: Repeat = Repeat::Wait,
        /// What follows on an unknown call.
        unknown_voice: Repeat = Repeat::Never,
        /// A Twilio account.
        twilio: Option<twilio::Config> = None,
    }
}
section! {
    /// Who carries what.
    RoutesConfig {
        /// Texts.
        sms: Vec<String> = vec![],
        /// Calls.
        voice: Vec<String> = vec![],
        /// For one country.
        countries: BTreeMap<String, CountryRoutes> = BTreeMap::new(),
    }
}
section! {
    /// Who carries what in one country.
    CountryRoutes {
        /// Texts.
        sms: Option<Vec<String>> = None,
        /// Calls.
        voice: Option<Vec<String>> = None,
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

/// What follows on an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// Wait for a receipt, then once more.
    Wait,
    /// No repeat.
    Never,
}

impl From<Repeat> for UnknownPolicy {
    fn from(r: Repeat) -> Self {
        match r {
            Repeat::Wait => Self::Wait,
            Repeat::Never => Self::Never,
        }
    }
}

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts
        .iter()
        .map(|t| t.parse().expect("our own defaults are rules"))
        .collect()
}

impl Config {
    /// Reads a file, then the environment.
    pub fn load(path: Option<&Path>) -> Result<Self, BadConfig> {
        let mut config = match path {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| BadConfig(format!("{} cannot be read ({})", path.display(), e.kind())))?;
                Self::parse(&text).map_err(|e| BadConfig(format!("{}: {e}", path.display())))?
            }
        };
        let from = |name| {
            std::env::var(name)
                .ok()
                .filter(|v| !v.is_empty())
                .map(SecretString::from)
        };
        if let Some(url) = from("OTPOST_LEDGER_URL") {
            config.ledger.url = Some(url);
        }
        if let Some(url) = from("OTPOST_AMQP_URL") {
            config.amqp.url = Some(url);
        }
        if let Some(root) = from("OTPOST_KEYS_ROOT") {
            config.keys.root = Some(root);
        }
        config.read_files()?;
        config.check()?;
        Ok(config)
    }

    /// Reads a text, strictly. The error names the line and the key, and never a value.
    pub fn parse(text: &str) -> Result<Self, BadConfig> {
        toml::from_str(text).map_err(|e| {
            let at = e
                .span()
                .map_or(0, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            BadConfig(format!("line {at}: {}", without_values(e.message())))
        })
    }

    /// Puts the contents of secrets' files into their places.
    fn read_files(&mut self) -> Result<(), BadConfig> {
        from_file(
            "ledger.url",
            &mut self.ledger.url,
            self.ledger.url_file.as_deref(),
        )?;
        from_file("amqp.url", &mut self.amqp.url, self.amqp.url_file.as_deref())?;
        from_file("keys.root", &mut self.keys.root, self.keys.root_file.as_deref())?;
        from_file(
            "keys.hash_root",
            &mut self.keys.hash_root,
            self.keys.hash_root_file.as_deref(),
        )?;
        for previous in &mut self.keys.previous {
            from_file(
                "keys.previous.root",
                &mut previous.root,
                previous.root_file.as_deref(),
            )?;
        }
        for (name, carrier) in &mut self.carriers {
            if let Some(twilio) = &mut carrier.twilio {
                let key = format!("carriers.{name}.twilio.auth_token");
                from_file(&key, &mut twilio.auth_token, twilio.auth_token_file.as_deref())?;
            }
        }
        Ok(())
    }

    /// What no single key can say.
    pub fn check(&self) -> Result<(), BadConfig> {
        let bad = |text: String| Err(BadConfig(text));
        let mut named: Vec<(&str, &String)> = vec![];
        named.extend(self.routes.sms.iter().map(|c| ("routes.sms", c)));
        named.extend(self.routes.voice.iter().map(|c| ("routes.voice", c)));
        for routes in self.routes.countries.values() {
            named.extend(
                routes
                    .sms
                    .iter()
                    .chain(&routes.voice)
                    .flatten()
                    .map(|c| ("routes.countries", c)),
            );
        }
        if let Some((key, _)) = named.iter().find(|(_, c)| !self.carriers.contains_key(*c)) {
            return bad(format!(
                "{key} names a carrier that has no [carriers.NAME] section"
            ));
        }
        for (name, carrier) in &self.carriers {
            if carrier.twilio.is_none() {
                return bad(format!(
                    "carriers.{name} needs its kind: a section [carriers.{name}.twilio]"
                ));
            }
            if carrier.rate_per_s == 0 || !(1..=30).contains(&carrier.time_out_s) {
                return bad(format!(
                    "carriers.{name}: rate_per_s must be at least 1, time_out_s from 1 to 30"
                ));
            }
        }
        if self.worker.slots < 2 {
            return bad("worker.slots must be at least 2".to_owned());
        }
        if !self.receipts.public_url.starts_with("http://")
            && !self.receipts.public_url.starts_with("https://")
        {
            return bad("receipts.public_url must begin with https:// (or http:// on a laptop)".to_owned());
        }
        Ok(())
    }

    /// Where the ledger is.
    pub fn ledger_url(&self) -> &str {
        self.ledger
            .url
            .as_ref()
            .map_or("sqlite:otpost.db", |u| u.expose_secret())
    }

    /// All keys.
    pub fn keys(&self) -> Result<Keys, BadConfig> {
        let root = |key: &str, id: &str, root: Option<&SecretString>| {
            let hex = root.ok_or_else(|| {
                BadConfig(format!(
                    "{key} is missing: make one with `otpost keys root` and name its file in {key}_file"
                ))
            })?;
            Root::from_hex(id, hex.expose_secret()).map_err(|e| BadConfig(format!("{key}: {e}")))
        };
        let keys = &self.keys;
        let current = root("keys.root", &keys.id, keys.root.as_ref())?;
        let previous: Result<Vec<Root>, BadConfig> = keys
            .previous
            .iter()
            .map(|p| root("keys.previous", &p.id, p.root.as_ref()))
            .collect();
        let hashes = match &keys.hash_root {
            Some(_) => root("keys.hash_root", "hash", keys.hash_root.as_ref())?,
            None => current.clone(),
        };
        Ok(Keys::new(current, previous?, &hashes))
    }

    /// The quota of a tenant's numbers.
    pub fn number_rules(&self, tenant: &str) -> &[Rule] {
        self.tenants
            .get(tenant)
            .and_then(|t| t.number.as_deref())
            .unwrap_or(&self.limits.number)
    }

    /// The quota of calls to a tenant's numbers.
    pub fn voice_rules(&self, tenant: &str) -> &[Rule] {
        self.tenants
            .get(tenant)
            .and_then(|t| t.voice.as_deref())
            .unwrap_or(&self.limits.voice)
    }

    /// The name that a tenant's messages begin with.
    pub fn brand(&self, tenant: &str) -> &str {
        self.tenants
            .get(tenant)
            .and_then(|t| t.brand.as_deref())
            .unwrap_or(&self.messages.brand)
    }

    /// Whether a tenant exists.
    pub fn knows(&self, tenant: &str) -> bool {
        tenant == "default" || self.tenants.contains_key(tenant)
    }
}

fn from_file(key: &str, secret: &mut Option<SecretString>, file: Option<&Path>) -> Result<(), BadConfig> {
    let Some(file) = file.filter(|_| secret.is_none()) else {
        return Ok(());
    };
    let text = std::fs::read_to_string(file).map_err(|e| {
        BadConfig(format!(
            "{key}_file: {} cannot be read ({})",
            file.display(),
            e.kind()
        ))
    })?;
    *secret = Some(SecretString::from(text.trim().to_owned()));
    Ok(())
}

/// The parser's message without the values that it quotes.
fn without_values(message: &str) -> String {
    if message.starts_with("invalid type") || message.starts_with("invalid value") {
        let expected = message
            .rsplit_once(", expected ")
            .map_or("another value", |(_, e)| e);
        return format!("the value has a wrong form; expected {expected}");
    }
    match message.split_once(", expected ") {
        Some((_, expected)) if message.starts_with("unknown variant") => {
            format!("the word is not known; expected {expected}")
        }
        _ => message.lines().next().unwrap_or("not valid TOML").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, DEFAULT};

    #[test]
    fn the_commented_default_is_the_default() {
        let read = format!("{:?}", Config::parse(DEFAULT).unwrap());
        let default = Config {
            ledger: super::LedgerConfig {
                url: Some("x".into()),
                ..Default::default()
            },
            ..Config::default()
        };
        assert_eq!(read, format!("{default:?}"));
    }

    #[test]
    fn errors_name_line_and_key_and_quote_no_value() {
        for (text, has) in [
            ("[ledger]\nurll = \"QUOTED\"", "line 2: unknown field `urll`"),
            (
                "[worker]\n\nslots = \"QUOTED\"",
                "line 3: the value has a wrong form",
            ),
            ("[limits]\nnumber = [\"QUOTED\"]", "a quota is written"),
            ("[log]\nformat = \"QUOTED\"", "the word is not known; expected"),
            ("[[nonsense", "line 1"),
        ] {
            let e = Config::parse(text).unwrap_err().to_string();
            assert!(e.contains(has), "{e}");
            assert!(!e.contains("QUOTED"), "{e}");
        }
    }

    #[test]
    fn a_route_to_nowhere_is_found_by_the_check() {
        let config = Config::parse("[routes]\nsms = [\"nobody\"]").unwrap();
        assert!(config.check().unwrap_err().to_string().contains("routes.sms"));
    }
}
