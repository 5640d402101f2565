//! A user of the shop, and the shop's back end, with all their requests to the service.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::service::Service;
use super::standin::Codes;

/// Returns a number in a separate block, so that limits on neighbouring numbers do not apply.
fn number(n: usize) -> String {
    format!("+4474{:04}0{:03}", n / 8, 100 + n % 8)
}

pub(crate) struct User {
    name: String,
    numbers: [String; 2],
    http: Client,
    codes: Arc<Codes>,
    api: String,
    pages: String,
    key: String,
    cookies: Mutex<String>,
    phone: Mutex<String>,
}

impl User {
    pub(crate) fn new(n: usize, http: &Client, service: &Service, codes: Arc<Codes>) -> Self {
        Self {
            name: format!("user-{n}"),
            numbers: [number(2 * n), number(2 * n + 1)],
            http: http.clone(),
            codes,
            api: service.api.clone(),
            pages: service.pages.clone(),
            key: service.key.clone(),
            cookies: Mutex::default(),
            phone: Mutex::default(),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.api)).bearer_auth(&self.key);
        let answer = request.json(body).send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        ensure!(status.is_success(), "{path} answers {status}: {body}");
        Ok(body)
    }

    /// Enrols two phones, and turns the second step on.
    pub(crate) async fn turn_on(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut methods = vec![];
        for number in &self.numbers {
            let path = format!("/v1/users/{}/methods", self.name);
            let added = self.post(&path, &json!({"kind": "phone", "target": number})).await?;
            let id = added["id"].as_str().context("no method")?.to_owned();
            let code = self.codes.next(number).await?;
            let verified = self.post(&format!("{path}/{id}/verify"), &json!({"code": code})).await?;
            ensure!(verified["status"] == "verified", "{verified}");
            methods.push(id);
        }
        self.post(&format!("/v1/users/{}/on", self.name), &json!({"methods": methods})).await?;
        *self.phone.lock().unwrap_or_else(PoisonError::into_inner) = methods.swap_remove(0);
        Ok(began.elapsed())
    }

    /// Verifies a challenge without pages: creates it, sends it, enters the code.
    pub(crate) async fn sign_in(&self) -> anyhow::Result<Duration> {
        let phone = self.phone.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let began = Instant::now();
        let created = self.post("/v1/challenges", &json!({"user": self.name})).await?;
        let path = format!("/v1/challenges/{}", created["id"].as_str().context("no challenge")?);
        self.post(&format!("{path}/send"), &json!({"method": phone})).await?;
        let code = self.codes.next(&self.numbers[0]).await?;
        let verified = self.post(&format!("{path}/verify"), &json!({"code": code})).await?;
        ensure!(verified["result"].is_string(), "{verified}");
        Ok(began.elapsed())
    }

    async fn challenge_url(&self) -> anyhow::Result<String> {
        let body = json!({"user": self.name, "return_url": "http://127.0.0.1:1/back"});
        let created = self.post("/v1/challenges", &body).await?;
        Ok(created["url"].as_str().context("no URL")?.to_owned())
    }

    async fn get(&self, url: &str) -> anyhow::Result<Response> {
        let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = self.http.get(url).header(COOKIE, cookies).send().await?;
        self.keep_cookies(&answer);
        Ok(answer)
    }

    fn keep_cookies(&self, answer: &Response) {
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        for set in answer.headers().get_all(SET_COOKIE) {
            let Some((name, value)) = set.to_str().ok().and_then(|t| t.split(';').next()?.split_once('='))
            else {
                continue;
            };
            let others = cookies.split("; ").filter(|c| !c.is_empty() && !c.starts_with(&format!("{name}=")));
            *cookies =
                others.map(str::to_owned).chain([format!("{name}={value}")]).collect::<Vec<_>>().join("; ");
        }
    }

    /// Signs in on the pages once, with "Trust this device".
    pub(crate) async fn trust_this_browser(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let claimed = self.get(&self.challenge_url().await?).await?;
        let page = location(&claimed)?;
        let page = format!("{}{}", self.pages, page.strip_prefix(&self.pages).unwrap_or(&page));
        let text = self.get(&page).await?.text().await?;
        let csrf = text.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let code = self.codes.next(&self.numbers[0]).await?;
        let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request = self.http.post(&page).header(COOKIE, cookies).header("origin", &self.pages);
        let form = format!("csrf={}&code={code}&trust=yes", csrf.context("no form")?);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await?;
        self.keep_cookies(&answer);
        ensure!(location(&answer)?.contains("ticket="), "the code was not accepted");
        Ok(began.elapsed())
    }

    /// Opens a challenge's URL with a trusted device, which redirects at once.
    pub(crate) async fn claim_trusted(&self) -> anyhow::Result<Duration> {
        let url = self.challenge_url().await?;
        let began = Instant::now();
        let claimed = self.get(&url).await?;
        let took = began.elapsed();
        if !location(&claimed)?.contains("ticket=") {
            bail!("the device is not trusted");
        }
        Ok(took)
    }
}

fn location(answer: &Response) -> anyhow::Result<String> {
    let place = answer.headers().get(LOCATION).context("no redirect")?;
    Ok(place.to_str()?.to_owned())
}
