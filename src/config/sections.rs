//! The sections of the configuration file, with their defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use super::by_channel::{Key, SectionKey, section_by_channel};
use super::by_country::ByCountry;
use crate::carriers::{AccountConfig, Callbacks, with_all_carriers};
use crate::domain::channel::Channel;
use crate::domain::decide::UnknownPolicy;
use crate::domain::dispatch::{Country, NumberCheck, NumberKind};
use crate::domain::quota::Rule;

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
    /// The database of the ledger.
    LedgerConfig {
        /// `postgres://…` or `sqlite:…`
        url: Option<SecretString> = None,
        /// A file that holds the URL.
        url_file: Option<PathBuf> = None,
        /// A file with certificates of authorities that are trusted beside those of the machine.
        ca_file: Option<PathBuf> = None,
        /// Maximum number of connections (PostgreSQL only).
        pool: usize = 8,
        /// Number of days that final dispatches are kept.
        retention_days: u32 = 30,
    }
}
section! {
    /// RabbitMQ.
    AmqpConfig {
        /// `amqp://…`; without it, no broker is used.
        url: Option<SecretString> = None,
        /// A file that holds the URL.
        url_file: Option<PathBuf> = None,
        /// A file with certificates of authorities that are trusted beside those of the machine.
        ca_file: Option<PathBuf> = None,
        /// Whether to declare the topology, or only check it.
        declare: bool = true,
        /// Maximum number of unacknowledged jobs before admission.
        prefetch: u16 = 512,
        /// Number of days after which RabbitMQ deletes a dead letter.
        dead_letter_days: u32 = 14,
        /// Broker users, each with the tenants that it may publish for. Empty: every producer may publish for every tenant.
        users: BTreeMap<String, Vec<String>> = BTreeMap::new(),
    }
}
section! {
    /// The root keys.
    KeysConfig {
        /// The current root, 64 hexadecimal digits.
        root: Option<SecretString> = None,
        /// A file that holds the root.
        root_file: Option<PathBuf> = None,
        /// The public id of the root.
        id: String = "k1".to_owned(),
        /// Earlier roots, which only open sealed values.
        previous: Vec<PreviousRoot> = vec![],
        /// The root of the keyed hashes.
        hash_root: Option<SecretString> = None,
        /// A file that holds the root of the hashes.
        hash_root_file: Option<PathBuf> = None,
    }
}
section! {
    /// An earlier root, which only opens sealed values.
    PreviousRoot {
        /// The public id of the root.
        id: String = String::new(),
        /// The root, 64 hexadecimal digits.
        root: Option<SecretString> = None,
        /// A file that holds the root.
        root_file: Option<PathBuf> = None,
    }
}
section! {
    /// The HTTP API.
    ApiConfig {
        /// The listen address.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
    }
}
section! {
    /// The listener for carriers' callbacks.
    ReceiptsConfig {
        /// The listen address.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8081)),
        /// The base URL under which carriers reach this listener.
        public_url: String = "http://127.0.0.1:8081".to_owned(),
    }
}
section! {
    /// Health and metrics.
    OpsConfig {
        /// The listen address.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8082)),
        /// Bearer token required for `/metrics`. Mandatory when the listen address is not loopback.
        token: Option<SecretString> = None,
        /// A file that holds the token.
        token_file: Option<PathBuf> = None,
    }
}
section! {
    /// Export of traces.
    TracesConfig {
        /// The OTLP endpoint for traces over HTTP; without it, none are exported.
        otlp_url: Option<String> = None,
        /// The part of the dispatches without a sender's trace context that are exported, from 0 to 1.
        sample: f64 = 0.01,
    }
}
section! {
    /// Limits of the worker.
    WorkerConfig {
        /// Maximum number of jobs and dispatches that are processed at the same time.
        slots: usize = 256,
        /// Seconds that requests in progress may take after shutdown.
        grace_s: u64 = 20,
    }
}
section_by_channel! {
    /// Quotas and flood control.
    LimitsConfig {
        /// Quota rules for messages on one channel, per phone number and tenant.
        "" => channels: Vec<Rule> = [(Channel::Voice, rules(&["3/1h"]))],
        /// Codes per phone number and tenant.
        number: Vec<Rule> = rules(&["5/10m", "10/1d"]),
        /// Notices per phone number and tenant.
        notice: Vec<Rule> = rules(&["5/1h", "20/1d"]),
        /// Codes and notices together per phone number, over all tenants.
        operator: Vec<Rule> = vec![],
        /// Rate limit of HTTP requests per phone number.
        door_number: Rule = Rule { count: 60, window: Duration::from_secs(60) },
        /// Rate limit of HTTP requests per API key.
        door_client: Rule = Rule { count: 1000, window: Duration::from_secs(10) },
    }
}
section! {
    /// Which phone numbers are served.
    NumbersConfig {
        /// How strictly phone numbers are checked.
        check: NumberCheck = NumberCheck::Possible,
        /// Served countries; empty means all.
        countries: Vec<Country> = vec![],
        /// Countries that are never served.
        blocked_countries: Vec<Country> = vec![],
        /// Kinds of numbers that get no message, by channel.
        #[serde(deserialize_with = "with_default_kinds")]
        refused_kinds: BTreeMap<Channel, Vec<NumberKind>> = refused_kinds(),
    }
}
section! {
    /// Settings of dispatches.
    DispatchConfig {
        /// Seconds to wait for a delivery receipt after the code has expired.
        receipt_wait_s: u64 = 900,
        /// Whether unsealed jobs are refused.
        require_sealed: bool = false,
    }
}
section! {
    /// Brand and templates.
    MessagesConfig {
        /// The brand at the beginning of messages.
        brand: String = "Example".to_owned(),
        /// A folder with the operator's own templates.
        templates_dir: Option<PathBuf> = None,
    }
}
section! {
    /// Logs.
    LogConfig {
        /// A log filter, such as `info` or `info,otpost=debug`.
        level: String = "info".to_owned(),
        /// `text` or `json`.
        format: LogFormat = LogFormat::Text,
    }
}
section_by_channel! {
    /// The settings of one tenant. Unset fields use the general setting.
    TenantConfig {
        /// Quota rules for messages by one channel.
        "" => channels: Vec<Rule> = [],
        /// Quota rules for codes.
        number: Option<Vec<Rule>> = None,
        /// Quota rules for notices.
        notice: Option<Vec<Rule>> = None,
        /// The brand in messages.
        brand: Option<String> = None,
        /// The tenant's senders, by carrier and channel: a number, a short code or a name, in the carrier's format. The sender
        /// of a call is a phone number.
        senders: BTreeMap<String, BTreeMap<Channel, String>> = BTreeMap::new(),
        /// Whether unsealed jobs are refused.
        require_sealed: Option<bool> = None,
        /// The webhook that receives the tenant's events.
        webhook: Option<WebhookConfig> = None,
    }
}
section! {
    /// A tenant's webhook.
    WebhookConfig {
        /// The target URL.
        url: String = String::new(),
        /// The secret that signs requests: `whsec_…`
        secret: Option<SecretString> = None,
        /// A file that holds the secret.
        secret_file: Option<PathBuf> = None,
        /// The previous secret, which also signs during a rotation.
        previous_secret: Option<SecretString> = None,
        /// A file that holds the previous secret.
        previous_secret_file: Option<PathBuf> = None,
    }
}
section! {
    /// Settings for the webhooks of all tenants.
    WebhooksConfig {
        /// Whether targets may be private addresses and plain HTTP.
        allow_private_targets: bool = false,
    }
}
macro_rules! carrier_section {
    ($($carrier:ident)+) => {
        section_by_channel! {
            /// An account at a carrier.
            CarrierConfig {
                /// The action after a message with unknown outcome. By default, channel and carrier decide.
                "unknown_" => unknown: UnknownPolicy = [],
                /// Maximum number of requests per second.
                rate_per_s: u32 = 100,
                /// Time limit for the carrier's answer, in seconds.
                time_out_s: u64 = 10,
                /// A proxy for requests to the carrier: `http://host:port`.
                proxy: Option<String> = None,
                /// A file with certificates of authorities that are trusted beside those of the machine.
                ca_file: Option<PathBuf> = None,
                /// Whether the account sends nothing any more, and only its receipts are still taken.
                retired: bool = false,
                /// Whether each message has a callback URL, or the account.
                callbacks: Callbacks = Callbacks::Message,
                $(
                    #[doc = concat!("The account, if the carrier is ", stringify!($carrier), ".")]
                    $carrier: Option<crate::carriers::$carrier::Config> = None,
                )+
            }
        }

        impl CarrierConfig {
            /// The names of all carriers.
            pub const CARRIERS: &'static [&'static str] = &[$(stringify!($carrier)),+];

            /// The configured accounts of the section, by carrier. A valid section has exactly one.
            pub fn accounts(&self) -> Vec<(&'static str, &dyn AccountConfig)> {
                let mut accounts: Vec<(&'static str, &dyn AccountConfig)> = vec![];
                $(accounts.extend(self.$carrier.as_ref().map(|a| (stringify!($carrier), a as &dyn AccountConfig)));)+
                accounts
            }

            /// The same, mutable, for reading secrets from files.
            pub(super) fn accounts_mut(&mut self) -> Vec<(&'static str, &mut dyn AccountConfig)> {
                let mut accounts: Vec<(&'static str, &mut dyn AccountConfig)> = vec![];
                $(accounts.extend(self.$carrier.as_mut().map(|a| (stringify!($carrier), a as &mut dyn AccountConfig)));)+
                accounts
            }

            /// The base URL of the carrier's API; empty without an account.
            pub fn base_url(&self) -> &str {
                self.accounts().first().map_or("", |(_, account)| account.base_url())
            }
        }
    };
}
with_all_carriers!(carrier_section);

section_by_channel! {
    /// The carriers per channel, in order of preference.
    RoutesConfig {
        /// Carriers by channel. A channel without carriers uses every account that carries it.
        "" => channels: Vec<String> = every_account(),
        /// Overrides per country, by channel.
        countries: ByCountry<BTreeMap<Channel, Vec<String>>> = ByCountry::default(),
    }
}
impl RoutesConfig {
    /// The configured carriers of a channel for a country. Empty: every account that carries the channel.
    pub fn carriers(&self, channel: Channel, country: Option<&str>) -> &[String] {
        let local = country.and_then(|c| self.countries.get(c)).and_then(|local| local.get(&channel));
        local.or_else(|| self.channels.get(&channel)).map_or(&[], Vec::as_slice)
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

fn every_account() -> BTreeMap<Channel, Vec<String>> {
    Channel::ALL.iter().map(|channel| (*channel, vec![])).collect()
}

/// A call to some of these costs much, or pays somebody else. None of them belongs to one person's handset.
fn refused_kinds() -> BTreeMap<Channel, Vec<NumberKind>> {
    [(Channel::Sms, vec![]), (Channel::Voice, NumberKind::ALL.to_vec())].into()
}

/// Reads the refused kinds. A channel that is left out keeps its default, so a setting for texts does not allow premium-rate calls.
fn with_default_kinds<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Channel, Vec<NumberKind>>, D::Error> {
    let mut kinds = refused_kinds();
    kinds.extend(BTreeMap::<Channel, Vec<NumberKind>>::deserialize(deserializer)?);
    Ok(kinds)
}

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|t| t.parse().expect("our own defaults are rules")).collect()
}
