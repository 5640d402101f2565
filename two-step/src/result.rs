//! The result of a challenge: a signed JWT that the product checks (JWS, ES256, `typ: two-step+jwt`).

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::challenge::{Acr, Challenge, Proof, Purpose};
use crate::clock::after;

/// Life of a result.
pub const RESULT_LIFE: Duration = Duration::from_secs(60);
/// A key is published this long before it signs, and stays published this long after it was replaced.
pub const KEY_OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// Age at which a key is replaced.
pub const KEY_LIFE: Duration = Duration::from_secs(90 * 86400);

/// A key that signs results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The id, which is the `kid`.
    pub id: Uuid,
    /// The public key: both coordinates, 32 bytes each, base64url, separated by a dot.
    pub public: String,
    /// The private key (PKCS #8), sealed.
    pub sealed: String,
    /// When it was created and published.
    pub created_at: Timestamp,
    /// When it starts to sign.
    pub signs_from: Timestamp,
    /// When a newer key replaced it.
    pub retired_at: Option<Timestamp>,
}

/// Creates a key pair: the private key (PKCS #8), and the public key in the form of [`SigningKey::public`].
pub fn generate() -> (Zeroizing<Vec<u8>>, String) {
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .expect("the operating system has randomness");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())
        .expect("a key that was just made is valid");
    // Uncompressed point: 4, x, y (SEC 1, 2.3.3).
    let point = pair.public_key().as_ref();
    let public = format!("{}.{}", BASE64.encode(&point[1..33]), BASE64.encode(&point[33..65]));
    (Zeroizing::new(document.as_ref().to_vec()), public)
}

/// The claims of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Our public URL.
    pub iss: String,
    /// The product's name in the configuration.
    pub aud: String,
    /// The product's id of the user.
    pub sub: String,
    /// When the result was created, in seconds since 1970.
    pub iat: i64,
    /// When the result expires.
    pub exp: i64,
    /// The result's id. The product accepts each id once.
    pub jti: Uuid,
    /// The product's nonce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The purpose of the challenge.
    pub purpose: String,
    /// The challenge's id.
    pub challenge: Uuid,
    /// When the user proved it, in seconds since 1970.
    pub auth_time: i64,
    /// How the user proved it.
    pub method: &'static str,
    /// Authentication method references.
    pub amr: Vec<&'static str>,
    /// The strength of the proof.
    pub acr: &'static str,
    /// The trusted device. The product sends it at sign-out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Uuid>,
    /// Present if codes may live longer than the ten minutes of NIST SP 800-63B.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub long_code: bool,
}

impl Claims {
    /// The claims of a verified challenge; `None` if it is not verified. `issued_at` is when the ticket was first
    /// redeemed. So redeeming it again returns the same claims.
    pub fn of(
        challenge: &Challenge, issuer: &str, product: &str, user: &str, issued_at: Timestamp, long_code: bool,
    ) -> Option<Self> {
        let (proof, acr): (Proof, Acr) = (challenge.proof?, challenge.acr?);
        let purpose =
            if challenge.purpose == Purpose::NewDevice { Purpose::SignIn } else { challenge.purpose };
        Some(Self {
            iss: issuer.to_owned(),
            aud: product.to_owned(),
            sub: user.to_owned(),
            iat: issued_at.as_second(),
            exp: after(issued_at, RESULT_LIFE).as_second(),
            jti: challenge.jti?,
            nonce: challenge.nonce.clone(),
            purpose: purpose.to_string(),
            challenge: challenge.id,
            auth_time: challenge.ended_at?.as_second(),
            method: proof.into(),
            amr: proof.amr().to_vec(),
            acr: acr.into(),
            device: challenge.device,
            long_code,
        })
    }

    /// Signs the claims. `private` is PKCS #8.
    pub fn sign(&self, key: Uuid, private: &[u8]) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("two-step+jwt".to_owned());
        header.kid = Some(key.to_string());
        jsonwebtoken::encode(&header, self, &EncodingKey::from_ec_der(private))
    }
}

/// The public keys as a JSON Web Key Set (RFC 7517).
pub fn jwks(keys: &[SigningKey]) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .filter_map(|key| {
            let (x, y) = key.public.split_once('.')?;
            Some(json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": key.id, "x": x, "y": y}))
        })
        .collect();
    json!({ "keys": keys })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    fn claims() -> Claims {
        let now = crate::clock::machine_now();
        let mut challenge =
            Challenge::new(Uuid::now_v7(), Uuid::now_v7(), Purpose::SignIn, Duration::from_secs(600), now);
        challenge.nonce = Some("n1".to_owned());
        challenge.verify(Proof::Sms, Acr::Second, now);
        Claims::of(&challenge, "https://verify.example", "shop", "u1", now, false).unwrap()
    }

    #[test]
    fn a_result_is_valid_only_for_its_product_and_with_its_key() {
        let (private, public) = generate();
        let now = Timestamp::UNIX_EPOCH;
        let key = SigningKey {
            id: Uuid::now_v7(),
            public,
            sealed: String::new(),
            created_at: now,
            signs_from: now,
            retired_at: None,
        };
        let token = claims().sign(key.id, &private).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!((header.typ.as_deref(), header.kid), (Some("two-step+jwt"), Some(key.id.to_string())));
        let set: JwkSet = serde_json::from_value(jwks(std::slice::from_ref(&key))).unwrap();
        let decoding = DecodingKey::from_jwk(&set.keys[0]).unwrap();
        let check = |audience: &str, token: &str| {
            let mut validation = Validation::new(Algorithm::ES256);
            validation.set_audience(&[audience]);
            jsonwebtoken::decode::<Value>(token, &decoding, &validation)
        };
        let read = check("shop", &token).unwrap().claims;
        assert_eq!(
            (read["method"].as_str(), read["acr"].as_str(), read["nonce"].as_str()),
            (Some("sms"), Some("second"), Some("n1"))
        );
        assert_eq!(read["amr"], json!(["otp", "sms"]));
        assert!(check("other", &token).is_err(), "another product's");
        let (other, _) = generate();
        assert!(check("shop", &claims().sign(key.id, &other).unwrap()).is_err(), "forged");
    }

    #[test]
    fn an_unverified_challenge_has_no_claims() {
        let now = Timestamp::UNIX_EPOCH;
        let open =
            Challenge::new(Uuid::now_v7(), Uuid::now_v7(), Purpose::SignIn, Duration::from_secs(600), now);
        assert_eq!(Claims::of(&open, "", "", "", now, false), None);
    }
}
