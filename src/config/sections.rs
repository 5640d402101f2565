//! The sections of the configuration file, each with its defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::carriers::{AccountConfig, infobip, twilio};
use crate::domain::decide::UnknownPolicy;
use crate::domain::dispatch::NumberCheck;
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
        /// Broker users, and the tenants that each may speak for; empty: every producer is trusted for all.
        users: BTreeMap<String, Vec<String>> = BTreeMap::new(),
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
        /// Who asks for more than health shows it as a bearer token. Needed beyond loopback.
        token: Option<SecretString> = None,
        /// The same, in a file.
        token_file: Option<PathBuf> = None,
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
        /// Codes of one number and tenant.
        number: Vec<Rule> = rules(&["5/10m", "10/1d"]),
        /// Notices of one number and tenant.
        notice: Vec<Rule> = rules(&["5/1h", "20/1d"]),
        /// Calls of one number and tenant.
        voice: Vec<Rule> = rules(&["3/1h"]),
        /// Quota of one number above all tenants, codes and notices together.
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
        /// Whether plain jobs are refused.
        require_sealed: bool = false,
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
        /// Its quota of codes.
        number: Option<Vec<Rule>> = None,
        /// Its quota of notices.
        notice: Option<Vec<Rule>> = None,
        /// Its quota of calls.
        voice: Option<Vec<Rule>> = None,
        /// Its name in messages.
        brand: Option<String> = None,
        /// Its senders, by carrier.
        senders: BTreeMap<String, SenderConfig> = BTreeMap::new(),
        /// Whether its plain jobs are refused.
        require_sealed: Option<bool> = None,
        /// Where its events go.
        webhook: Option<WebhookConfig> = None,
    }
}
section! {
    /// Where a tenant's events go.
    WebhookConfig {
        /// The target.
        url: String = String::new(),
        /// The secret that signs: `whsec_…`
        secret: Option<SecretString> = None,
        /// The same, in a file.
        secret_file: Option<PathBuf> = None,
        /// The secret before, while it is changed.
        previous_secret: Option<SecretString> = None,
        /// The same, in a file.
        previous_secret_file: Option<PathBuf> = None,
    }
}
section! {
    /// All webhooks.
    WebhooksConfig {
        /// Whether targets may be private addresses and plain HTTP.
        allow_private_targets: bool = false,
    }
}
section! {
    /// A tenant's senders at a carrier.
    SenderConfig {
        /// Of texts: a number, a short code or a name, as the carrier takes it.
        sms: Option<String> = None,
        /// Of calls: a number.
        voice: Option<String> = None,
    }
}
section! {
    /// An account at a carrier.
    CarrierConfig {
        /// The account's rate.
        rate_per_s: u32 = 100,
        /// The longest wait for an answer.
        time_out_s: u64 = 10,
        /// What follows on an unknown text; none: `lookup` where the carrier keeps our references, else `wait`.
        unknown_sms: Option<UnknownPolicy> = None,
        /// What follows on an unknown call.
        unknown_voice: UnknownPolicy = UnknownPolicy::Never,
        /// A Twilio account.
        twilio: Option<twilio::Config> = None,
        /// An Infobip account.
        infobip: Option<infobip::Config> = None,
    }
}
impl CarrierConfig {
    /// The accounts of the section; one, if the configuration is right.
    pub fn accounts(&self) -> Vec<&dyn AccountConfig> {
        let accounts: [Option<&dyn AccountConfig>; 2] =
            [self.twilio.as_ref().map(|a| a as _), self.infobip.as_ref().map(|a| a as _)];
        accounts.into_iter().flatten().collect()
    }

    /// The same, to be completed.
    pub(super) fn accounts_mut(&mut self) -> Vec<&mut dyn AccountConfig> {
        let accounts: [Option<&mut dyn AccountConfig>; 2] =
            [self.twilio.as_mut().map(|a| a as _), self.infobip.as_mut().map(|a| a as _)];
        accounts.into_iter().flatten().collect()
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

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|t| t.parse().expect("our own defaults are rules")).collect()
}
