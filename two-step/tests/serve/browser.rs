//! A browser that stores cookies, follows no redirect, and sends arbitrary requests.

use std::collections::BTreeMap;

use reqwest::header::{COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Method, Response};

pub(crate) struct Browser {
    http: Client,
    at: String,
    origin: String,
    pub(crate) cookies: BTreeMap<String, String>,
}

/// A page, or a redirect.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the path of a redirect.
    pub(crate) fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// Returns the CSRF value of its forms.
    pub(crate) fn csrf(&self) -> String {
        let (_, rest) = self.body.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Browser {
    /// Creates a browser without cookies. `origin` is the origin of the pages' public URL.
    pub(crate) fn new(port: u16, origin: &str) -> Self {
        let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self {
            http,
            at: format!("http://127.0.0.1:{port}"),
            origin: origin.to_owned(),
            cookies: BTreeMap::new(),
        }
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Seen {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer: Response = request.header(COOKIE, cookies.join("; ")).send().await.unwrap();
        for set in answer.headers().get_all(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Seen { status, headers, body: answer.text().await.unwrap_or_default() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Seen {
        let request = self.http.get(format!("{}{path}", self.at));
        self.send(request).await
    }

    /// Sends a request with another method or another header than a visit.
    pub(crate) async fn request(&mut self, method: Method, path: &str, header: Option<(&str, &str)>) -> Seen {
        let mut request = self.http.request(method, format!("{}{path}", self.at));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.send(request).await
    }

    pub(crate) async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Seen {
        let request = self.http.post(format!("{}{path}", self.at)).header(ORIGIN, &self.origin).form(form);
        self.send(request).await
    }

    /// Posts the raw bytes of a form.
    pub(crate) async fn post_bytes(&mut self, path: &str, body: Vec<u8>) -> Seen {
        let request = self.http.post(format!("{}{path}", self.at)).header(ORIGIN, &self.origin);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        self.send(request).await
    }
}
