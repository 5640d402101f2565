//! The HTTP client for carriers, used for every request: time-outs, no redirects, a cap on bodies, no secrets in logs.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use futures_util::{Stream, StreamExt};
use reqwest::Url;
use zeroize::Zeroizing;

use super::Answer;
use crate::domain::attempt::{NotSentCause, Outcome};
use crate::domain::server_url::{ServerUrl, UrlError};

/// Maximum bytes of an answer that are read. A carrier's answer has a few hundred bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Idle time after which a connection is closed. The carrier might close an older one at the moment of its reuse.
const KEEP_ALIVE: Duration = Duration::from_secs(12);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_RESPONSE_AGE: Duration = Duration::from_secs(365 * 86_400);

/// A request, ready to be sent. Its body contains a code, so it is wiped on drop and has no `Debug`.
pub struct Request {
    /// `GET` or `POST`.
    pub method: Method,
    /// The complete URL.
    pub url: String,
    /// The credentials.
    pub auth: Auth,
    /// The content type of the body.
    pub content_type: &'static str,
    /// The body; empty for a `GET`.
    pub body: Zeroizing<String>,
}

/// Credentials of a request.
pub enum Auth {
    /// No credentials.
    None,
    /// HTTP Basic: user and password.
    Basic(String, Zeroizing<String>),
    /// A bearer token.
    Bearer(Zeroizing<String>),
    /// A key with a carrier's own scheme: name of the scheme, key.
    Own(&'static str, Zeroizing<String>),
}

impl Request {
    /// Creates a `GET` request without credentials.
    pub fn get(url: String) -> Self {
        Self { method: Method::Get, url, auth: Auth::None, content_type: "", body: Zeroizing::default() }
    }
}

/// The HTTP methods that carriers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
}

/// An HTTP client with the connections of one account.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// The URL of the last request. Most messages go to the same one, and parsing costs more than a copy.
    last_url: Arc<Mutex<Option<(String, Url)>>>,
    /// Time-out from handing over a request until its answer is complete.
    pub time_out: Duration,
}

impl Client {
    /// Creates a client with this time-out for a whole request, which uses no proxy and trusts the authorities of the machine.
    pub fn new(time_out: Duration) -> Result<Self, reqwest::Error> {
        Ok(Self { http: Self::builder(time_out).build()?, last_url: Arc::default(), time_out })
    }

    /// Creates a client that sends its requests through a proxy, and also trusts the authorities in a file.
    ///
    /// # Errors
    ///
    /// Returns the error text if the proxy's URL or the file cannot be used.
    pub fn with_egress(
        time_out: Duration, proxy: Option<&str>, ca_file: Option<&Path>,
    ) -> Result<Self, String> {
        let mut builder = Self::builder(time_out);
        if let Some(url) = proxy {
            let bad =
                |_| "proxy must be the URL of an HTTP proxy, such as http://proxy.example:3128".to_owned();
            let url: ServerUrl = url.parse().map_err(|e: UrlError| format!("proxy {e}"))?;
            if !matches!(url.scheme.as_str(), "http" | "https")
                || url.hosts.len() != 1
                || url.hosts[0].name.is_empty()
            {
                return Err(
                    "proxy must be the URL of an HTTP proxy, such as http://proxy.example:3128".to_owned()
                );
            }
            if url.path.as_deref().is_some_and(|path| !path.is_empty()) || !url.params.is_empty() {
                return Err("proxy has a path or a query, which proxies ignore; leave it out".to_owned());
            }
            let host = if url.hosts[0].name.contains(':') {
                format!("[{}]", url.hosts[0].name)
            } else {
                url.hosts[0].name.clone()
            };
            let port = url.hosts[0].port.map(|port| format!(":{port}")).unwrap_or_default();
            let mut proxy = reqwest::Proxy::all(format!("{}://{host}{port}", url.scheme)).map_err(bad)?;
            if let Some(user) = &url.user {
                proxy = proxy.basic_auth(user, url.password.as_deref().unwrap_or_default());
            }
            builder = builder.proxy(proxy);
        }
        if let Some(file) = ca_file {
            let bad = || format!("ca_file: {} holds no readable PEM certificate", file.display());
            let text = std::fs::read(file).map_err(|_| bad())?;
            let certificates = reqwest::Certificate::from_pem_bundle(&text).map_err(|_| bad())?;
            if certificates.is_empty() {
                return Err(bad());
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|_| "the HTTP client cannot be created".to_owned())?;
        Ok(Self { http, last_url: Arc::default(), time_out })
    }

    fn builder(time_out: Duration) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(time_out))
            .timeout(time_out)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(KEEP_ALIVE)
            .no_proxy()
            .user_agent(concat!("otpost/", env!("CARGO_PKG_VERSION")))
    }

    /// Opens a stream without a time-out. An answer other than 200 is returned whole.
    ///
    /// # Errors
    ///
    /// Returns the outcome if there is no answer.
    pub async fn stream(&self, request: &Request) -> Result<Result<Lines, Answer>, Outcome> {
        let response =
            self.building(request).timeout(MAX_RESPONSE_AGE).send().await.map_err(|e| failed(&e))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if status == 200 {
            return Ok(Ok(Lines { chunks: Box::pin(response.bytes_stream()), read: vec![] }));
        }
        let body = read(response).await;
        Ok(Err(Answer { status, headers, body, at: crate::domain::clock::now() }))
    }

    /// Sends a request and returns the answer.
    ///
    /// # Errors
    ///
    /// Returns the outcome if there is no answer: not sent, or unknown.
    pub async fn send(&self, request: &Request, time_out: Duration) -> Result<Answer, Outcome> {
        let response = self.building(request).timeout(time_out).send().await.map_err(|e| failed(&e))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read(response).await;
        Ok(Answer { status, headers, body, at: crate::domain::clock::now() })
    }

    fn building(&self, request: &Request) -> reqwest::RequestBuilder {
        let building = match request.method {
            Method::Get => self.http.get(&request.url),
            Method::Post => match self.parsed(&request.url) {
                Some(url) => self.http.post(url),
                // Its error says so when it is sent.
                None => self.http.post(&request.url),
            }
            .header("content-type", request.content_type)
            .body(request.body.to_string()),
        };
        match &request.auth {
            Auth::None => building,
            Auth::Basic(user, password) => building.basic_auth(user, Some(&**password)),
            Auth::Bearer(key) => building.bearer_auth(&**key),
            Auth::Own(scheme, key) => match HeaderValue::from_str(&format!("{scheme} {}", **key)) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    building.header(AUTHORIZATION, value)
                }
                Err(_) => building,
            },
        }
    }

    fn parsed(&self, url: &str) -> Option<Url> {
        let mut last = self.last_url.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(text, _)| text != url) {
            *last = Some((url.to_owned(), url.parse().ok()?));
        }
        last.as_ref().map(|(_, parsed)| parsed.clone())
    }
}

/// A streamed answer, read line by line.
pub struct Lines {
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    read: Vec<u8>,
}

impl Lines {
    /// Returns the next line without its line ending, or `None` if the stream has ended. Cancel safe: dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.read.len() > MAX_ANSWER_BYTES {
                return None;
            }
            self.read.extend_from_slice(&self.chunks.next().await?.ok()?);
        }
    }
}

/// Returns the outcome of a failed request. Without a connection nothing was sent. After any other error the carrier may have
/// accepted the request.
fn failed(e: &reqwest::Error) -> Outcome {
    if e.is_builder() {
        return Outcome::NotSent(NotSentCause::Connect);
    }
    if !e.is_connect() {
        return Outcome::Unknown;
    }
    let mut source: Option<&dyn std::error::Error> = Some(e);
    while let Some(inner) = source {
        // The type of the resolver's error is private, so its text is checked.
        if inner.to_string().starts_with("dns error") {
            return Outcome::NotSent(NotSentCause::Dns);
        }
        source = inner.source();
    }
    Outcome::NotSent(NotSentCause::Connect)
}

async fn read(response: reqwest::Response) -> Option<Vec<u8>> {
    let (mut body, mut chunks) = (vec![], response.bytes_stream());
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.ok()?);
        if body.len() > MAX_ANSWER_BYTES {
            return None;
        }
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Client;

    #[test]
    fn a_proxy_is_an_http_url_without_a_path() {
        let why = |proxy: &str| Client::with_egress(Duration::from_secs(1), Some(proxy), None).err();
        for good in ["http://proxy.example:3128", "http://u:p@proxy.example:3128/", "https://[::1]:1"] {
            assert_eq!(why(good), None, "{good}");
        }
        for (bad, expected) in [
            ("proxy.example:3128", "proxy has no scheme"),
            ("socks5://proxy.example", "the URL of an HTTP proxy"),
            ("http://u:s3cret@", "the URL of an HTTP proxy"),
            ("http://u:s3cret@proxy.example/path", "has a path or a query"),
            ("http://u:s3cret@proxy.example?x=1", "has a path or a query"),
        ] {
            let why = why(bad).unwrap();
            assert!(why.contains(expected) && !why.contains("s3cret"), "{bad}: {why}");
        }
    }
}
