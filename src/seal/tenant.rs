//! A tenant's key, with which its producers seal jobs.

use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Root, job_context, seal_under};

/// A tenant's key. It can seal and open this tenant's jobs.
pub struct TenantKey {
    kid: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl Root {
    /// Derives a tenant's key for sealed jobs.
    pub fn tenant(&self, tenant: &str) -> TenantKey {
        TenantKey { kid: self.kid.clone(), bytes: self.derive(super::JOB_CONTEXT, tenant) }
    }
}

impl TenantKey {
    /// Parses `<kid>.<64 hexadecimal digits>`.
    pub fn read(text: &str) -> Option<Self> {
        let (kid, hex) = text.trim().split_once('.')?;
        let root = Root::from_hex(kid, hex).ok()?;
        Some(Self { kid: root.kid, bytes: root.bytes })
    }

    /// The text form `<kid>.<64 hexadecimal digits>`, for a producer's configuration.
    pub fn to_text(&self) -> Zeroizing<String> {
        let hex = Zeroizing::new(hex::encode(*self.bytes));
        Zeroizing::new(format!("{}.{}", self.kid, *hex))
    }

    /// Seals the secret part of a job: a JSON object with `to`, `code`, and optionally `params` and `client_ip`.
    pub fn seal_job(&self, tenant: &str, id: Uuid, expires_at: Timestamp, plain: &[u8]) -> String {
        seal_under(&self.kid, &self.bytes, &job_context(tenant, id, expires_at), plain)
    }
}
