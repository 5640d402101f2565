//! The public key of an app.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// A public P-256 key as a JWK (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicKey {
    /// `EC`
    pub kty: String,
    /// `P-256`
    pub crv: String,
    /// The first coordinate: 32 bytes, base64url.
    pub x: String,
    /// The second coordinate.
    pub y: String,
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    d: NoPrivateHalf,
}

/// Rejects a JWK with a private key: it was exposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct NoPrivateHalf;

impl<'de> Deserialize<'de> for NoPrivateHalf {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("is a private key"))
    }
}

impl PublicKey {
    /// Creates a key from its coordinates.
    pub fn p256(x: &str, y: &str) -> Self {
        Self {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: x.to_owned(),
            y: y.to_owned(),
            d: NoPrivateHalf,
        }
    }

    /// Returns the uncompressed point (SEC 1, 2.3.3), or `None` if the key is not a P-256 key of this form.
    fn point(&self) -> Option<[u8; 65]> {
        let coordinate = |text: &str| <[u8; 32]>::try_from(URL_SAFE_NO_PAD.decode(text).ok()?).ok();
        let (x, y) = (coordinate(&self.x)?, coordinate(&self.y)?);
        let mut point = [4; 65];
        point[1..33].copy_from_slice(&x);
        point[33..].copy_from_slice(&y);
        (self.kty == "EC" && self.crv == "P-256").then_some(point)
    }

    /// Returns whether it is a point on the curve.
    pub fn is_valid(&self) -> bool {
        self.point()
            .is_some_and(|point| UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).parse().is_ok())
    }

    /// Returns whether this key made a signature (64 bytes, base64url).
    pub fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| self.fits(message, &signature))
    }

    /// Returns whether this key made a signature (64 bytes).
    pub fn fits(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = self.point().map(|point| UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point));
        key.is_some_and(|key| key.verify(message, signature).is_ok())
    }

    /// Returns the thumbprint (RFC 7638): base64url of SHA-256, 43 characters.
    pub fn thumbprint(&self) -> String {
        let json =
            format!(r#"{{"crv":"{}","kty":"{}","x":"{}","y":"{}"}}"#, self.crv, self.kty, self.x, self.y);
        URL_SAFE_NO_PAD.encode(Sha256::digest(json))
    }
}
