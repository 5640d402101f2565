//! A headless browser: it stores cookies, follows redirects and submits forms.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Method, Url};

/// Maximum number of redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// A browser.
pub(super) struct Browser {
    client: Client,
    /// Cookies by port. Real browsers share them over ports, but here each listener represents a host.
    cookies: BTreeMap<u16, BTreeMap<String, String>>,
    /// The current URL.
    pub(super) url: Url,
    /// The current page.
    pub(super) page: String,
}

impl Browser {
    pub(super) fn new(start: &str) -> anyhow::Result<Self> {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, cookies: BTreeMap::new(), url: Url::parse(start)?, page: String::new() })
    }

    /// Opens a page.
    pub(super) async fn open(&mut self, to: &str) -> anyhow::Result<()> {
        let url = self.url.join(to)?;
        self.request(Method::GET, url, None).await
    }

    /// Submits the form whose action ends like this, with some fields filled in.
    pub(super) async fn send(&mut self, action: &str, fields: &[(&str, &str)]) -> anyhow::Result<()> {
        let (path, mut filled) = self
            .form(action)
            .with_context(|| format!("the page {} has no form {action}", self.url.path()))?;
        for (name, value) in fields {
            filled.insert((*name).to_owned(), (*value).to_owned());
        }
        let url = self.url.join(&path)?;
        self.request(Method::POST, url, Some(filled)).await
    }

    /// Submits it to another address than the form's own, like a button with `formaction`.
    pub(super) async fn send_to(
        &mut self, action: &str, to: &str, fields: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let (_, mut filled) = self.form(action).with_context(|| format!("the page has no form {action}"))?;
        filled.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.request(Method::POST, self.url.join(to)?, Some(filled)).await
    }

    /// Returns a hidden field of any form with this action.
    pub(super) fn hidden(&self, action: &str, name: &str) -> Option<String> {
        let forms = self.page.split("<form").skip(1).map(|form| form.split("</form>").next().unwrap_or(form));
        let ours = forms
            .filter(|form| attribute(&format!("<form{form}"), "action").is_some_and(|a| a.ends_with(action)));
        let inputs = ours.flat_map(|form| form.split("<input").skip(1));
        let mut found = inputs.filter(|input| attribute(input, "name").as_deref() == Some(name));
        found.find_map(|input| attribute(input, "value"))
    }

    /// Returns the path and the hidden fields of a form.
    fn form(&self, action: &str) -> Option<(String, BTreeMap<String, String>)> {
        let mut rest = self.page.as_str();
        while let Some(start) = rest.find("<form") {
            rest = &rest[start..];
            let end = rest.find("</form>").unwrap_or(rest.len());
            let form = &rest[..end];
            let path = attribute(form, "action").unwrap_or_default();
            if path.ends_with(action) {
                let inputs = form
                    .split("<input")
                    .skip(1)
                    .filter(|i| attribute(i, "type").as_deref() == Some("hidden"));
                let hidden = inputs.filter_map(|i| Some((attribute(i, "name")?, attribute(i, "value")?)));
                return Some((path, hidden.collect()));
            }
            rest = &rest[end..];
        }
        None
    }

    async fn request(
        &mut self, method: Method, url: Url, form: Option<BTreeMap<String, String>>,
    ) -> anyhow::Result<()> {
        let (mut method, mut url, mut form) = (method, url, form);
        for _ in 0..MAX_REDIRECTS {
            let port = url.port().unwrap_or(80);
            let jar = self.cookies.entry(port).or_default();
            let line = jar.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("; ");
            let mut request = self.client.request(method, url.clone()).header(COOKIE, line);
            if let Some(form) = form.take() {
                request = request.header(ORIGIN, url.origin().ascii_serialization()).form(&form);
            }
            let answer = request.send().await?;
            for value in answer.headers().get_all(SET_COOKIE).iter().filter_map(|v| v.to_str().ok()) {
                if let Some((name, value)) = value.split(';').next().and_then(|c| c.split_once('=')) {
                    jar.insert(name.to_owned(), value.to_owned());
                }
            }
            self.url = url.clone();
            let Some(to) = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok()) else {
                self.page = answer.text().await?;
                return Ok(());
            };
            url = url.join(to)?;
            method = Method::GET;
        }
        bail!("too many redirects")
    }

    /// Returns whether the page contains a text.
    pub(super) fn shows(&self, text: &str) -> bool {
        self.page.contains(text)
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let end = tag[start..].find('"')?;
    Some(tag[start..start + end].replace("&#38;", "&").replace("&amp;", "&"))
}

impl Browser {
    /// Returns whether the page has no form with this action.
    pub(super) fn form_is_gone(&self, action: &str) -> bool {
        self.form(action).is_none()
    }
}
