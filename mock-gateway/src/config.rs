//! The configuration of a gateway.

use std::path::PathBuf;
use std::time::Duration;

/// The configuration of a gateway. The default is a demo: fake credentials, and delays that a person can
/// follow.
#[derive(Debug, Clone)]
pub struct Config {
    /// The account that may send. It has 34 characters: `AC` and 32 hexadecimal digits.
    ///
    /// Defaults to a fake: `AC00000000000000000000000000000001`.
    pub account_sid: String,
    /// The account's secret. It authenticates requests and signs callbacks.
    ///
    /// Defaults to a fake: `fake-token-of-the-mock-gateway`.
    pub auth_token: String,
    /// The key of an account at Infobip.
    ///
    /// Defaults to a fake: `fake-key-of-the-mock-gateway`.
    pub api_key: String,
    /// The callback URL for texts without a `StatusCallback`, like the setting of an account at a real
    /// carrier. Defaults to none.
    pub account_callback: Option<AccountCallback>,
    /// Time between two states of a text or a call. Zero is allowed. Defaults to 400 ms.
    pub pace: Duration,
    /// A file to which every request is appended as a JSON line before its answer. It survives SIGKILL, but
    /// not a power failure, because it is not synced. Defaults to none.
    pub record_file: Option<PathBuf>,
    /// Maximum number of requests, and of accepted texts and calls, in memory. The oldest are dropped.
    /// Defaults to 200,000, which takes about 200 MB.
    pub record_cap: usize,
    /// Maximum number of concurrent callbacks. Defaults to 256.
    pub callbacks_at_once: usize,
    /// Allows an address that other machines can reach. The page and `/api/` show every code without a login,
    /// so this is refused unless set. Defaults to false.
    pub allow_remote: bool,
    /// Additional host names that the page and `/api/` accept, such as the name of a container. Loopback
    /// names and the listener's own address are always accepted. Defaults to none.
    pub allowed_hosts: Vec<String>,
}

/// The callback URL of an account for the states of its texts.
#[derive(Debug, Clone)]
pub struct AccountCallback {
    /// The URL, without a query.
    pub url: String,
    /// Whether the callback is a `GET` with the fields in the query.
    pub by_get: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account_sid: "AC00000000000000000000000000000001".into(),
            auth_token: "fake-token-of-the-mock-gateway".into(),
            api_key: "fake-key-of-the-mock-gateway".into(),
            account_callback: None,
            pace: Duration::from_millis(400),
            record_file: None,
            record_cap: 200_000,
            callbacks_at_once: 256,
            allow_remote: false,
            allowed_hosts: Vec::new(),
        }
    }
}
