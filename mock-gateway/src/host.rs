//! Protects against DNS rebinding: a page on the internet can point its own host name at 127.0.0.1 and then
//! read the answers of a server there. The header `Host` then still has the page's own host name.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Host names that the page and `/api/` accept.
pub(crate) struct Hosts {
    own: IpAddr,
    remote: bool,
    names: Vec<String>,
}

impl Hosts {
    /// `remote` accepts any bare address, because an attack needs a host name.
    pub(crate) fn new(listening: SocketAddr, remote: bool, names: &[String]) -> Self {
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { own: listening.ip(), remote, names }
    }

    fn allow(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return self.remote || address.is_loopback() || address == self.own;
        }
        name == "localhost" || self.names.contains(&name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address are inside brackets.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Refuses a request with another `Host`.
pub(crate) async fn check(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(|host| hosts.allow(host)) {
        return next.run(request).await;
    }
    let text = "This host name is not allowed. Use localhost, or allow the name with --allow-host.\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_own_address_and_given_names_are_allowed() {
        let hosts = Hosts::new("127.0.0.1:8025".parse().unwrap(), false, &["Gateway".into()]);
        for host in
            ["localhost", "localhost:8025", "127.0.0.1:8025", "127.9.9.9", "[::1]:8025", "gateway:8025"]
        {
            assert!(hosts.allow(host), "{host}");
        }
        for host in
            ["", "example.com", "localhost.example.com:8025", "192.0.2.7", "127.0.0.1.example.com", "[::2]"]
        {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn a_remote_gateway_accepts_any_address_but_not_any_name() {
        let hosts = Hosts::new("0.0.0.0:8025".parse().unwrap(), true, &[]);
        assert!(hosts.allow("192.0.2.7:8025"));
        assert!(!hosts.allow("example.com:8025"));
    }
}
