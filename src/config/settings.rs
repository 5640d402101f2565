//! The settings of a configuration as texts, for a comparison with another one. Secrets are not among them: a keyed hash stands for
//! each, so that a change shows.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use super::{Config, DEFAULT};
use crate::seal::Keys;

/// Ends of the names of keys whose values are secrets.
const SECRET_ENDS: &[&str] = &["root", "token", "secret", "password", "api_key"];
/// Names of keys whose values may contain a password.
const SECRET_NAMES: &[&str] = &["url", "proxy"];
/// Number of characters of a keyed hash that are shown.
const SHOWN_HASH_CHARS: usize = 8;

/// The settings of a file, by key. `Debug` prints none of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Written {
    all: BTreeMap<String, Setting>,
    /// The first key whose value is a secret itself, not the path of a file.
    pub(super) inline_secret: Option<String>,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Written")
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Setting {
    Plain(String),
    /// SHA-256 of a secret. It is never shown, because short secrets could be guessed from it.
    Secret([u8; 32]),
}

impl Setting {
    fn secret(text: &str) -> Self {
        Self::Secret(Sha256::digest(text.as_bytes()).into())
    }
}

impl Written {
    pub(super) fn of(table: &Table) -> Self {
        let mut written = Self::default();
        flatten("", &Value::Table(table.clone()), &mut written);
        written
    }
}

fn flatten(key: &str, value: &Value, written: &mut Written) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Table(table) => table.iter().for_each(|(name, value)| flatten(&below(name), value, written)),
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items.iter().enumerate().for_each(|(n, item)| flatten(&below(&n.to_string()), item, written));
        }
        value if is_secret(key) || value.as_str().is_some_and(has_credentials) => {
            let text = value.as_str().unwrap_or_default();
            if has_secret_end(key) || has_password(text) {
                written.inline_secret.get_or_insert_with(|| key.to_owned());
            }
            written.all.insert(key.to_owned(), Setting::secret(text));
        }
        value => {
            written.all.insert(key.to_owned(), Setting::Plain(value.to_string()));
        }
    }
}

fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or_default();
    SECRET_NAMES.contains(&name) || has_secret_end(key)
}

fn has_secret_end(key: &str) -> bool {
    SECRET_ENDS.iter().any(|end| key.ends_with(end))
}

/// Whether a text is a URL with a password, or several such URLs.
fn has_password(text: &str) -> bool {
    let is_login = |login: &str| login.contains(':') && !login.contains('/');
    let mut behind_schemes = text.split("://").skip(1);
    behind_schemes.any(|rest| rest.split_once('@').is_some_and(|(login, _)| is_login(login)))
        || text.contains("password=")
}

/// Whether a text is a URL that may contain a password or a token.
fn has_credentials(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains(['@', '?']))
}

impl Config {
    /// The settings of the file, and the defaults of those that it does not name. A secret is the beginning of a keyed hash.
    pub fn settings(&self, keys: &Keys) -> BTreeMap<String, String> {
        let default: Table = DEFAULT.parse().unwrap_or_default();
        let mut all = Written::of(&default).all;
        all.extend(self.written.all.clone());
        for (key, secret, _) in self.clone().secrets() {
            if let Some(secret) = secret {
                all.insert(key, Setting::secret(secret.expose_secret()));
            }
        }
        let shown = |(key, setting): (String, Setting)| match setting {
            Setting::Plain(text) => (key, text),
            Setting::Secret(digest) => {
                let hash = keys.content(&["setting", &key, &hex::encode(digest)]);
                (key, format!("secret {}", hash.get(..SHOWN_HASH_CHARS).unwrap_or_default()))
            }
        };
        all.into_iter().map(shown).collect()
    }

    /// Whether a change of a setting needs a restart.
    pub fn needs_restart(key: &str) -> bool {
        let default = Self::default();
        let keys = Self::restart_settings(&default, &default).map(|(key, _)| key);
        keys.iter().any(|restart| key == *restart || key.strip_suffix("_file") == Some(restart))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::seal::{Keys, Root};

    /// Fails when a secret or its plain hash is among the settings, or when its change does not show.
    #[test]
    fn a_secret_shows_only_as_a_keyed_hash() {
        let keys = |byte: &str| {
            let root = Root::from_hex("k1", &byte.repeat(32)).unwrap();
            Keys::new(root.clone(), vec![], &root)
        };
        let of = |secret: &str, root: &str| {
            let text = format!(
                "[ledger]\nurl = \"postgres://u:{secret}@h/d\"\n[keys]\nprevious = [{{ id = \"k0\", root = \"{secret}\" }}]\n\
                 [ops]\ntoken = \"{secret}\"\n[carriers.c1]\nproxy = \"http://u:{secret}@h:1\"\n\
                 [carriers.c1.twilio]\naccount_sid = \"AC1\"\nauth_token = \"{secret}\"\n\
                 [tenants.shop.webhook]\nurl = \"https://h/{secret}\"\nsecret = \"{secret}\"\n"
            );
            Config::parse(&text).unwrap().settings(&keys(root))
        };
        let settings = of("hunter2", "0a");
        let secret_keys = [
            "ledger.url",
            "keys.previous.0.root",
            "ops.token",
            "carriers.c1.proxy",
            "carriers.c1.twilio.auth_token",
            "tenants.shop.webhook.url",
            "tenants.shop.webhook.secret",
        ];
        for key in secret_keys {
            assert!(settings[key].starts_with("secret "), "{key}: {}", settings[key]);
            assert_ne!(settings[key], of("hunter3", "0a")[key], "{key}");
            assert_ne!(settings[key], of("hunter2", "0b")[key], "{key}: the hash is keyed");
        }
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert!(!format!("{:?}", Config::parse("[ops]\ntoken = \"hunter2\"").unwrap()).contains("hunter2"));
        assert_eq!(settings["carriers.c1.twilio.account_sid"], "\"AC1\"");
        assert_eq!(settings["ledger.pool"], "8", "the default");
    }

    #[test]
    fn the_keys_that_need_a_restart_are_known() {
        for key in ["ledger.url", "ledger.url_file", "api.listen", "ops.token"] {
            assert!(Config::needs_restart(key), "{key}");
        }
        for key in ["limits.number", "carriers.c1.rate_per_s", "amqp.users"] {
            assert!(!Config::needs_restart(key), "{key}");
        }
    }
}
