//! Seals the number and the code of a job for otpost: XChaCha20-Poly1305 under the tenant's key, bound to tenant, id and
//! expiry (otpost's `docs/integrate.md`, "Plain or sealed").

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::config::BadConfig;
use crate::seal::random_bytes;

/// Fields that are sealed.
const SECRET_FIELDS: [&str; 4] = ["to", "code", "params", "client_ip"];

/// A tenant's key: `otpost keys tenant` prints it as `<key id>.<64 hexadecimal digits>`.
#[derive(Clone)]
pub struct TenantKey {
    kid: String,
    key: Zeroizing<[u8; 32]>,
}

impl TenantKey {
    /// Reads a key.
    pub fn read(text: &str) -> Result<Self, BadConfig> {
        let bad =
            || BadConfig("otpost.tenant_key must have the form that `otpost keys tenant` prints".to_owned());
        let (kid, hex) = text.trim().split_once('.').ok_or_else(bad)?;
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(hex, &mut *key).map_err(|_| bad())?;
        Ok(Self { kid: kid.to_owned(), key })
    }

    /// Returns the job with its secret fields sealed.
    pub(super) fn seal_job(&self, tenant: &str, id: Uuid, expires_at: Timestamp, body: &Json) -> Json {
        let mut open: Map<String, Json> = body.as_object().cloned().unwrap_or_default();
        let secret: Map<String, Json> =
            SECRET_FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), open.remove(*name)?))).collect();
        let plain = Zeroizing::new(Json::Object(secret).to_string());
        let mut context = (tenant.len() as u32).to_be_bytes().to_vec();
        context.extend_from_slice(tenant.as_bytes());
        context.extend_from_slice(id.as_bytes());
        context.extend_from_slice(&(expires_at.as_millisecond() as u64).to_be_bytes());
        let nonce: [u8; 24] = random_bytes();
        let sealed = XChaCha20Poly1305::new((&*self.key).into())
            .encrypt(&XNonce::from(nonce), Payload { msg: plain.as_bytes(), aad: &context })
            .expect("jobs are far below the cipher's limit of 256 GiB");
        let text = format!("v1.{}.{}", self.kid, BASE64.encode([nonce.as_slice(), &sealed].concat()));
        open.insert("sealed".to_owned(), json!(text));
        Json::Object(open)
    }
}
