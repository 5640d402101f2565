//! The shop. It checks passwords itself, and uses two-step's API for the second step like any product.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value as Json, json};

use crate::seal::random_token;

/// The users and their passwords.
const USERS: [(&str, &str); 3] = [("ada", "lovelace"), ("alan", "turing"), ("grace", "hopper")];

/// A user who is signed in or signing in.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) user: String,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) signed_in: bool,
    pub(super) password_at: jiff::Timestamp,
    /// The claims of the result as a text.
    pub(super) proof: Option<String>,
    /// The trusted device, which the shop sends at sign-out.
    pub(super) device: Option<String>,
}

/// The shop.
#[derive(Clone)]
pub(super) struct Shop {
    pub(super) url: String,
    api: String,
    pages: String,
    key: String,
    client: reqwest::Client,
    visits: Arc<Mutex<HashMap<String, Visit>>>,
}

/// Error messages of the shop's start page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    Password,
    SecondStep,
    Away,
}

impl Shop {
    pub(super) fn new(url: String, api: String, pages: String, key: String) -> Self {
        #[expect(clippy::disallowed_methods, reason = "connects to a listener of this process")]
        let client = reqwest::Client::new();
        Self { url, api, pages, key, client, visits: Arc::default() }
    }

    fn visits(&self) -> std::sync::MutexGuard<'_, HashMap<String, Visit>> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the visit of a cookie.
    pub(super) fn visit(&self, cookie: &str) -> Option<Visit> {
        self.visits().get(cookie).cloned()
    }

    async fn post(&self, path: &str, body: &Json) -> Result<Json, Denied> {
        let request = self.client.post(format!("{}{path}", self.api)).bearer_auth(&self.key).json(body);
        let answer = request.send().await.map_err(|_| Denied::Away)?;
        if !answer.status().is_success() {
            return Err(Denied::SecondStep);
        }
        answer.json().await.map_err(|_| Denied::Away)
    }

    /// Checks a password and requests the second step. Returns the visit's cookie and the redirect URL.
    pub(super) async fn sign_in(&self, user: &str, password: &str) -> Result<(String, String), Denied> {
        if !USERS.contains(&(user, password)) {
            return Err(Denied::Password);
        }
        let (cookie, state, nonce) = (random_token(), random_token(), random_token());
        let body = json!({"user": user, "return_url": format!("{}/shop/return", self.url), "state": state, "nonce": nonce,
                          "place": "Leeds, GB"});
        let challenge = self.post("/v1/challenges", &body).await?;
        let not_required = challenge["status"] == "not_required";
        let visit = Visit {
            user: user.to_owned(),
            state,
            nonce,
            signed_in: not_required,
            password_at: crate::clock::machine_now(),
            proof: None,
            device: None,
        };
        self.visits().insert(cookie.clone(), visit);
        let to = challenge["url"].as_str().map_or_else(|| format!("{}/shop", self.url), str::to_owned);
        Ok((cookie, to))
    }

    /// Handles the return of the browser: redeems the ticket and checks the result.
    pub(super) async fn came_back(&self, cookie: &str, ticket: &str, state: &str) -> Result<(), Denied> {
        let visit = self.visit(cookie).ok_or(Denied::SecondStep)?;
        if visit.state != state {
            return Err(Denied::SecondStep);
        }
        let redeemed = self.post("/v1/tickets/redeem", &json!({"ticket": ticket})).await?;
        let claims = self.check(redeemed["result"].as_str().unwrap_or_default()).await?;
        if claims["sub"] != visit.user.as_str() || claims["nonce"] != visit.nonce.as_str() {
            return Err(Denied::SecondStep);
        }
        if let Some(visit) = self.visits().get_mut(cookie) {
            visit.signed_in = true;
            visit.proof = Some(format!(
                "{} ({})",
                claims["method"].as_str().unwrap_or("?"),
                claims["acr"].as_str().unwrap_or("?")
            ));
            visit.device = claims["device"].as_str().map(str::to_owned);
        }
        Ok(())
    }

    /// Checks the signature, type, audience and times of a result.
    async fn check(&self, result: &str) -> Result<Json, Denied> {
        let header = jsonwebtoken::decode_header(result).map_err(|_| Denied::SecondStep)?;
        if header.typ.as_deref() != Some("two-step+jwt") {
            return Err(Denied::SecondStep);
        }
        let keys = self
            .client
            .get(format!("{}/.well-known/jwks.json", self.pages))
            .send()
            .await
            .map_err(|_| Denied::Away)?;
        let keys: JwkSet = keys.json().await.map_err(|_| Denied::Away)?;
        let key = header.kid.and_then(|kid| keys.find(&kid).cloned()).ok_or(Denied::SecondStep)?;
        let key = DecodingKey::from_jwk(&key).map_err(|_| Denied::SecondStep)?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["shop"]);
        let read = jsonwebtoken::decode::<Json>(result, &key, &validation);
        read.map(|t| t.claims).map_err(|_| Denied::SecondStep)
    }

    /// Opens the settings of a signed-in user. Returns the redirect URL.
    pub(super) async fn settings(&self, visit: &Visit) -> Result<String, Denied> {
        let body = json!({
            "user": visit.user, "purpose": "settings", "password_at": visit.password_at,
            "return_url": format!("{}/shop/settings-done", self.url), "state": visit.state, "display_name": format!("{} at the shop", visit.user),
        });
        let opened = self.post("/v1/sessions", &body).await?;
        Ok(opened["url"].as_str().unwrap_or_default().to_owned())
    }

    /// Handles the return from the settings. A newly trusted device is stored for sign-out.
    pub(super) fn back_from_settings(&self, cookie: &str, state: &str, device: String) {
        let mut visits = self.visits();
        if let Some(visit) = visits.get_mut(cookie).filter(|v| !device.is_empty() && v.state == state) {
            visit.device = Some(device);
        }
    }

    /// Signs out, which also ends the trust of the device.
    pub(super) async fn sign_out(&self, cookie: &str) {
        let gone = self.visits().remove(cookie);
        if let Some((visit, device)) = gone.and_then(|v| v.device.clone().map(|d| (v, d))) {
            let url = format!("{}/v1/users/{}/devices/{device}", self.api, visit.user);
            let _ = self.client.delete(url).bearer_auth(&self.key).send().await;
        }
    }

    /// Deletes the visit, as if the browser was closed. The device stays trusted.
    pub(super) fn forget(&self, cookie: &str) {
        self.visits().remove(cookie);
    }
}
