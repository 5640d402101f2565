//! What a caller may choose.

use std::path::PathBuf;
use std::time::Duration;

/// How a gateway behaves. The default is a demo: fake credentials, and a pace that a person can follow.
#[derive(Debug, Clone)]
pub struct Config {
    /// The account that may send, 34 characters: `AC` and 32 hexadecimal digits.
    ///
    /// Defaults to a fake: `AC00000000000000000000000000000001`.
    pub account_sid: String,
    /// The account's secret. Requests are checked against it and callbacks are signed with it.
    ///
    /// Defaults to a fake: `fake-token-of-the-mock-gateway`.
    pub auth_token: String,
    /// The key of an account at Infobip.
    ///
    /// Defaults to a fake: `fake-key-of-the-mock-gateway`.
    pub api_key: String,
    /// Where the states of texts are reported that name no address of their own, as an account may be set up at a
    /// carrier. Defaults to none.
    pub account_callback: Option<AccountCallback>,
    /// Time between two states of a text or a call. Zero is allowed. Defaults to 400 ms.
    pub pace: Duration,
    /// A file to which everything is appended as JSON lines before it is answered. It survives a kill of the
    /// process (not a power cut: nothing is synced). Defaults to none.
    pub record_file: Option<PathBuf>,
    /// How many requests, and how many accepted texts and calls, are kept in memory; the oldest are dropped
    /// beyond that. Defaults to 200,000, roughly 200 MB when full.
    pub record_cap: usize,
    /// How many callbacks are on their way at once; more wait. Defaults to 256.
    pub callbacks_at_once: usize,
    /// Listen on an address that others can reach. The page and `/api/` show every code to whoever asks, so
    /// this is refused unless set. Defaults to false.
    pub allow_remote: bool,
    /// Further names that the `Host` header may carry for the page and `/api/`, such as the name of a
    /// container. Loopback names and the listener's own address always may. Defaults to none.
    pub allowed_hosts: Vec<String>,
}

/// The address of an account for the states of its texts.
#[derive(Debug, Clone)]
pub struct AccountCallback {
    /// The URL, without a query.
    pub url: String,
    /// Whether it is called by `GET`, with the fields in the query.
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
