//! The client's address.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::Config;

/// Returns the client's address: the peer's, or the one that the last trusted proxy reports.
pub(crate) fn address(peer: IpAddr, headers: &HeaderMap, config: &Config) -> IpAddr {
    let trusted = |ip: &IpAddr| config.trusted_proxies.contains(&ip.to_canonical());
    if !trusted(&peer) {
        return peer;
    }
    let all = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
    let named: Vec<&str> = all.flat_map(|line| line.split(',')).map(str::trim).collect();
    // From the right, because each proxy appends its peer. Entries left of an unreadable one are untrusted.
    let mut last = peer;
    for text in named.into_iter().rev() {
        match read(text) {
            Some(ip) if trusted(&ip) => last = ip,
            Some(ip) => return ip,
            None => return last,
        }
    }
    last
}

/// Reads an address with or without a port: `192.0.2.1`, `192.0.2.1:4711`, `[2001:db8::1]:4711`.
fn read(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client of a request through a trusted proxy.
    fn client_of(forwarded: &[&str]) -> String {
        client_behind("10.0.0.1", forwarded)
    }

    fn client_behind(peer: &str, forwarded: &[&str]) -> String {
        let trusted_proxies = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap()).to_vec();
        let config = Config { trusted_proxies, ..Config::default() };
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        address(peer.parse().unwrap(), &headers, &config).to_string()
    }

    /// Fails if a client can choose its own address.
    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        assert_eq!(client_behind("203.0.113.5", &["192.0.2.7"]), "203.0.113.5");
        assert_eq!(client_behind("::ffff:10.0.0.2", &["192.0.2.7"]), "192.0.2.7");
    }

    #[test]
    fn the_client_is_the_address_from_the_last_trusted_proxy() {
        assert_eq!(client_of(&[]), "10.0.0.1");
        assert_eq!(client_of(&["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client_of(&["198.51.100.1, 192.0.2.7", "10.0.0.2"]), "192.0.2.7");
        assert_eq!(client_of(&["192.0.2.7:4711"]), "192.0.2.7", "some proxies add the port");
        assert_eq!(client_of(&["198.51.100.1, [2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(client_of(&["[2001:db8::7]"]), "2001:db8::7");
    }

    /// Fails if unreadable entries are skipped, because then an entry that the client wrote is used.
    #[test]
    fn entries_left_of_an_unreadable_one_are_ignored() {
        assert_eq!(client_of(&["198.51.100.1, unknown"]), "10.0.0.1");
        assert_eq!(client_of(&["198.51.100.1, unknown, 10.0.0.2"]), "10.0.0.2");
    }
}
