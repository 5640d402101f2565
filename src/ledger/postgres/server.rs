//! The URL of a PostgreSQL server, as libpq reads it. Every parameter is honoured, or the URL is refused with the parameter's name.

use std::path::PathBuf;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{Roots, Trust};
use crate::domain::server_url::{ServerUrl, decoded};

/// Time limit for the settings of a new connection.
const SET_TIMEOUT: Duration = Duration::from_secs(2);

const PARAMS: &[&str] = &[
    "user",
    "password",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "options",
    "application_name",
    "sslmode",
    "sslrootcert",
    "sslnegotiation",
    "channel_binding",
    "target_session_attrs",
    "load_balance_hosts",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
];

/// A server, as a URL names it. It has no `Debug`, because it holds the password.
pub struct Server {
    /// How to connect.
    pub config: Config,
    trust: Trust,
    /// Settings of each connection from the parameter `options`.
    settings: Vec<(String, String)>,
}

impl Server {
    /// Parses a URL. `application` is the name of the program for the server. An error continues a sentence that begins with the name of
    /// the URL's key.
    pub fn parse(url: &str, application: &str) -> Result<Self, String> {
        let mut url: ServerUrl = url.trim().parse().map_err(|e| format!("{e}"))?;
        if let Some((name, _)) = url.params.iter().find(|(name, _)| !PARAMS.contains(&name.as_str())) {
            return Err(unknown_param(name));
        }
        check_named_once(&url)?;
        let mut trust = Trust { roots: Roots::System, verifies_host: true };
        let mode = url.take_param("sslmode");
        let root = url.take_param("sslrootcert");
        let is_system = root.as_deref() == Some("system");
        if is_system && !matches!(mode.as_deref(), None | Some("require" | "verify-full")) {
            return Err(
                "has sslrootcert=system with another sslmode; use sslmode=verify-full, or leave sslmode out"
                    .to_owned(),
            );
        }
        if let Some(file) = root.map(PathBuf::from).filter(|_| !is_system) {
            if !file.is_absolute() {
                return Err(
                    "has a relative path in sslrootcert, which would depend on the working directory; write an absolute path"
                        .to_owned(),
                );
            }
            trust.roots = Roots::Only(file);
        }
        let mode = match mode.as_deref() {
            // As in libpq: `system` requires a verified certificate.
            None if is_system => SslMode::Require,
            None | Some("prefer") => SslMode::Prefer,
            Some("disable") => SslMode::Disable,
            Some("require" | "verify-full") => SslMode::Require,
            Some("verify-ca") => {
                trust.verifies_host = false;
                SslMode::Require
            }
            Some(_) => {
                return Err(
                    "has an sslmode that is not supported; use disable, prefer, require, verify-ca or verify-full"
                        .to_owned(),
                );
            }
        };
        let settings = url.take_param("options").map(|options| settings(&options)).transpose()?;
        match url.take_param("target_session_attrs").as_deref() {
            None | Some("any") => {}
            // The primary is the server that accepts writes.
            Some("read-write" | "primary") => {
                url.params.push(("target_session_attrs".to_owned(), "read-write".to_owned()));
            }
            Some(_) => {
                return Err("has a target_session_attrs that does not lead to a server that accepts writes; use read-write".to_owned());
            }
        }
        let has_timeout = |name: &str| url.params.iter().any(|(found, _)| found == name);
        let has = ["connect_timeout", "tcp_user_timeout", "keepalives_idle"].map(has_timeout);
        let mut config = with_params(&url.params)?;
        config.ssl_mode(mode);
        if let Some(user) = &url.user {
            config.user(user);
        }
        if let Some(password) = &url.password {
            config.password(password);
        }
        if let Some(database) = url.path.as_deref().filter(|path| !path.is_empty()) {
            config.dbname(decoded(database).map_err(|e| e.to_string())?);
        }
        let named = url.hosts.iter().any(|host| !host.name.is_empty());
        match (named, config.get_hosts().is_empty() && config.get_hostaddrs().is_empty()) {
            (false, true) => return Err("names no host".to_owned()),
            (true, false) => {
                return Err("names its hosts twice: before the database and as a parameter".to_owned());
            }
            (false, false) => {}
            (true, true) => {
                for host in &url.hosts {
                    config.host(if host.name.is_empty() { "localhost" } else { &host.name });
                    config.port(host.port.unwrap_or(5432));
                }
            }
        }
        let ports = config.get_ports().len();
        if ports > 1 && ports != config.get_hosts().len().max(config.get_hostaddrs().len()) {
            return Err("has another number of ports than of hosts".to_owned());
        }
        for (has, set) in has.into_iter().zip([set_connect_timeout, set_user_timeout, set_keepalive]) {
            if !has {
                set(&mut config);
            }
        }
        if config.get_application_name().is_none() {
            config.application_name(application);
        }
        Ok(Self { config, trust, settings: settings.unwrap_or_default() })
    }

    /// Returns the TLS of connections. `also` is a file of authorities that are trusted beside the usual ones. An error is a sentence.
    pub fn tls(&self, also: Option<&PathBuf>) -> Result<MakeRustlsConnect, String> {
        Ok(MakeRustlsConnect::new(self.trust.client_config(also)?))
    }

    /// Returns the step of a pool that sets the settings of a new connection. Those of the URL come last. It runs after connecting,
    /// because a pooler such as PgBouncer takes no settings earlier.
    pub fn settings_hook(&self, own: &[(&str, &str)]) -> Hook {
        let sql = self.set_settings(own);
        Hook::async_fn(move |client, _| {
            let sql = sql.clone();
            Box::pin(async move {
                // The pool's limit does not include its hooks.
                let set = tokio::time::timeout(SET_TIMEOUT, client.batch_execute(&sql)).await;
                let late = |_| HookError::message("the settings were not confirmed in time");
                set.map_err(late)?.map_err(HookError::Backend)
            })
        })
    }

    /// Returns the statement that sets a connection's settings.
    fn set_settings(&self, own: &[(&str, &str)]) -> String {
        let given = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let quoted = |text: &str| text.replace('\'', "''");
        let set = |(name, value)| format!("set_config('{}', '{}', false)", quoted(name), quoted(value));
        format!("select {}", own.iter().copied().chain(given).map(set).collect::<Vec<_>>().join(", "))
    }
}

fn set_connect_timeout(config: &mut Config) {
    config.connect_timeout(Duration::from_secs(3));
}

fn set_user_timeout(config: &mut Config) {
    config.tcp_user_timeout(Duration::from_secs(10));
}

fn set_keepalive(config: &mut Config) {
    config.keepalives_idle(Duration::from_secs(30));
}

/// Refuses a parameter that repeats an earlier part of the URL, because one of the two values would be ignored.
fn check_named_once(url: &ServerUrl) -> Result<(), String> {
    let has_path = url.path.as_deref().is_some_and(|path| !path.is_empty());
    let has_host = url.hosts.iter().any(|host| !host.name.is_empty());
    for (param, is_in_url, why) in [
        ("user", url.user.is_some(), "names its user twice: before the host and as a parameter"),
        ("password", url.password.is_some(), "has two passwords: before the host and as a parameter"),
        ("dbname", has_path, "names its database twice: after the host and as a parameter"),
        (
            "port",
            has_host,
            "has a host, and a port as a parameter; write the port after the host, as in db:5433",
        ),
    ] {
        if is_in_url && url.params.iter().any(|(name, _)| name == param) {
            return Err(why.to_owned());
        }
    }
    Ok(())
}

fn unknown_param(name: &str) -> String {
    let instead = match name {
        "schema" => "; name the schema with options=-csearch_path%3DNAME",
        "pgbouncer" => "; leave it out: PgBouncer works in session mode",
        "sslcert" | "sslkey" | "sslpassword" => {
            "; log in with a password, because client certificates are not supported"
        }
        "sslcrl" | "sslcrldir" | "sslsni" | "gssencmode" | "passfile" | "service" => "; leave it out",
        _ => "",
    };
    // The name is shortened, because it may be a part of the password.
    let is_name = name.len() <= 30 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let name = if is_name { name } else { "…" };
    format!("has the parameter {name}, which is not supported{instead}")
}

/// Parses parameters with the driver. Names the first one whose value it does not take.
fn with_params(params: &[(String, String)]) -> Result<Config, String> {
    let pair = |(name, value): &(String, String)| {
        format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
    };
    for param in params {
        pair(param)
            .parse::<Config>()
            .map_err(|_| format!("has a value of {} that is not supported", param.0))?;
    }
    let all: Vec<String> = params.iter().map(pair).collect();
    all.join(" ").parse().map_err(|_| "has parameters that contradict each other".to_owned())
}

/// Reads the settings in `options`: `-c name=value`, `-cname=value` or `--name=value`, separated by spaces. A backslash stands before a
/// space that belongs to a value.
fn settings(options: &str) -> Result<Vec<(String, String)>, String> {
    let refused = || "has options that are not supported; write them as -c name=value".to_owned();
    let mut words = vec![];
    let (mut word, mut chars) = (String::new(), options.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            c if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut settings = vec![];
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("-c"), word.strip_prefix("--")) {
            (Some(""), _) => words.next().ok_or_else(refused)?,
            (Some(setting), _) | (None, Some(setting)) => setting.to_owned(),
            (None, None) => return Err(refused()),
        };
        let (name, value) = setting.split_once('=').ok_or_else(refused)?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        Server::parse(url, "otpost").unwrap_or_else(|why| panic!("{url}: {why}"))
    }

    fn refusal(url: &str) -> String {
        Server::parse(url, "otpost").err().unwrap_or_else(|| panic!("{url} is taken"))
    }

    #[test]
    fn each_word_of_sslmode_is_honoured_or_refused() {
        for (word, mode, verifies_host) in [
            ("", SslMode::Prefer, true),
            ("?sslmode=prefer", SslMode::Prefer, true),
            ("?sslmode=disable", SslMode::Disable, true),
            ("?sslmode=require", SslMode::Require, true),
            ("?sslmode=verify-full", SslMode::Require, true),
            ("?sslmode=verify-ca", SslMode::Require, false),
            ("?sslrootcert=system", SslMode::Require, true),
            ("?sslrootcert=system&sslmode=verify-full", SslMode::Require, true),
            ("?sslrootcert=%2Fetc%2Fca.pem", SslMode::Prefer, true),
        ] {
            let server = server(&format!("postgres://u:p@db/x{word}"));
            assert_eq!(
                (server.config.get_ssl_mode(), server.trust.verifies_host),
                (mode, verifies_host),
                "{word}"
            );
        }
        assert!(
            refusal("postgres://db/x?sslmode=allow")
                .contains("use disable, prefer, require, verify-ca or verify-full")
        );
        let trust = server("postgres://db/x?sslmode=verify-ca&sslrootcert=%2Fetc%2Fca.pem").trust;
        assert!(matches!(trust.roots, Roots::Only(file) if file.as_os_str() == "/etc/ca.pem"));
        assert!(matches!(server("postgres://db/x?sslrootcert=system").trust.roots, Roots::System));
    }

    #[test]
    fn every_parameter_is_honoured_or_named() {
        let all = "postgresql://db/?dbname=x&user=u&password=a%27b%5C&connect_timeout=7&channel_binding=require&application_name=shop\
                   &target_session_attrs=primary&load_balance_hosts=random&keepalives_idle=9";
        let config = server(all).config;
        assert_eq!((config.get_user(), config.get_password()), (Some("u"), Some("a'b\\".as_bytes())));
        assert_eq!(config.get_dbname(), Some("x"));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(9));
        assert_eq!(config.get_application_name(), Some("shop"));
        let debug = format!("{config:?}");
        for set in
            ["channel_binding: Require", "target_session_attrs: ReadWrite", "load_balance_hosts: Random"]
        {
            assert!(debug.contains(set), "{set}: {debug}");
        }
        for (param, why) in [
            ("pgbouncer=true", "the parameter pgbouncer, which is not supported; leave it out"),
            ("schema=shop", "the parameter schema, which is not supported; name the schema with options="),
            ("sslcert=c", "the parameter sslcert,"),
            ("Secret%40tail=1", "the parameter …, which is not supported"),
            ("channel_binding=maybe", "a value of channel_binding that is not supported"),
            ("connect_timeout=soon", "a value of connect_timeout that is not supported"),
            ("target_session_attrs=standby", "use read-write"),
            ("options=-k", "write them as -c name=value"),
            ("options=-csearch_path", "write them as -c name=value"),
            ("host=other", "names its hosts twice"),
            ("user=v", "names its user twice"),
            ("user=u", "names its user twice"),
            ("password=other", "has two passwords"),
            ("dbname=y", "names its database twice"),
            ("port=1", "write the port after the host"),
            ("sslrootcert=ca.pem", "a relative path in sslrootcert"),
            ("sslrootcert=", "a relative path in sslrootcert"),
            ("sslrootcert=system&sslmode=prefer", "use sslmode=verify-full"),
            ("sslrootcert=system&sslmode=disable", "use sslmode=verify-full"),
            ("sslrootcert=system&sslmode=verify-ca", "use sslmode=verify-full"),
            ("sslmode", "has a parameter without a value"),
        ] {
            let refusal = refusal(&format!("postgres://u:s3cret@db/x?{param}"));
            assert!(refusal.contains(why) && !refusal.contains("s3cret"), "{param}: {refusal}");
        }
    }

    #[test]
    fn options_become_settings() {
        let url =
            "postgres://db/x?options=-csearch_path%3Da%2Cb%20-c%20work-mem%3D4MB%20--lock_timeout%3D2%5C%20s";
        let expected = [("search_path", "a,b"), ("work_mem", "4MB"), ("lock_timeout", "2 s")];
        assert_eq!(server(url).settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let sql = server("postgres://db/x?options=-ca%3Db%27").set_settings(&[("jit", "off")]);
        assert_eq!(sql, "select set_config('jit', 'off', false), set_config('a', 'b''', false)");
    }

    #[test]
    fn several_hosts_and_sockets() {
        let config = server("postgres://u@[::1]:1,db2,db3:3/x?target_session_attrs=read-write").config;
        assert_eq!(config.get_ports(), [1, 5432, 3]);
        assert!(
            format!("{:?}", config.get_hosts()).starts_with("[Tcp(\"::1\"), Tcp(\"db2\")"),
            "{:?}",
            config.get_hosts()
        );
        let config = server("postgres:///x?host=/var/run/postgresql&port=5433").config;
        assert!(format!("{:?}", config.get_hosts()).contains("/var/run/postgresql"));
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(refusal("postgres:///x"), "names no host");
        assert!(refusal("postgres:///x?host=a,b,c&port=1,2").contains("number of ports"));
    }
}
