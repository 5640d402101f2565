//! URLs of servers: `scheme://user:password@host:port/path?name=value`, with one host or several.
//!
//! A URL reaches the servers that it names, or it is refused. A character of a password that is not percent-encoded must not turn the
//! rest of the password into a host. No error quotes the URL, because any part of it may belong to the password.

use percent_encoding::percent_decode_str;

/// A URL that was split into its parts. It has no `Debug`, because it may hold a password.
pub struct ServerUrl {
    /// Before `://`.
    pub scheme: String,
    /// The user, decoded.
    pub user: Option<String>,
    /// The password, decoded.
    pub password: Option<String>,
    /// One or more hosts.
    pub hosts: Vec<Host>,
    /// The path after the first `/`, not decoded. `None` without a `/`.
    pub path: Option<String>,
    /// The parameters, decoded.
    pub params: Vec<(String, String)>,
}

/// A host of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A name, an address without brackets, or the folder of a Unix socket. Decoded; may be empty.
    pub name: String,
    /// The port, if the URL has one.
    pub port: Option<u16>,
}

/// Why a URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// There is no `://`.
    #[error("has no scheme, such as postgres:// or amqp://")]
    Scheme,
    /// A special character is not percent-encoded, or a `%` begins no code.
    #[error(
        "holds a character that must be percent-encoded in a user, a password or a name: write @ as %40, : as %3A, / as %2F, ? as %3F, \
         # as %23, a space as %20 and % as %25"
    )]
    Encoding,
    /// A port is not a number, or not from 1 to 65535.
    #[error(
        "has a port that is no number from 1 to 65535; if it is a part of the password, percent-encode the password's special \
         characters (@ : / ? # %), and write an IPv6 address in brackets"
    )]
    Port,
    /// A host has characters that no host has.
    #[error(
        "has a host that is neither a name nor an address; write an IPv6 address in brackets, such as [::1]"
    )]
    Host,
    /// An IPv6 address has a zone. The names of zones are valid only on this machine.
    #[error(
        "has an IPv6 address with a zone (%25…), which is not supported; use another address of the host, or its name"
    )]
    Zone,
    /// A parameter has no `=`.
    #[error("has a parameter without a value; write name=value, and & between two of them")]
    Param,
}

impl std::str::FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            return Err(UrlError::Scheme);
        }
        if rest.contains(|c: char| c == '#' || c.is_whitespace() || c.is_control()) {
            return Err(UrlError::Encoding);
        }
        let (authority, behind) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // The @ of a password that is not encoded, or the one @ behind a / or ? of such a password.
        if authority.matches('@').count() > 1 || behind.contains('@') {
            return Err(UrlError::Encoding);
        }
        let (login, hosts) = match authority.split_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (String::new(), String::new()),
        };
        let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
        let path = path.strip_prefix('/').map(str::to_owned);
        path.as_deref().map(decoded).transpose()?;
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: Some(user).filter(|user| !user.is_empty()),
            password: Some(password).filter(|password| !password.is_empty()),
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            path,
            params: query
                .split('&')
                .filter(|param| !param.is_empty())
                .map(param)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The error of a base URL with another scheme, or without a scheme.
const NOT_HTTP: &str = "must begin with http:// or https://";

impl ServerUrl {
    /// Parses the base URL of an HTTP server. Paths are appended to it, so it has no query, no fragment and no login. An error continues
    /// a sentence that begins with the name of the URL's key.
    pub fn http_base(text: &str) -> Result<Self, String> {
        if text.contains(['?', '#']) {
            return Err(
                "has a query (?…) or a fragment (#…); leave it out, because paths are appended to the URL"
                    .to_owned(),
            );
        }
        let url = text.parse::<Self>().map_err(|e| match e {
            UrlError::Scheme => NOT_HTTP.to_owned(),
            e => e.to_string(),
        })?;
        let host = url.hosts.first().map(|host| host.name.as_str()).unwrap_or_default();
        if !matches!(url.scheme.as_str(), "http" | "https") {
            Err(NOT_HTTP.to_owned())
        } else if text.contains('@') {
            Err("has a user or a password; leave it out".to_owned())
        } else if host.is_empty() || host.starts_with(['/', '@']) {
            Err("names no host".to_owned())
        } else if url.hosts.len() > 1 {
            Err("names several hosts; name one".to_owned())
        } else {
            Ok(url)
        }
    }

    /// Removes a parameter and returns its value. The last one counts.
    pub fn take_param(&mut self, name: &str) -> Option<String> {
        let found = self.params.extract_if(.., |(found, _)| found == name);
        found.last().map(|(_, value)| value)
    }
}

/// Decodes the percent-encoded bytes of a text. Every `%` must begin one.
pub fn decoded(text: &str) -> Result<String, UrlError> {
    let is_code = |at: usize| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.match_indices('%').all(|(at, _)| is_code(at)) {
        return Err(UrlError::Encoding);
    }
    let text = percent_decode_str(text).decode_utf8().map_err(|_| UrlError::Encoding)?;
    // No server's protocol can send it.
    if text.contains('\0') { Err(UrlError::Encoding) } else { Ok(text.into_owned()) }
}

fn host(text: &str) -> Result<Host, UrlError> {
    let (name, port) = match text.strip_prefix('[').map(|text| text.split_once(']')) {
        Some(None) => return Err(UrlError::Host),
        Some(Some((address, behind))) => {
            if address.contains('%') {
                return Err(UrlError::Zone);
            }
            address.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
            let port =
                if behind.is_empty() { None } else { Some(behind.strip_prefix(':').ok_or(UrlError::Host)?) };
            (address.to_owned(), port)
        }
        None => {
            let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
            (decoded(name)?, port)
        }
    };
    let is_socket = name.starts_with(['/', '@']);
    if !is_socket && !name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b)) {
        return Err(UrlError::Host);
    }
    let port = port.filter(|port| !port.is_empty());
    let number = |port: &str| port.parse::<u16>().ok().filter(|&port| port > 0).ok_or(UrlError::Port);
    Ok(Host { name, port: port.map(number).transpose()? })
}

fn param(text: &str) -> Result<(String, String), UrlError> {
    let (name, value) = text.split_once('=').ok_or(UrlError::Param)?;
    Ok((decoded(name)?, decoded(value)?))
}

#[cfg(test)]
mod tests {
    use super::{Host, ServerUrl, UrlError};

    fn parse(url: &str) -> Result<ServerUrl, UrlError> {
        url.parse()
    }

    #[test]
    fn a_url_has_its_parts() {
        let mut url =
            parse("postgres://me%40x:p%3A%2F%25@[2001:db8::5]:1,db.example:2,c/shop?a=b%26&c=&a=d").unwrap();
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("me@x"), Some("p:/%")));
        let hosts = [("2001:db8::5", Some(1)), ("db.example", Some(2)), ("c", None)];
        assert_eq!(url.hosts, hosts.map(|(name, port)| Host { name: name.to_owned(), port }));
        assert_eq!(url.path.as_deref(), Some("shop"));
        assert_eq!((url.take_param("a").as_deref(), url.take_param("a")), (Some("d"), None));
        assert_eq!(url.params, [("c".to_owned(), String::new())]);
        let url = parse("AMQP://u:p:q@h").unwrap();
        assert_eq!((url.scheme.as_str(), url.password.as_deref(), url.path), ("amqp", Some("p:q"), None));
        assert_eq!(parse("postgres://%2Fvar%2Frun/d").unwrap().hosts[0].name, "/var/run");
        assert_eq!(parse("amqp:///x").unwrap().hosts[0].name, "");
    }

    #[test]
    fn a_password_that_is_not_encoded_never_becomes_a_host() {
        for password in [
            "se@cret", "se/cret", "se?cret", "se#cret", "se%cret", "12/cret", "12?cret", "12#x", "a b", "@",
            "a%00b",
        ] {
            for url in [format!("postgres://u:{password}@db/x"), format!("amqp://{password}:p@db/x")] {
                assert_eq!(parse(&url).err(), Some(UrlError::Encoding), "{url}");
            }
        }
    }

    #[test]
    fn hosts_and_ports_that_cannot_be_are_refused() {
        for (url, why) in [
            ("db/x", UrlError::Scheme),
            ("://db", UrlError::Scheme),
            ("a://u:p@db:port", UrlError::Port),
            ("a://u:p", UrlError::Port),
            ("a://db:0", UrlError::Port),
            ("a://db:65536", UrlError::Port),
            ("a://::1", UrlError::Port),
            ("a://[fe80::1%25eth0]:1", UrlError::Zone),
            ("a://[fe80::1%eth0]", UrlError::Zone),
            ("a://[::1", UrlError::Host),
            ("a://[::1]5", UrlError::Host),
            ("a://[db]", UrlError::Host),
            ("a://d*b", UrlError::Host),
            ("a://db?x", UrlError::Param),
        ] {
            assert_eq!(parse(url).err(), Some(why), "{url}");
        }
        assert_eq!(parse("a://db:").unwrap().hosts[0].port, None);
    }

    #[test]
    fn a_base_url_is_an_http_url_that_paths_can_follow() {
        for good in ["https://h", "HTTP://h:1/base/", "http://127.0.0.1", "https://[::1]:1"] {
            assert!(ServerUrl::http_base(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "must begin with http:// or https://"),
            ("h.example", "must begin with http:// or https://"),
            ("/path", "must begin with http:// or https://"),
            ("https:", "must begin with http:// or https://"),
            ("ftp://h", "must begin with http:// or https://"),
            (" https://h", "must begin with http:// or https://"),
            ("https://h?x=1", "has a query"),
            ("https://h/?", "has a query"),
            ("https://h/#f", "a fragment"),
            ("https://u:s3cret@h", "has a user or a password"),
            ("https://@h", "has a user or a password"),
            ("https://", "names no host"),
            ("https:///path", "names no host"),
            ("https://%2Fsocket", "names no host"),
            ("https://a,b", "names several hosts"),
            ("https://h:0", "has a port"),
            ("https://a b", "percent-encoded"),
        ] {
            let error = ServerUrl::http_base(bad).err().unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(error.contains(why) && !error.contains("s3cret"), "{bad}: {error}");
        }
    }
}
