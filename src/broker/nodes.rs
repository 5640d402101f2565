//! The URLs of RabbitMQ's nodes. A URL leads to the node that it names, or it is refused with a sentence.

use std::path::Path;

use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};

use super::problem::BrokerError;
use crate::domain::server_url::{ServerUrl, decoded};

/// Heartbeat interval in seconds, unless the URL sets one. A peer that is silent for twice this time is considered dead.
const HEARTBEAT_S: u16 = 10;
/// The largest `connection_timeout` that a URL may have, in ms. Connecting waits this long for each node that does not answer.
const MAX_CONNECT_TIMEOUT_MS: u64 = 60_000;

/// The nodes of RabbitMQ, and whom to trust as their authority. It has no `Debug`, because it holds passwords.
#[derive(Clone)]
pub struct Nodes {
    pub(super) uris: Vec<AMQPUri>,
    pub(super) tls: OwnedTLSConfig,
}

impl Nodes {
    /// Parses one URL for each node, separated by commas: `amqp://user:password@host:5672/vhost`, or `amqps://` for TLS. `ca_file` holds
    /// certificates of authorities that are trusted beside those of the machine, as PEM. Connects to nothing.
    pub fn parse(urls: &str, ca_file: Option<&Path>) -> Result<Self, BrokerError> {
        let nodes: Result<Vec<AMQPUri>, String> = split(urls).into_iter().map(parse).collect();
        let nodes = nodes.map_err(|why| BrokerError::Url(format!("amqp.url {why}")))?;
        let mut tls = OwnedTLSConfig::default();
        if let Some(file) = ca_file {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if !text.contains("-----BEGIN CERTIFICATE-----") {
                let file = file.display();
                return Err(BrokerError::Url(format!(
                    "amqp.ca_file: {file} holds no readable PEM certificate"
                )));
            }
            tls.cert_chain = Some(text);
        }
        Ok(Self { uris: nodes, tls })
    }
}

/// Splits at the commas that a scheme follows: a password may hold a comma.
fn split(urls: &str) -> Vec<&str> {
    let mut parts = vec![];
    let mut rest = urls.trim();
    let begins =
        |text: &str| text.trim_start().starts_with("amqp://") || text.trim_start().starts_with("amqps://");
    while let Some((at, _)) = rest.match_indices(',').find(|(at, _)| begins(&rest[at + 1..])) {
        parts.push(rest[..at].trim());
        rest = rest[at + 1..].trim();
    }
    parts.push(rest);
    parts
}

fn parse(url: &str) -> Result<AMQPUri, String> {
    let url: ServerUrl = url.parse().map_err(|e| format!("{e}"))?;
    let (scheme, port) = match url.scheme.as_str() {
        "amqp" => (AMQPScheme::AMQP, 5672),
        "amqps" => (AMQPScheme::AMQPS, 5671),
        _ => return Err("must begin with amqp://, or with amqps:// for TLS".to_owned()),
    };
    let [host] = url.hosts.as_slice() else {
        return Err(format!(
            "names several hosts in one URL; write one {}:// URL for each node, separated by commas",
            url.scheme
        ));
    };
    if host.name.is_empty() {
        return Err("names no host".to_owned());
    }
    let vhost = match url.path.as_deref() {
        None => "/".to_owned(),
        Some("") => {
            return Err("ends with a slash, which names the vhost \"\"; write /%2f for the vhost \"/\", or leave the slash out".to_owned());
        }
        Some(path) if path.contains('/') => {
            return Err("has a slash in its vhost; write it as %2f (the vhost \"/\" is /%2f)".to_owned());
        }
        Some(path) => decoded(path).map_err(|e| e.to_string())?,
    };
    let mut query = AMQPQueryString { heartbeat: Some(HEARTBEAT_S), ..AMQPQueryString::default() };
    for (name, value) in &url.params {
        let refused = || format!("has a value of {name} that is not supported");
        match name.as_str() {
            "heartbeat" => query.heartbeat = Some(value.parse().map_err(|_| refused())?),
            "frame_max" => query.frame_max = Some(value.parse().map_err(|_| refused())?),
            "channel_max" => query.channel_max = Some(value.parse().map_err(|_| refused())?),
            "connection_timeout" => {
                let ms = value.parse::<u64>().ok().filter(|ms| (1..=MAX_CONNECT_TIMEOUT_MS).contains(ms));
                query.connection_timeout = Some(ms.ok_or_else(|| {
                    format!(
                        "has a connection_timeout that is not 1 to {MAX_CONNECT_TIMEOUT_MS} (milliseconds)"
                    )
                })?);
            }
            "auth_mechanism" => query.auth_mechanism = Some(value.parse().map_err(|_| refused())?),
            "cacertfile" => {
                return Err(
                    "has the parameter cacertfile, which is not supported; name the file in amqp.ca_file"
                        .to_owned(),
                );
            }
            "verify" | "certfile" | "keyfile" | "server_name_indication" => {
                return Err(format!(
                    "has the parameter {name}, which is not supported: otpost always verifies the certificate, and logs in with a password"
                ));
            }
            _ => {
                return Err("has a parameter that is not supported; known are heartbeat, frame_max, channel_max, connection_timeout and auth_mechanism".to_owned());
            }
        }
    }
    let or_guest = |text: Option<String>| text.unwrap_or_else(|| "guest".to_owned());
    let userinfo =
        AMQPUserInfo { username: or_guest(url.user.clone()), password: or_guest(url.password.clone()) };
    let authority = AMQPAuthority { userinfo, host: host.name.clone(), port: host.port.unwrap_or(port) };
    Ok(AMQPUri { scheme, authority, vhost, query })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(urls: &str) -> Vec<AMQPUri> {
        Nodes::parse(urls, None).unwrap_or_else(|why| panic!("{urls}: {why}")).uris
    }

    fn refusal(url: &str) -> String {
        Nodes::parse(url, None).err().unwrap_or_else(|| panic!("{url} is taken")).to_string()
    }

    #[test]
    fn a_url_leads_to_the_host_that_it_names() {
        for (url, host, port, vhost) in [
            ("amqp://u:p@[2001:db8::5]:5673/%2f", "2001:db8::5", 5673, "/"),
            ("amqp://[::1]", "::1", 5672, "/"),
            ("amqp://mq.example:1/shop%2Feu", "mq.example", 1, "shop/eu"),
            ("amqps://mq/shop", "mq", 5671, "shop"),
            ("amqp://127.0.0.1?heartbeat=3", "127.0.0.1", 5672, "/"),
        ] {
            let uri = &nodes(url)[0];
            assert_eq!(
                (uri.authority.host.as_str(), uri.authority.port, uri.vhost.as_str()),
                (host, port, vhost),
                "{url}"
            );
        }
        let uri = &nodes("amqp://h?heartbeat=3&frame_max=8192&connection_timeout=60000")[0];
        assert_eq!((uri.query.heartbeat, uri.query.frame_max), (Some(3), Some(8192)));
        assert_eq!(uri.query.connection_timeout, Some(60_000));
        assert_eq!(uri.authority.userinfo, AMQPUserInfo::default());
    }

    #[test]
    fn a_comma_separates_nodes_and_may_be_in_a_password() {
        let hosts: Vec<String> = nodes("amqp://u:a,b@mq1/%2f, amqp://u:p@mq2/%2f,amqps://mq3")
            .into_iter()
            .map(|uri| uri.authority.host)
            .collect();
        assert_eq!(hosts, ["mq1", "mq2", "mq3"]);
        assert_eq!(nodes("amqp://u:a,b@mq1")[0].authority.userinfo.password, "a,b");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_a_part_of_the_password() {
        for (url, why) in [
            ("amqp://u:s3@cret@h/%2f", "%40"),
            ("amqp://u:s3#cret@h/%2f", "%23"),
            ("amqp://u:s3/cret@h/%2f", "%2F"),
            ("amqp://u:s3%cret@h/%2f", "%25"),
            ("amqp://u:s3cret@h/", "names the vhost \"\"; write /%2f"),
            ("amqp://u:s3cret@h//", "a slash in its vhost"),
            ("amqp://u:s3cret@h/shop/eu", "a slash in its vhost"),
            ("amqp://u:s3cret@::1/%2f", "in brackets"),
            ("amqp://u:s3cret@/%2f", "names no host"),
            ("amqp://u:s3cret@a,b/%2f", "one amqp:// URL for each node"),
            ("http://u:s3cret@h/%2f", "must begin with amqp://"),
            ("u:s3cret@h", "no scheme"),
            ("amqp://u:s3cret@h?heartbeat=soon", "a value of heartbeat"),
            ("amqp://u:s3cret@h?connection_timeout=0", "1 to 60000 (milliseconds)"),
            ("amqp://u:s3cret@h?connection_timeout=60001", "1 to 60000 (milliseconds)"),
            ("amqp://u:s3cret@h?connection_timeout=5s", "1 to 60000 (milliseconds)"),
            ("amqp://u:s3cret@[fe80::1%25eth0]", "with a zone"),
            ("amqps://u:s3cret@h?cacertfile=x", "name the file in amqp.ca_file"),
            ("amqps://u:s3cret@h?verify=verify_none", "always verifies"),
            ("amqp://u:s3cret@h?s3cret=1", "known are heartbeat"),
        ] {
            let refusal = refusal(url);
            assert!(
                refusal.contains(why) && !refusal.contains("s3") && !refusal.contains("cret"),
                "{url}: {refusal}"
            );
        }
    }
}
