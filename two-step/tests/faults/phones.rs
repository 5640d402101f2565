//! The phones: what the mock carrier has taken for a number.

use std::time::Duration;

use mock_gateway::Gateway;
use serde_json::Value as Json;

use crate::journal::Journal;
use crate::wait;

/// Time between two states of a text.
pub(crate) const PACE: Duration = Duration::from_millis(30);
/// How long a code may take where a process was killed with it: the lease of the outbox, and some time for a slow machine.
pub(crate) const ARRIVAL: Duration = Duration::from_secs(60);

/// All phones.
pub(crate) struct Phones {
    pub(crate) gateway: Gateway,
    client: reqwest::Client,
    journal: Journal,
}

impl Phones {
    pub(crate) async fn start(journal: &Journal) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = mock_gateway::Config { pace: PACE, ..mock_gateway::Config::default() };
        let gateway = Gateway::start(listener, config).unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { gateway, client, journal: journal.clone() }
    }

    /// Texts and calls that were taken for a number, oldest first.
    pub(crate) async fn accepted(&self, number: &str) -> Vec<Json> {
        let digits = number.trim_start_matches('+');
        let url = format!("http://{}/api/accepted?limit=10000&to={digits}", self.gateway.addr());
        let page: Json = self.client.get(url).send().await.unwrap().json().await.unwrap();
        page["entries"].as_array().unwrap().clone()
    }

    /// The codes at a number, oldest first.
    pub(crate) async fn codes(&self, number: &str) -> Vec<String> {
        let codes: Vec<String> = self.accepted(number).await.iter().filter_map(code).collect();
        for code in &codes {
            self.journal.secret("code", code);
        }
        codes
    }

    /// The code at a number that comes after so many.
    pub(crate) async fn code_after(&self, number: &str, before: usize) -> String {
        let arrived = wait::within(ARRIVAL, async || self.codes(number).await.get(before).cloned()).await;
        arrived.unwrap_or_else(|| panic!("no code arrived at {number} after {before}"))
    }
}

/// The code of a text: after the `#` of its last line. A notice has none.
fn code(text: &Json) -> Option<String> {
    let (_, code) = text["body"].as_str()?.trim_end().rsplit_once(" #")?;
    (code.len() == 6).then(|| code.to_owned())
}
