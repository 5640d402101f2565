//! The configuration: one TOML file, parsed strictly. Errors name the key and never quote a value.

mod duration;
mod live;
mod product;
mod sections;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub use duration::{Life, read_duration};
pub use live::Live;
pub use product::{NewDeviceCheck, ProductAppConfig, ProductConfig, WebhookConfig};
pub use sections::*;

use crate::limit::Limits;
use crate::seal::{Keys, Root};

/// The default configuration, with a comment for every key.
pub const DEFAULT: &str = include_str!("../../config/two-step.toml");

/// Why a configuration is invalid, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The public URL of the pages.
    pub public_url: PublicUrl,
    /// Addresses of trusted proxies, whose `X-Forwarded-For` is used.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// The listener of the pages.
    pub pages: PagesConfig,
    /// The listener of the API.
    pub api: ApiConfig,
    /// The listener of health and metrics.
    pub ops: OpsConfig,
    /// The database.
    pub database: DatabaseConfig,
    /// The root keys.
    pub keys: KeysConfig,
    /// The connection to otpost.
    pub otpost: OtpostConfig,
    /// The mail server.
    pub smtp: SmtpConfig,
    /// Codes.
    pub code: CodeConfig,
    /// Challenges.
    pub challenge: ChallengeConfig,
    /// Fresh proofs.
    pub proof: ProofConfig,
    /// Trusted devices.
    pub trust: TrustConfig,
    /// E-mail as a second step.
    pub email: EmailConfig,
    /// Authenticator apps.
    pub totp: TotpConfig,
    /// The products' own apps.
    pub app: AppConfig,
    /// Support cases.
    pub support: SupportConfig,
    /// Limits.
    pub limits: Limits,
    /// Logs.
    pub log: LogConfig,
    /// The products, by name.
    pub products: BTreeMap<String, ProductConfig>,
}

impl Config {
    /// Loads a file and the files of its secrets, and checks the result.
    pub fn load(path: Option<&Path>) -> Result<Self, BadConfig> {
        let mut config = match path {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| BadConfig(format!("{} {}", path.display(), unreadable(&e))))?;
                let mut config =
                    Self::parse(&text).map_err(|e| BadConfig(format!("{}: {e}", path.display())))?;
                config.resolve(path.parent().unwrap_or(Path::new("")));
                config
            }
        };
        config.read_files()?;
        config.check()?;
        Ok(config)
    }

    /// Parses a text strictly. The error names the line and the key, and no value.
    pub fn parse(text: &str) -> Result<Self, BadConfig> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(0, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            BadConfig(format!("line {line}: {}", without_values(e.message())))
        })
    }

    /// Resolves relative paths against the folder of the file.
    fn resolve(&mut self, folder: &Path) {
        let mut files = vec![
            &mut self.database.url_file,
            &mut self.keys.root_file,
            &mut self.keys.hash_root_file,
            &mut self.otpost.url_file,
            &mut self.otpost.key_file,
            &mut self.otpost.tenant_key_file,
            &mut self.smtp.url_file,
            &mut self.ops.token_file,
        ];
        files.extend(self.keys.previous.iter_mut().map(|p| &mut p.root_file));
        for product in self.products.values_mut() {
            files.extend(product.webhook.as_mut().map(|w| &mut w.secret_file));
            files.extend(product.app.as_mut().map(|a| &mut a.icon_file));
        }
        for file in files.into_iter().flatten() {
            *file = folder.join(&*file);
        }
        let sqlite = self.database.url().strip_prefix("sqlite:").map(|path| folder.join(path));
        if let Some(path) = sqlite.filter(|_| self.database.url_file.is_none()) {
            self.database.url = Some(format!("sqlite:{}", path.display()).into());
        }
    }

    fn read_files(&mut self) -> Result<(), BadConfig> {
        read_file("database.url", &mut self.database.url, self.database.url_file.as_deref())?;
        read_file("keys.root", &mut self.keys.root, self.keys.root_file.as_deref())?;
        read_file("keys.hash_root", &mut self.keys.hash_root, self.keys.hash_root_file.as_deref())?;
        read_file("otpost.url", &mut self.otpost.url, self.otpost.url_file.as_deref())?;
        read_file("otpost.key", &mut self.otpost.key, self.otpost.key_file.as_deref())?;
        read_file("otpost.tenant_key", &mut self.otpost.tenant_key, self.otpost.tenant_key_file.as_deref())?;
        read_file("smtp.url", &mut self.smtp.url, self.smtp.url_file.as_deref())?;
        read_file("ops.token", &mut self.ops.token, self.ops.token_file.as_deref())?;
        for previous in &mut self.keys.previous {
            read_file("keys.previous.root", &mut previous.root, previous.root_file.as_deref())?;
        }
        for (name, product) in &mut self.products {
            if let Some(webhook) = &mut product.webhook {
                let key = format!("products.{name}.webhook.secret");
                read_file(&key, &mut webhook.secret, webhook.secret_file.as_deref())?;
            }
        }
        Ok(())
    }

    /// Checks rules that involve several keys.
    pub fn check(&self) -> Result<(), BadConfig> {
        let bad = |text: &str| Err(BadConfig(text.to_owned()));
        for (name, product) in &self.products {
            product.check(name)?;
            if product.new_device_check == NewDeviceCheck::Email && self.smtp.url.is_none() {
                return Err(BadConfig(format!(
                    "products.{name}.new_device_check is email: set smtp.url_file, or set it to off"
                )));
            }
        }
        if self.email.second_step && self.smtp.url.is_none() {
            return bad("email.second_step is true: set smtp.url_file, or set it to false");
        }
        if self.code.life.0 > self.challenge.life.0 {
            return bad("code.life must not be longer than challenge.life");
        }
        if !(2..=6).contains(&self.app.number_digits) {
            return bad("app.number_digits must be 2 to 6");
        }
        if let Some(n) = self.app.push_hosts.iter().position(|host| !crate::push::is_entry(host)) {
            return Err(BadConfig(format!(
                "app.push_hosts: entry {} is not a host in lower case, such as push.example.com or *.push.example.com",
                n + 1
            )));
        }
        for (key, life, longest_s) in [
            ("code.life", self.code.life.0, 1800),
            ("challenge.life", self.challenge.life.0, 3600),
            ("proof.fresh", self.proof.fresh.0, 1800),
        ] {
            if !(60..=longest_s).contains(&life.as_secs()) {
                return Err(BadConfig(format!("{key} must be from 1m to {}m", longest_s / 60)));
            }
        }
        if !["postgres://", "postgresql://", "sqlite:"].iter().any(|s| self.database.url().starts_with(s)) {
            return bad("database.url must begin with postgres:// or sqlite:");
        }
        if !self.database.url().starts_with("sqlite:") {
            otpost::ledger::PostgresServer::parse(self.database.url(), "two-step")
                .map_err(|why| BadConfig(format!("database.url {why}")))?;
        }
        let listeners = [self.pages.listen, self.api.listen, self.ops.listen];
        let twice = |n: usize| listeners[..n].iter().any(|l| l.port() != 0 && *l == listeners[n]);
        if (1..listeners.len()).any(twice) {
            return bad("pages.listen, api.listen and ops.listen must differ");
        }
        if !self.ops.listen.ip().is_loopback() && self.ops.token.is_none() {
            return bad("ops.listen is not on loopback: set ops.token_file, or listen on 127.0.0.1");
        }
        if !self.keys.previous.is_empty() && self.keys.hash_root.is_none() {
            return bad(
                "keys.previous is set: set keys.hash_root_file to the file of the first root; otherwise no stored hash matches",
            );
        }
        let limits = &self.limits;
        if limits.wrong_per_challenge == 0 || limits.wrong_per_challenge > 10 || limits.send_gaps_s.is_empty()
        {
            return bad(
                "limits.wrong_per_challenge must be from 1 to 10, and limits.send_gaps_s must not be empty",
            );
        }
        Ok(())
    }

    /// Returns warnings about settings that are weaker than the standards.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = vec![];
        if self.code.life.0.as_secs() > 600 {
            warnings.push(
                "code.life is above 10m: results carry the claim long_code (NIST SP 800-63B, 3.1.3.2)"
                    .to_owned(),
            );
        }
        if self.email.second_step {
            warnings.push(
                "email.second_step is on: NIST SP 800-63B, 3.1.3.1 does not count e-mail as a second factor"
                    .to_owned(),
            );
        }
        if self.trust.life.is_none() {
            warnings.push(
                "trust.life is until_sign_out: a stolen device stays trusted until its trust is revoked"
                    .to_owned(),
            );
        }
        if self.support.delay.0.is_zero() {
            warnings
                .push("support.delay is 0s: an attacker who deceives support gets access at once".to_owned());
        }
        if self.app.number_digits < 6 && self.products.values().any(|p| p.app.is_some()) {
            warnings
                .push(format!("app.number_digits is {}: guesses succeed more often", self.app.number_digits));
        }
        warnings
    }

    /// Copies the settings that need a restart from an earlier configuration. Returns the keys that differ.
    pub fn keep_from(&mut self, earlier: &Self) -> Vec<&'static str> {
        let mut differ = vec![];
        // Debug output masks secrets, so `secrets` compares them.
        let pairs = self.secrets().into_iter().zip(earlier.secrets());
        let renewed: Vec<&str> = pairs.filter(|(new, old)| new != old).map(|(new, _)| new.0).collect();
        macro_rules! keep {
            ($($key:literal: $($field:ident).+;)+) => {$(
                let printed = |config: &Self| format!("{:?}", config.$($field).+);
                if renewed.contains(&$key) || printed(self) != printed(earlier) {
                    differ.push($key);
                }
                self.$($field).+ = earlier.$($field).+.clone();
            )+};
        }
        keep! {
            "public_url": public_url;
            "pages": pages;
            "api": api;
            "ops.listen": ops.listen;
            "database": database;
            "keys": keys;
            "otpost": otpost;
            "smtp": smtp;
            "log": log;
        }
        differ
    }

    /// The secrets of each section that needs a restart.
    fn secrets(&self) -> [(&'static str, Vec<Option<&str>>); 4] {
        let Self { database, keys, otpost, smtp, .. } = self;
        let previous = keys.previous.iter().map(|p| &p.root);
        [
            ("database", texts([&database.url])),
            ("keys", texts([&keys.root, &keys.hash_root].into_iter().chain(previous))),
            ("otpost", texts([&otpost.url, &otpost.key, &otpost.tenant_key])),
            ("smtp", texts([&smtp.url])),
        ]
    }

    /// Reads all root keys.
    pub fn keys(&self) -> Result<Keys, BadConfig> {
        let keys = &self.keys;
        let current = read_root("keys.root", &keys.id, keys.root.as_ref())?;
        let previous: Result<Vec<Root>, BadConfig> =
            keys.previous.iter().map(|p| read_root("keys.previous.root", &p.id, p.root.as_ref())).collect();
        let hashes = match &keys.hash_root {
            Some(_) => read_root("keys.hash_root", "hash", keys.hash_root.as_ref())?,
            None => current.clone(),
        };
        Ok(Keys::new(current, previous?, hashes))
    }

    /// Returns a product's section.
    pub fn product(&self, name: &str) -> Option<&ProductConfig> {
        self.products.get(name)
    }
}

fn texts<'s>(secrets: impl IntoIterator<Item = &'s Option<SecretString>>) -> Vec<Option<&'s str>> {
    secrets.into_iter().map(|secret| secret.as_ref().map(ExposeSecret::expose_secret)).collect()
}

fn read_root(key: &str, id: &str, hex: Option<&SecretString>) -> Result<Root, BadConfig> {
    let hex = hex.ok_or_else(|| {
        BadConfig(format!(
            "{key} is missing: create a root with `two-step keys root`, and set {key}_file to its file"
        ))
    })?;
    Root::from_hex(id, hex.expose_secret()).map_err(|e| BadConfig(format!("{key}: {e}")))
}

/// Reads a secret from its file, unless it is set. Refuses an empty secret, because an empty token would let everyone in.
fn read_file(key: &str, secret: &mut Option<SecretString>, file: Option<&Path>) -> Result<(), BadConfig> {
    let Some(file) = file.filter(|_| secret.is_none()) else {
        let is_empty = secret.as_ref().is_some_and(|secret| secret.expose_secret().trim().is_empty());
        let empty = || BadConfig(format!("{key} is empty: give it a value, or remove it"));
        return if is_empty { Err(empty()) } else { Ok(()) };
    };
    let text = std::fs::read_to_string(file)
        .map_err(|e| BadConfig(format!("{key}_file: {} {}", file.display(), unreadable(&e))))?;
    // Some editors write a byte order mark.
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(BadConfig(format!("{key}_file: {} is empty", file.display())));
    }
    *secret = Some(SecretString::from(text.to_owned()));
    Ok(())
}

/// Removes quoted values from the parser's message.
fn without_values(message: &str) -> String {
    if message.starts_with("invalid type") || message.starts_with("invalid value") {
        let expected = message.rsplit_once(", expected ").map_or("another value", |(_, e)| e);
        return format!("the value has a wrong form; expected {expected}");
    }
    match message.split_once(", expected ") {
        Some((_, expected)) if message.starts_with("unknown variant") => {
            format!("unknown word; expected {expected}")
        }
        _ => message.lines().next().unwrap_or("not valid TOML").to_owned(),
    }
}

/// Describes why a file cannot be read.
fn unreadable(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        kind => format!("cannot be read ({kind})"),
    }
}
