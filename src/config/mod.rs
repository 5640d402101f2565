//! The configuration: one TOML file, read strictly. The commented default is compiled in.
//!
//! Comes in: a file and its secrets' files. Goes out: a checked [`Config`], or one sentence that names the key. Nothing here
//! connects to a server.

mod by_channel;
mod by_country;
mod changes;
mod check;
pub mod live;
mod sections;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::domain::channel::Channel;
use crate::domain::quota::Rule;
use crate::seal::{Keys, Root};
pub use by_country::ByCountry;
pub use sections::*;

/// The default configuration file, with a comment for every key. It is also the reference manual.
pub const DEFAULT: &str = include_str!("../../config/otpost.toml");

/// Why a configuration is not usable. The text says what to change and quotes no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

/// The whole configuration. Each field is a section of the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[ledger]`: the database.
    pub ledger: LedgerConfig,
    /// `[amqp]`: RabbitMQ.
    pub amqp: AmqpConfig,
    /// `[keys]`: the root keys.
    pub keys: KeysConfig,
    /// `[api]`: the HTTP API.
    pub api: ApiConfig,
    /// `[receipts]`: the listener for carriers' callbacks.
    pub receipts: ReceiptsConfig,
    /// `[ops]`: health and metrics.
    pub ops: OpsConfig,
    /// `[traces]`: export of traces.
    pub traces: TracesConfig,
    /// `[worker]`: limits of the worker.
    pub worker: WorkerConfig,
    /// `[limits]`: quotas and flood control.
    pub limits: LimitsConfig,
    /// `[numbers]`: which phone numbers are served.
    pub numbers: NumbersConfig,
    /// `[dispatch]`: settings of dispatches.
    pub dispatch: DispatchConfig,
    /// `[messages]`: brand and templates.
    pub messages: MessagesConfig,
    /// `[log]`: level and format of logs.
    pub log: LogConfig,
    /// `[webhooks]`: settings for the webhooks of all tenants.
    pub webhooks: WebhooksConfig,
    /// `[tenants.NAME]`: overrides per tenant.
    pub tenants: BTreeMap<String, TenantConfig>,
    /// `[carriers.NAME]`: accounts at carriers.
    pub carriers: BTreeMap<String, CarrierConfig>,
    /// `[routes]`: the carriers per channel and country.
    pub routes: RoutesConfig,
    /// What an operator should know of a configuration that is valid.
    #[serde(skip)]
    pub notes: Vec<String>,
    /// The settings as they were written.
    #[serde(skip)]
    written: settings::Written,
}

impl Config {
    /// Reads a file, then the environment variables, then the files of secrets, and checks the result.
    pub fn load(path: Option<&Path>) -> Result<Self, BadConfig> {
        let mut config = match path {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| BadConfig(format!("{} cannot be read ({})", path.display(), why(&e))))?;
                let mut config =
                    Self::parse(&text).map_err(|e| BadConfig(format!("{}: {e}", path.display())))?;
                config.resolve_paths(path.parent().unwrap_or(Path::new("")));
                config.note_inline_secret(path);
                config
            }
        };
        for (name, place) in [
            ("OTPOST_LEDGER_URL", &mut config.ledger.url),
            ("OTPOST_AMQP_URL", &mut config.amqp.url),
            ("OTPOST_KEYS_ROOT", &mut config.keys.root),
        ] {
            match std::env::var(name) {
                // Usually a mistake in a script. Ignoring it would use another ledger, or no broker.
                Ok(text) if text.is_empty() => {
                    return Err(BadConfig(format!("{name} is set but empty: unset it, or give it a value")));
                }
                Ok(text) => *place = Some(text.into()),
                Err(_) => {}
            }
        }
        config.read_files()?;
        config.check()?;
        Ok(config)
    }

    /// Parses TOML and rejects unknown keys. The error names the line and the key, never a value.
    pub fn parse(text: &str) -> Result<Self, BadConfig> {
        let parsed = toml::from_str(text).map_err(|e| {
            let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let key = key_at(text, line).map(|key| format!(", {key}")).unwrap_or_default();
            BadConfig(format!("line {line}{key}: {}", without_values(e.message())))
        });
        let written = text.parse().map(|table| settings::Written::of(&table)).unwrap_or_default();
        parsed.map(|config: Self| Self { written, ..config })
    }

    /// The secrets, each with its key and the path of its file.
    fn secrets(&mut self) -> Vec<(String, &mut Option<SecretString>, &mut Option<PathBuf>)> {
        let mut all = vec![
            ("ledger.url".to_owned(), &mut self.ledger.url, &mut self.ledger.url_file),
            ("amqp.url".to_owned(), &mut self.amqp.url, &mut self.amqp.url_file),
            ("keys.root".to_owned(), &mut self.keys.root, &mut self.keys.root_file),
            ("keys.hash_root".to_owned(), &mut self.keys.hash_root, &mut self.keys.hash_root_file),
            ("ops.token".to_owned(), &mut self.ops.token, &mut self.ops.token_file),
        ];
        let previous = self.keys.previous.iter_mut();
        all.extend(previous.map(|p| ("keys.previous.root".to_owned(), &mut p.root, &mut p.root_file)));
        for (name, tenant) in &mut self.tenants {
            if let Some(webhook) = &mut tenant.webhook {
                let key = format!("tenants.{name}.webhook");
                all.push((format!("{key}.secret"), &mut webhook.secret, &mut webhook.secret_file));
                let previous = (&mut webhook.previous_secret, &mut webhook.previous_secret_file);
                all.push((format!("{key}.previous_secret"), previous.0, previous.1));
            }
        }
        for (name, carrier) in &mut self.carriers {
            for (company, account) in carrier.accounts_mut() {
                let key = |secret: &str| format!("carriers.{name}.{company}.{secret}");
                all.extend(account.secrets().into_iter().map(|s| (key(s.key), s.value, s.file)));
            }
        }
        all
    }

    /// Resolves relative paths against the folder of the configuration file.
    fn resolve_paths(&mut self, folder: &Path) {
        for file in self.secrets().into_iter().filter_map(|(.., file)| file.as_mut()) {
            *file = folder.join(&*file);
        }
        let carriers = self.carriers.values_mut().map(|carrier| &mut carrier.ca_file);
        let others = [&mut self.ledger.ca_file, &mut self.amqp.ca_file, &mut self.messages.templates_dir];
        for file in carriers.chain(others).flatten() {
            *file = folder.join(&*file);
        }
        if self.ledger.url_file.is_none() {
            let file = self.ledger_url().strip_prefix("sqlite:").map(|path| folder.join(path));
            let url = file.map(|file| format!("sqlite:{}", file.display()));
            self.ledger.url = url.map(SecretString::from).or_else(|| self.ledger.url.take());
        }
    }

    /// Adds a note if the configuration file itself contains a secret, and every user of this machine can read the file.
    fn note_inline_secret(&mut self, file: &Path) {
        let key = self.written.inline_secret.as_ref().filter(|_| is_open_to_all(file));
        let note = key.map(|key| {
            format!("{key}: every user of this machine can read {}; use chmod 600", file.display())
        });
        self.notes.extend(note);
    }

    /// Reads the secrets that are configured as files. Refuses empty secrets, because an empty token would let everyone in.
    fn read_files(&mut self) -> Result<(), BadConfig> {
        let mut notes = std::mem::take(&mut self.notes);
        for (key, secret, file) in self.secrets() {
            if secret.as_ref().is_some_and(|secret| secret.expose_secret().trim().is_empty()) {
                return Err(BadConfig(format!("{key} is empty: give it a value, or remove it")));
            }
            let Some(file) = file.as_deref().filter(|_| secret.is_none()) else { continue };
            *secret = Some(read_secret(&key, file)?);
            if is_open_to_all(file) {
                let file = file.display();
                notes.push(format!("{key}_file: every user of this machine can read {file}; use chmod 600"));
            }
        }
        self.notes = notes;
        Ok(())
    }

    /// The URL of the ledger; `sqlite:otpost.db` by default.
    pub fn ledger_url(&self) -> &str {
        self.ledger.url.as_ref().map_or("sqlite:otpost.db", |u| u.expose_secret())
    }

    /// The keys that are derived from the configured roots. Fails when a root is missing or invalid.
    pub fn keys(&self) -> Result<Keys, BadConfig> {
        let root = |key: &str, id: &str, root: Option<&SecretString>| {
            let hex = root.ok_or_else(|| {
                BadConfig(format!(
                    "{key} is missing: create one with `otpost keys root` and name its file in {key}_file"
                ))
            })?;
            Root::from_hex(id, hex.expose_secret()).map_err(|e| BadConfig(format!("{key}: {e}")))
        };
        let keys = &self.keys;
        let current = root("keys.root", &keys.id, keys.root.as_ref())?;
        let previous: Result<Vec<Root>, BadConfig> =
            keys.previous.iter().map(|p| root("keys.previous.root", &p.id, p.root.as_ref())).collect();
        let previous = previous?;
        let mut ids: Vec<&str> = keys.previous.iter().map(|p| p.id.as_str()).collect();
        ids.push(&keys.id);
        ids.sort_unstable();
        if ids.windows(2).any(|two| two[0] == two[1]) {
            return Err(BadConfig(
                "keys.id and the ids in keys.previous must differ: sealed values store the id of their root key"
                    .to_owned(),
            ));
        }
        let hashes = match &keys.hash_root {
            Some(_) => root("keys.hash_root", "hash", keys.hash_root.as_ref())?,
            None => current.clone(),
        };
        Ok(Keys::new(current, previous, &hashes))
    }

    /// The root that seals new values.
    pub fn root(&self) -> Result<Root, BadConfig> {
        let hex =
            self.keys.root.as_ref().ok_or_else(|| {
                BadConfig("keys.root is missing; create one with: otpost keys root".to_owned())
            })?;
        Root::from_hex(&self.keys.id, hex.expose_secret()).map_err(|e| BadConfig(format!("keys.root: {e}")))
    }

    /// The quota rules for codes to one number of a tenant.
    pub fn number_rules(&self, tenant: &str) -> &[Rule] {
        self.tenants.get(tenant).and_then(|t| t.number.as_deref()).unwrap_or(&self.limits.number)
    }

    /// The quota rules for notices to one number of a tenant.
    pub fn notice_rules(&self, tenant: &str) -> &[Rule] {
        self.tenants.get(tenant).and_then(|t| t.notice.as_deref()).unwrap_or(&self.limits.notice)
    }

    /// The quota rules for messages by a channel to one number of a tenant. `None` for a channel without a quota of its own.
    pub fn channel_rules(&self, tenant: &str, channel: Channel) -> Option<&[Rule]> {
        let own = self.tenants.get(tenant).and_then(|t| t.channels.get(&channel));
        own.or_else(|| self.limits.channels.get(&channel)).map(Vec::as_slice)
    }

    /// The brand at the beginning of a tenant's messages.
    pub fn brand(&self, tenant: &str) -> &str {
        self.tenants.get(tenant).and_then(|t| t.brand.as_deref()).unwrap_or(&self.messages.brand)
    }

    /// Whether unsealed jobs of a tenant are refused.
    pub fn requires_seal(&self, tenant: &str) -> bool {
        self.tenants.get(tenant).and_then(|t| t.require_sealed).unwrap_or(self.dispatch.require_sealed)
    }

    /// A tenant's own sender at a carrier. `None` means the sender of the account.
    pub fn sender(&self, tenant: &str, carrier: &str, channel: Channel) -> Option<&str> {
        self.tenants.get(tenant)?.senders.get(carrier)?.get(&channel).map(String::as_str)
    }

    /// The names of all tenants, with `default`.
    pub fn tenants(&self) -> Vec<String> {
        let default = (!self.tenants.contains_key("default")).then(|| "default".to_owned());
        default.into_iter().chain(self.tenants.keys().cloned()).collect()
    }

    /// Whether a tenant is configured. The tenant `default` always is.
    pub fn knows(&self, tenant: &str) -> bool {
        tenant == "default" || self.tenants.contains_key(tenant)
    }
}

/// The key of a line: that of its section and its own, or that of the lines above if the value began there.
fn key_at(text: &str, line: usize) -> Option<String> {
    let (mut section, mut key) = ("", None);
    for text in text.lines().take(line).map(str::trim) {
        if let Some(header) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            // A line of a list can begin with a bracket too.
            if header.0.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-\"' ".contains(&b))
                && !header.0.contains('"')
            {
                (section, key) = (header.0, None);
                continue;
            }
        }
        let name = text.split_once('=').map(|(name, _)| name.trim());
        key = name
            .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)))
            .or(key);
    }
    let parts: Vec<&str> =
        [section, key.unwrap_or_default()].into_iter().filter(|part| !part.is_empty()).collect();
    Some(parts.join(".")).filter(|key| !key.is_empty())
}

fn read_secret(key: &str, file: &Path) -> Result<SecretString, BadConfig> {
    let hint = if key.ends_with("root") { "; create one with: otpost keys root" } else { "" };
    let text = std::fs::read_to_string(file).map_err(|e| {
        let hint = if e.kind() == std::io::ErrorKind::NotFound { hint } else { "" };
        BadConfig(format!("{key}_file: {} cannot be read ({}){hint}", file.display(), why(&e)))
    })?;
    // Some editors write a byte order mark.
    let secret = text.trim_start_matches('\u{feff}').trim();
    if secret.is_empty() {
        return Err(BadConfig(format!("{key}_file: {} is empty{hint}", file.display())));
    }
    Ok(SecretString::from(secret.to_owned()))
}

fn is_open_to_all(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn why(e: &std::io::Error) -> String {
    if e.kind() == std::io::ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else {
        e.kind().to_string()
    }
}

/// Removes quoted values from the parser's message.
fn without_values(message: &str) -> String {
    if message.starts_with("invalid type") || message.starts_with("invalid value") {
        let expected = message.rsplit_once(", expected ").map_or("another value", |(_, e)| e);
        return format!("the value has the wrong type or format; expected {expected}");
    }
    match message.split_once(", expected ") {
        // The unknown word may be a misplaced secret: only the known one is named.
        Some((unknown, known)) if message.starts_with("unknown variant") => {
            format!("the word is unknown; expected {known}{}", meant(unknown, known))
        }
        Some((unknown, known)) if message.starts_with("unknown field") => {
            format!("{}{}", message.lines().next().unwrap_or_default(), meant(unknown, known))
        }
        _ => message.lines().next().unwrap_or("not valid TOML").to_owned(),
    }
}

/// A hint that names the most similar known key; empty without a similar key.
fn meant(unknown: &str, known: &str) -> String {
    let quoted =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let Some(unknown) = quoted(unknown).pop() else { return String::new() };
    let near = quoted(known).into_iter().map(|key| (strsim::jaro_winkler(&unknown, &key), key));
    let nearest = near.filter(|(likeness, _)| *likeness > 0.8).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map_or_else(String::new, |(_, key)| format!("; did you mean {key}?"))
}
