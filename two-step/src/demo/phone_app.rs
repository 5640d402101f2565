//! The product's own app on a simulated phone.

use anyhow::{Context, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, Url};
use serde_json::{Value as Json, json};

use crate::public_key::PublicKey;
use crate::result::generate;
use crate::seal::random_token;
use crate::signature::{COMPONENTS, content_digest};

/// An app.
pub(super) struct PhoneApp {
    client: Client,
    pages: Url,
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl PhoneApp {
    pub(super) fn new(pages: &Url) -> anyhow::Result<Self> {
        let (private, public) = generate();
        let (x, y) = public.split_once('.').context("a key has two coordinates")?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private)?;
        let client = Client::builder().build()?;
        Ok(Self { client, pages: pages.clone(), pair, public: PublicKey::p256(x, y) })
    }

    /// Sends a signed request.
    async fn call(&self, method: Method, path: &str, body: Option<Json>) -> anyhow::Result<Json> {
        let url = self.pages.join(path)?;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let digest = content_digest(body.as_bytes());
        let names = COMPONENTS.map(|name| format!("\"{name}\"")).join(" ");
        let (now, nonce, key) =
            (crate::clock::machine_now().as_second(), random_token(), self.public.thumbprint());
        let list = format!("({names});created={now};nonce=\"{nonce}\";keyid=\"{key}\"");
        let host = url.host_str().unwrap_or_default();
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let base = format!(
            "\"@method\": {method}\n\"@authority\": {authority}\n\"@path\": {}\n\"@query\": ?{}\n\"content-digest\": {digest}\n\
             \"@signature-params\": {list}",
            url.path(),
            url.query().unwrap_or_default(),
        );
        let signature = self.pair.sign(&SystemRandom::new(), base.as_bytes())?;
        let request = self.client.request(method, url).header("content-digest", digest);
        let request = request
            .header("signature-input", format!("app={list}"))
            .header("signature", format!("app=:{}:", STANDARD.encode(signature)));
        let answer = request.body(body).send().await?;
        let (status, answer) = (answer.status(), answer.json::<Json>().await.unwrap_or_default());
        ensure!(status.is_success(), "the app was answered {status}: {}", answer["detail"]);
        Ok(answer)
    }

    /// Registers with a set-up code. Returns the digits for the settings page.
    pub(super) async fn register(&self, code: &str) -> anyhow::Result<String> {
        let body = json!({"code": code, "public_key": self.public, "name": "Demo phone"});
        let answer = self.call(Method::POST, "/app/v1/register", Some(body)).await?;
        Ok(answer["digits"].as_str().unwrap_or_default().to_owned())
    }

    async fn request(&self) -> anyhow::Result<String> {
        let answer = self.call(Method::GET, "/app/v1/requests?wait=10", None).await?;
        answer["requests"][0]["id"].as_str().map(str::to_owned).context("the app has no request")
    }

    /// Approves a request with the digits of the page.
    pub(super) async fn approve(&self, digits: &str) -> anyhow::Result<()> {
        let path = format!("/app/v1/requests/{}/approve", self.request().await?);
        let answer = self.call(Method::POST, &path, Some(json!({"digits": digits}))).await?;
        ensure!(answer["status"] == "approved", "the digits were not accepted: {answer}");
        Ok(())
    }

    /// Denies a request.
    pub(super) async fn deny(&self) -> anyhow::Result<()> {
        let path = format!("/app/v1/requests/{}/deny", self.request().await?);
        self.call(Method::POST, &path, None).await.map(drop)
    }
}
