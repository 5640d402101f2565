//! A headless browser: it stores cookies, follows redirects on our pages and submits forms. It records its secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Method, Url};
use uuid::Uuid;

use crate::journal::{Journal, ObservedResult};

const MAX_REDIRECTS: usize = 10;

/// The connection was refused or broke, so the effect of the request is unknown.
#[derive(Debug)]
pub(crate) struct Lost;

/// A browser. A clone is another tab with the cookies of that moment.
#[derive(Clone)]
pub(crate) struct Browser {
    client: Client,
    cookies: BTreeMap<String, String>,
    /// The current URL.
    pub(crate) url: Url,
    /// The status of the current page.
    pub(crate) status: u16,
    /// The current page.
    pub(crate) page: String,
    home: Url,
    journal: Journal,
}

impl Browser {
    /// Creates a browser without cookies. `home` is the URL of the pages.
    pub(crate) fn new(home: &str, journal: &Journal) -> Self {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        let home = Url::parse(home).unwrap();
        Self {
            client,
            cookies: BTreeMap::new(),
            url: home.clone(),
            status: 0,
            page: String::new(),
            home,
            journal: journal.clone(),
        }
    }

    /// Opens a page.
    pub(crate) async fn open(&mut self, to: &str) -> Result<(), Lost> {
        let url = self.url.join(to).unwrap();
        self.request(Method::GET, url, None).await
    }

    /// Submits the form whose action ends like this, with some fields filled in.
    pub(crate) async fn send(&mut self, action: &str, fields: &[(&str, &str)]) -> Result<(), Lost> {
        let form = self.form(action);
        let (path, mut filled) = form
            .unwrap_or_else(|| panic!("{} ({}) has no form {action}: {}", self.url, self.status, self.page));
        for (name, value) in fields {
            filled.insert((*name).to_owned(), (*value).to_owned());
        }
        let url = self.url.join(&path).unwrap();
        self.request(Method::POST, url, Some(filled)).await
    }

    /// Enters a code on the page of a challenge, and records the result.
    pub(crate) async fn enter(
        &mut self, challenge: Uuid, code: &str, right: bool, trust: bool,
    ) -> ObservedResult {
        let mut fields = vec![("code", code)];
        if trust {
            fields.push(("trust", "yes"));
        }
        let observed = match self.send(&format!("/challenge/{challenge}"), &fields).await {
            Err(Lost) => ObservedResult::Unknown,
            Ok(()) => match self.ticket() {
                Some(ticket) => {
                    self.journal.ticket(challenge, &ticket);
                    ObservedResult::Verified
                }
                None if self.url.query().is_some_and(|q| q.contains("error=wrong")) => ObservedResult::Wrong,
                None if self.status == 503 => ObservedResult::Unknown,
                None => ObservedResult::Refused,
            },
        };
        self.journal.entry(challenge, right, observed);
        observed
    }

    /// Returns the ticket if the browser was redirected to the product with one.
    pub(crate) fn ticket(&self) -> Option<String> {
        let away = self.url.origin() != self.home.origin();
        self.url.query_pairs().find(|(k, _)| away && k == "ticket").map(|(_, v)| v.into_owned())
    }

    /// The path and the hidden fields of a form.
    pub(crate) fn form(&self, action: &str) -> Option<(String, BTreeMap<String, String>)> {
        let forms = self.page.split("<form").skip(1).map(|f| f.split("</form>").next().unwrap_or(f));
        forms
            .map(|form| (attribute(form, "action").unwrap_or_default(), form))
            .find(|(path, _)| path.ends_with(action))
            .map(|(path, form)| {
                let inputs = form.split("<input").skip(1);
                let hidden = inputs.filter(|i| attribute(i, "type").as_deref() == Some("hidden"));
                (path, hidden.filter_map(|i| Some((attribute(i, "name")?, attribute(i, "value")?))).collect())
            })
    }

    async fn request(
        &mut self, mut method: Method, mut url: Url, mut form: Option<BTreeMap<String, String>>,
    ) -> Result<(), Lost> {
        for _ in 0..MAX_REDIRECTS {
            let line = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("; ");
            let mut request = self.client.request(method, url.clone()).header(COOKIE, line);
            if let Some(form) = form.take() {
                request = request.header(ORIGIN, self.home.origin().ascii_serialization()).form(&form);
            }
            let answer = request.send().await.map_err(|_| Lost)?;
            for value in answer.headers().get_all(SET_COOKIE).iter().filter_map(|v| v.to_str().ok()) {
                if let Some((name, value)) = value.split(';').next().and_then(|c| c.split_once('=')) {
                    self.keep(name, value);
                }
            }
            self.url = url.clone();
            self.status = answer.status().as_u16();
            let Some(to) = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok()).map(str::to_owned)
            else {
                self.page = answer.text().await.map_err(|_| Lost)?;
                return Ok(());
            };
            url = url.join(&to).unwrap();
            if url.origin() != self.home.origin() {
                // The product's URL. No server listens there.
                self.url = url;
                return Ok(());
            }
            method = Method::GET;
        }
        panic!("too many redirects: {url}");
    }

    fn keep(&mut self, name: &str, value: &str) {
        match name {
            "ts_browser" => self.journal.secret("browser cookie", value),
            // `<id>.<generation>.<secret>`: the id is not secret.
            "ts_device" => self.journal.secret("device cookie", value.rsplit('.').next().unwrap_or(value)),
            _ => {}
        }
        self.cookies.insert(name.to_owned(), value.to_owned());
    }
}

/// The value of an attribute of a tag.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let end = tag[start..].find('"')?;
    Some(tag[start..start + end].replace("&#38;", "&").replace("&amp;", "&"))
}
