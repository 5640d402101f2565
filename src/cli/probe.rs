//! Looks at the servers of a configuration. Each function returns what is wrong and what to do. They send no message.

use std::net::IpAddr;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::broker::{Broker, Nodes};
use crate::carriers::client::{Auth, Client, Method};
use crate::carriers::{Answer, Request};
use crate::config::CarrierConfig;
use crate::domain::channel::Channel;
use crate::http::ProblemKind;

/// Time limit for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A reference that no message has.
const NO_REFERENCE: &str = "SM00000000000000000000000000000000";

/// Connects to RabbitMQ, and looks for its exchanges and queues.
pub(super) async fn broker(nodes: &Nodes) -> Result<(), String> {
    Broker::declare(nodes, false).await.map_err(|e| e.to_string())
}

/// Requests the status of a message that does not exist, which tells whether the credentials are accepted. It costs nothing.
pub(super) async fn carrier(name: &str, config: &CarrierConfig) -> Result<(), String> {
    let client = client(name, config)?;
    let section = || format!("check carriers.{name}");
    let (_, account) = config.accounts().first().copied().ok_or_else(section)?;
    let carrier = account.open().map_err(|e| format!("carriers.{name}: {e}"))?;
    let request = Channel::ALL.iter().find_map(|channel| {
        carrier.carries(*channel).then(|| carrier.status_request(*channel, NO_REFERENCE)).flatten()
    });
    let answer = match request {
        Some(request) => send(&client, &request).await?,
        None => return carrier_address(name, config).await,
    };
    match answer.status {
        401 | 403 => {
            Err(format!("it refuses the credentials ({}); check them in carriers.{name}", answer.status))
        }
        status @ 500.. => Err(format!("it answers with {status}; try again later")),
        // Every answer of a carrier's API is JSON, even an error about an unknown message.
        status if answer.json().is_none() => Err(format!(
            "its answer ({status}) does not come from the carrier's API; check carriers.{name}.base_url"
        )),
        _ => Ok(()),
    }
}

/// Checks that something answers at the address of a carrier.
async fn carrier_address(name: &str, config: &CarrierConfig) -> Result<(), String> {
    send(&client(name, config)?, &get(config.base_url())).await.map(drop)
}

fn client(name: &str, config: &CarrierConfig) -> Result<Client, String> {
    Client::with_egress(TIMEOUT, config.proxy.as_deref(), config.ca_file.as_deref())
        .map_err(|e| format!("carriers.{name}: {e}"))
}

async fn send(client: &Client, request: &Request) -> Result<Answer, String> {
    let away = |_| "does not answer; check base_url, the network, proxy and ca_file".to_owned();
    client.send(request, TIMEOUT).await.map_err(away)
}

fn get(url: &str) -> Request {
    Request {
        method: Method::Get,
        url: url.to_owned(),
        auth: Auth::None,
        content_type: "",
        body: Zeroizing::default(),
    }
}

/// Requests a callback URL that is not valid. The receipts listener answers it with 403 and a problem document. `is_for_others`: carriers on
/// other machines must reach it.
pub(super) async fn callback_url(public_url: &str, is_for_others: bool) -> Result<(), String> {
    let url = format!("{}/v1/receipts/doctor/none", public_url.trim_end_matches('/'));
    if is_for_others && is_loopback(public_url) {
        return Err("it is a loopback address, which no carrier can call; set receipts.public_url".to_owned());
    }
    let client = Client::new(TIMEOUT).map_err(|_| "no HTTP client".to_owned())?;
    let answer = client.send(&get(&url), TIMEOUT).await;
    let answer = answer.map_err(|_| {
        "nothing answers there from this machine; start a process with the role receipts, and check DNS, proxy and certificate"
    })?;
    let kind =
        answer.json().and_then(|body| body.get("type").and_then(|kind| kind.as_str()).map(str::to_owned));
    let own = format!("/{}", ProblemKind::InvalidCallback);
    if answer.status == 403 && kind.is_some_and(|kind| kind.ends_with(&own)) {
        return Ok(());
    }
    Err(format!(
        "something else than otpost answers there ({}); carriers' receipts are lost. Check the proxy in front of receipts.listen",
        answer.status
    ))
}

/// Whether the host of a URL is localhost or a loopback address.
pub(super) fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = authority.rsplit_once(':').filter(|(_, end)| port(end)).map_or(authority, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
