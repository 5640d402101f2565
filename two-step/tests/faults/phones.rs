//! The phones: messages that the mock carrier accepted for a number.

use std::time::Duration;

use mock_gateway::Gateway;
use serde_json::Value as Json;

use crate::journal::Journal;
use crate::wait;

/// Time between two states of a text.
pub(crate) const STATE_INTERVAL: Duration = Duration::from_millis(30);
/// Maximum time until a code arrives after its process was killed: the lease of the outbox, plus time for a slow machine.
pub(crate) const MAX_ARRIVAL_TIME: Duration = Duration::from_secs(60);

/// All phones.
pub(crate) struct Phones {
    pub(crate) gateway: Gateway,
    client: reqwest::Client,
    journal: Journal,
}

impl Phones {
    pub(crate) async fn start(journal: &Journal) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = mock_gateway::Config { pace: STATE_INTERVAL, ..mock_gateway::Config::default() };
        let gateway = Gateway::start(listener, config).unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { gateway, client, journal: journal.clone() }
    }

    /// Returns the accepted texts and calls for a number, oldest first.
    pub(crate) async fn accepted(&self, number: &str) -> Vec<Json> {
        let digits = number.trim_start_matches('+');
        let url = format!("http://{}/api/accepted?limit=10000&to={digits}", self.gateway.addr());
        let page: Json = self.client.get(url).send().await.unwrap().json().await.unwrap();
        page["entries"].as_array().unwrap().clone()
    }

    /// Returns the codes of a number, oldest first.
    pub(crate) async fn codes(&self, number: &str) -> Vec<String> {
        let codes: Vec<String> = self.accepted(number).await.iter().filter_map(code).collect();
        for code in &codes {
            self.journal.secret("code", code);
        }
        codes
    }

    /// Returns the next code of a number after this many.
    pub(crate) async fn code_after(&self, number: &str, before: usize) -> String {
        let arrived =
            wait::within(MAX_ARRIVAL_TIME, async || self.codes(number).await.get(before).cloned()).await;
        arrived.unwrap_or_else(|| panic!("no code arrived at {number} after {before}"))
    }
}

/// Returns the code of a text: after the `#` of its last line. A notice has none.
fn code(text: &Json) -> Option<String> {
    let (_, code) = text["body"].as_str()?.trim_end().rsplit_once(" #")?;
    (code.len() == 6).then(|| code.to_owned())
}
