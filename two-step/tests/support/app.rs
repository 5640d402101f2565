//! A simulated phone with the product's own app: its key and its signed requests.

use std::net::IpAddr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use two_step::flow::{AppRefused, NewAppKey, RegisterRefused, Registered, VerifiedRequest};
use two_step::public_key::PublicKey;
use two_step::seal::random_token;
use two_step::signature::{COMPONENTS, Request, content_digest};

use super::user::User;
use super::world::{ALL_LIMITS_FREE_S, World};

/// An app.
pub struct PhoneApp {
    pub world: World,
    pub client: IpAddr,
    pair: EcdsaKeyPair,
}

/// The headers of a signed request, and the request.
#[derive(Clone)]
pub struct SignedRequest {
    pub method: String,
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    pub body: Vec<u8>,
    pub digest: String,
    pub input: String,
    pub signature: String,
}

impl SignedRequest {
    pub fn as_request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            body: &self.body,
            content_digest: Some(&self.digest),
            signature_input: Some(&self.input),
            signature: Some(&self.signature),
        }
    }
}

impl PhoneApp {
    pub fn new(world: &World) -> Self {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
        Self { world: world.clone(), client: "192.0.2.9".parse().unwrap(), pair }
    }

    pub fn public(&self) -> PublicKey {
        let point = self.pair.public_key().as_ref();
        PublicKey::p256(&URL_SAFE_NO_PAD.encode(&point[1..33]), &URL_SAFE_NO_PAD.encode(&point[33..]))
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// Signs a request at a time with this offset in seconds from the store's.
    pub async fn signed_at(&self, ahead_s: i64, method: &str, path: &str, body: &[u8]) -> SignedRequest {
        let config = self.world.core.config();
        let authority = config.public_url.authority().to_owned();
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q.to_owned())));
        let digest = content_digest(body);
        let names = COMPONENTS.map(|name| format!("\"{name}\"")).join(" ");
        let created = self.world.now().await.as_second() + ahead_s;
        let (nonce, key) = (random_token(), self.public().thumbprint());
        let list = format!("({names});created={created};nonce=\"{nonce}\";keyid=\"{key}\"");
        let asked = format!("?{}", query.clone().unwrap_or_default());
        let base = format!(
            "\"@method\": {method}\n\"@authority\": {authority}\n\"@path\": {path}\n\"@query\": {asked}\n\
             \"content-digest\": {digest}\n\"@signature-params\": {list}"
        );
        SignedRequest {
            method: method.to_owned(),
            authority,
            path: path.to_owned(),
            query,
            body: body.to_vec(),
            digest,
            input: format!("app={list}"),
            signature: format!("app=:{}:", STANDARD.encode(self.sign(base.as_bytes()))),
        }
    }

    pub async fn signed(&self, method: &str, path: &str, body: &[u8]) -> SignedRequest {
        self.signed_at(0, method, path, body).await
    }

    /// Sends a request for the account and returns the result of the check.
    pub async fn try_call(&self) -> Result<VerifiedRequest, AppRefused> {
        let request = self.signed("GET", "/app/v1/requests", b"").await;
        self.world.core.verified_request(&request.as_request(), Some(self.client)).await.unwrap()
    }

    pub async fn call(&self) -> VerifiedRequest {
        self.try_call().await.unwrap()
    }

    pub async fn try_register(&self, code: &str) -> Result<Registered, RegisterRefused> {
        let request = self.signed("POST", "/app/v1/register", b"{}").await;
        let new = NewAppKey {
            code: code.to_owned(),
            public: self.public(),
            name: "Pixel 9".to_owned(),
            client: Some(self.client),
        };
        self.world.core.register_app(&request.as_request(), &new).await.unwrap()
    }

    /// Sets up the app for a user with open settings.
    pub async fn set_up(user: &User) -> Self {
        let app = Self::new(&user.world);
        let new = user.world.core.add_app(&user.visit).await.unwrap().unwrap();
        let registered = app.try_register(&new.code.unwrap().spelled()).await.unwrap();
        user.must_verify(new.challenge, registered.digits.expose()).await;
        app
    }

    /// Creates a user whose preferred method is the app, with recovery codes as backup.
    pub async fn first_way(world: &World) -> (User, Self) {
        let user = User::new(world, "u1");
        user.open_settings().await;
        let app = Self::set_up(&user).await;
        user.save_recovery_codes().await;
        user.turn_on(false).await;
        world.advance(ALL_LIMITS_FREE_S);
        (user, app)
    }

    /// Replaces the key.
    pub async fn change_key(&self, next: &Self) {
        let text = format!("rekey:{}:{}", self.public().thumbprint(), next.public().thumbprint());
        let proof = URL_SAFE_NO_PAD.encode(next.sign(text.as_bytes()));
        self.world.core.change_app_key(&self.call().await, &next.public(), &proof).await.unwrap().unwrap();
    }

    /// Returns the open request, and the digits that the page shows.
    pub async fn asked(&self) -> (uuid::Uuid, String) {
        let (asked, _) = self.world.core.app_requests(&self.call().await).await.unwrap();
        let request = asked.first().expect("the app has a request").request.id;
        (request, self.world.core.app_digits(request))
    }
}
