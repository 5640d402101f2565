//! Encryption and keyed hashes: sealed codes and numbers, callback tokens.
//!
//! Comes in: secrets in plain text. Goes out: sealed texts, hashes and tokens. Nothing here stores a key.
//!
//! One root secret, HKDF-SHA-256 (RFC 5869) with a label per use. The sealed form is `v1.<kid>.<base64url(nonce ‖
//! ciphertext)>`, XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with a random 24-byte nonce. The ledger never holds a key.
//! `kid` names the root of a sealed text, so that roots can be rotated.

mod root;
mod tenant;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::domain::attempt::AttemptId;
use crate::domain::dispatch::PhoneNumber;
pub use root::{BadRoot, Root};
pub use tenant::TenantKey;

const JOB_CONTEXT: &str = "otpost/job/v1";
const NONCE_BYTES: usize = 24;
/// Keyed hashes and tokens keep 16 bytes (128 bits) of HMAC's 256 bits.
const HASH_BYTES: usize = 16;

/// Why a sealed text cannot be opened. The failed check is not named, because that would help only an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text does not have the form `v1.<kid>.<base64url>`.
    #[error("is not of the form v1.<kid>.<base64url>")]
    Form,
    /// The text was sealed under a root that is not configured.
    #[error("names a key that is not configured")]
    UnknownKey,
    /// The key, the tenant, the id or the expiry is wrong, or the text was modified.
    #[error("does not open: wrong key, tenant, id or expires_at, or it was changed")]
    DoesNotOpen,
}

/// The id of the root that a text was sealed with. The id is public.
pub fn key_id(sealed: &str) -> Option<&str> {
    let mut parts = sealed.split('.');
    parts.nth(1).filter(|_| parts.next().is_some())
}

/// Random bytes from the operating system. Panics if it has none.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// All keys of an installation: roots for sealing and one root for hashes. The first root seals, and all of them open. The root
/// for hashes stays the same when the others are rotated, because quotas depend on it.
#[derive(Clone)]
pub struct Keys {
    roots: Vec<Root>,
    /// For each root the keys of the secret columns. They are derived once, because each delivery needs both.
    rows: Vec<RowKeys>,
    numbers: Hmac<Sha256>,
    contents: Hmac<Sha256>,
    callbacks: Vec<Hmac<Sha256>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.roots).finish()
    }
}

impl Keys {
    /// Derives the keys. `current` seals and opens, `previous` only open, and `hashes` keys the hashes of numbers and contents.
    pub fn new(current: Root, previous: Vec<Root>, hashes: &Root) -> Self {
        let roots: Vec<Root> = std::iter::once(current).chain(previous).collect();
        Self {
            numbers: hashes.hmac("otpost/number/v1"),
            contents: hashes.hmac("otpost/content/v1"),
            callbacks: roots.iter().map(|r| r.hmac("otpost/callback/v1")).collect(),
            rows: roots.iter().map(RowKeys::of).collect(),
            roots,
        }
    }

    /// Random keys for one run of the process.
    pub fn ephemeral() -> Self {
        let root = Root::random("run");
        Self::new(root.clone(), vec![], &root)
    }

    /// Whether both compute the same hashes of numbers and contents.
    pub fn has_hashes_of(&self, other: &Self) -> bool {
        let probe = |keys: &Self| [hash(&keys.numbers, &["probe"]), hash(&keys.contents, &["probe"])];
        probe(self) == probe(other)
    }

    /// Seals the secret part of a job, as a producer does.
    pub fn seal_job(&self, tenant: &str, id: Uuid, expires_at: Timestamp, plain: &[u8]) -> String {
        self.roots[0].tenant(tenant).seal_job(tenant, id, expires_at, plain)
    }

    /// Opens the secret part of a job.
    pub fn open_job(
        &self, tenant: &str, id: Uuid, expires_at: Timestamp, sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.open(JOB_CONTEXT, tenant, &job_context(tenant, id, expires_at), sealed)
    }

    /// Seals a secret column of a dispatch.
    pub fn seal_row(&self, label: RowSecret, uid: Uuid, plain: &[u8]) -> String {
        seal_under(&self.roots[0].kid, self.rows[0].key(label), uid.as_bytes(), plain)
    }

    /// Opens a secret column of a dispatch.
    pub fn open_row(
        &self, label: RowSecret, uid: Uuid, sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let sealed = self.sealed(sealed)?;
        sealed.open(self.rows[sealed.root].key(label), uid.as_bytes())
    }

    /// Seals the body of a message for the queue that it is moved to.
    pub fn seal_message(&self, queue: &str, body: &[u8]) -> String {
        self.seal("otpost/letter/v1", "", queue.as_bytes(), body)
    }

    /// Opens the body of a message from this queue.
    pub fn open_message(&self, queue: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.open("otpost/letter/v1", "", queue.as_bytes(), sealed)
    }

    /// The quota key of a number, for one purpose: per tenant, or over all tenants (`None`).
    pub fn quota_key(&self, tenant: Option<&str>, purpose: &str, number: &PhoneNumber) -> String {
        hash(&self.numbers, &["quota", purpose, tenant.unwrap_or(""), &number.handset()])
    }

    /// The key of a number that an operator blocks. All spellings of the number share it.
    pub fn block_key(&self, number: &PhoneNumber) -> String {
        hash(&self.numbers, &["block", &number.handset()])
    }

    /// The look-up key of a number, the same for all tenants.
    pub fn number_key(&self, number: &PhoneNumber) -> String {
        hash(&self.numbers, &["number", number.expose()])
    }

    /// The look-up keys of a number in all its spellings.
    pub fn number_keys(&self, number: &PhoneNumber) -> Vec<String> {
        number.spellings().iter().map(|spelling| self.number_key(spelling)).collect()
    }

    /// The key of one sign-in: a hash of tenant, the caller's key and the number.
    pub fn supersedes_key(&self, tenant: &str, key: &str, number: &PhoneNumber) -> String {
        hash(&self.numbers, &["supersedes", tenant, key, number.expose()])
    }

    /// The hash of a job's content, which distinguishes a repeated job from a conflict.
    pub fn content(&self, parts: &[&str]) -> String {
        hash(&self.contents, parts)
    }

    /// The uid in events of a job that has no row. It is the same for each copy of the job's message.
    pub fn uid_without_row(&self, tenant: &str, id: Uuid) -> Uuid {
        let digest = digest(&self.contents, &["uid_without_row", tenant, &id.to_string()]);
        uuid::Builder::from_custom_bytes(digest).into_uuid()
    }

    /// The token in an attempt's callback URL.
    pub fn callback_token(&self, carrier: &str, attempt: AttemptId) -> String {
        hash(&self.callbacks[0], &[carrier, &attempt.to_string()])
    }

    /// The token in the callback URL of an account, which is the same for all its messages.
    pub fn account_token(&self, carrier: &str) -> String {
        hash(&self.callbacks[0], &[carrier])
    }

    /// Verifies the token of an attempt's callback URL in constant time, under any of the configured roots.
    pub fn token_is_good(&self, carrier: &str, attempt: AttemptId, token: &str) -> bool {
        self.is_token_of(&[carrier, &attempt.to_string()], token)
    }

    /// Verifies the token of an account's callback URL, likewise.
    pub fn account_token_is_good(&self, carrier: &str, token: &str) -> bool {
        self.is_token_of(&[carrier], token)
    }

    fn is_token_of(&self, parts: &[&str], token: &str) -> bool {
        self.callbacks.iter().any(|key| hash(key, parts).as_bytes().ct_eq(token.as_bytes()).into())
    }

    fn seal(&self, label: &str, who: &str, context: &[u8], plain: &[u8]) -> String {
        let root = &self.roots[0];
        seal_under(&root.kid, &root.derive(label, who), context, plain)
    }

    fn open(
        &self, label: &str, who: &str, context: &[u8], sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let sealed = self.sealed(sealed)?;
        sealed.open(&self.roots[sealed.root].derive(label, who), context)
    }

    fn sealed(&self, text: &str) -> Result<Sealed, SealError> {
        let (kid, text) = text.strip_prefix("v1.").and_then(|s| s.split_once('.')).ok_or(SealError::Form)?;
        let bytes = BASE64.decode(text).map_err(|_| SealError::Form)?;
        let root = self.roots.iter().position(|r| r.kid == kid).ok_or(SealError::UnknownKey)?;
        Ok(Sealed { root, bytes })
    }
}

/// A sealed text whose key is known.
struct Sealed {
    /// The index of its root.
    root: usize,
    /// Nonce and ciphertext.
    bytes: Vec<u8>,
}

impl Sealed {
    fn open(&self, key: &[u8; 32], context: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, body) = self.bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Form)?;
        XChaCha20Poly1305::new(key.into())
            .decrypt(&XNonce::from(*nonce), Payload { msg: body, aad: context })
            .map(Zeroizing::new)
            .map_err(|_| SealError::DoesNotOpen)
    }
}

/// The keys of the secret columns, from one root.
#[derive(Clone)]
struct RowKeys {
    code: Zeroizing<[u8; 32]>,
    number: Zeroizing<[u8; 32]>,
}

impl RowKeys {
    fn of(root: &Root) -> Self {
        let key = |label: RowSecret| root.derive("otpost/ledger/v1", label.as_str());
        Self { code: key(RowSecret::Code), number: key(RowSecret::Number) }
    }

    fn key(&self, label: RowSecret) -> &[u8; 32] {
        match label {
            RowSecret::Code => &self.code,
            RowSecret::Number => &self.number,
        }
    }
}

/// The secret columns of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSecret {
    /// The code and its params. Deleted when the dispatch is final or the code expires.
    Code,
    /// The phone number. Kept as long as the dispatch.
    Number,
}

impl RowSecret {
    fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Number => "number",
        }
    }
}

fn seal_under(kid: &str, key: &[u8; 32], context: &[u8], plain: &[u8]) -> String {
    let nonce: [u8; NONCE_BYTES] = random();
    let sealed = XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: context })
        .expect("bodies are far below the cipher's limit of 256 GiB");
    let mut bytes = Vec::with_capacity(NONCE_BYTES + sealed.len());
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&sealed);
    format!("v1.{kid}.{}", BASE64.encode(bytes))
}

/// The additional authenticated data of a sealed job: length-prefixed tenant ‖ 16-byte id ‖ expiry as u64 Unix ms, big-endian.
/// The length is a u32, big-endian.
pub fn job_context(tenant: &str, id: Uuid, expires_at: Timestamp) -> Vec<u8> {
    let mut aad = Vec::with_capacity(4 + tenant.len() + 24);
    aad.extend_from_slice(&(tenant.len() as u32).to_be_bytes());
    aad.extend_from_slice(tenant.as_bytes());
    aad.extend_from_slice(id.as_bytes());
    aad.extend_from_slice(&(expires_at.as_millisecond() as u64).to_be_bytes());
    aad
}

/// The first 128 bits of HMAC-SHA-256 over length-prefixed parts, as base64url.
fn hash(key: &Hmac<Sha256>, parts: &[&str]) -> String {
    BASE64.encode(digest(key, parts))
}

fn digest(key: &Hmac<Sha256>, parts: &[&str]) -> [u8; HASH_BYTES] {
    let mut mac = key.clone();
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    let mut first = [0; HASH_BYTES];
    first.copy_from_slice(&mac.finalize().into_bytes()[..HASH_BYTES]);
    first
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::{Keys, Root, RowSecret, SealError};
    use crate::domain::dispatch::PhoneNumber;

    fn keys(kid: &str, byte: &str) -> Root {
        Root::from_hex(kid, &byte.repeat(32)).unwrap()
    }

    #[test]
    fn a_sealed_job_opens_only_with_its_own_tenant_id_and_expiry() {
        let root = keys("k1", "0a");
        let keys = Keys::new(root.clone(), vec![], &root);
        let (id, at) = (Uuid::from_u128(1), Timestamp::from_millisecond(1_800_000_000_123).unwrap());
        let sealed = keys.seal_job("shop", id, at, b"secret");
        assert!(sealed.starts_with("v1.k1."));
        assert_eq!(&**keys.open_job("shop", id, at, &sealed).unwrap(), b"secret");
        assert_eq!(keys.open_job("other", id, at, &sealed), Err(SealError::DoesNotOpen));
        assert_eq!(keys.open_job("shop", Uuid::from_u128(2), at, &sealed), Err(SealError::DoesNotOpen));
        let later = Timestamp::from_millisecond(1_800_000_000_124).unwrap();
        assert_eq!(keys.open_job("shop", id, later, &sealed), Err(SealError::DoesNotOpen));
        assert_eq!(keys.open_job("shop", id, at, "v1.k9.AAAA"), Err(SealError::UnknownKey));
        assert_eq!(keys.open_job("shop", id, at, "nonsense"), Err(SealError::Form));
    }

    /// Computed with `PyNaCl` and Python's hmac: root 00 01 … 1f, nonce 64 65 … 7b.
    #[test]
    fn a_job_sealed_by_another_implementation_opens() {
        let root = Root::from_hex("k1", &hex::encode(std::array::from_fn::<u8, 32, _>(|n| n as u8))).unwrap();
        let key = root.tenant("shop").to_text();
        let (_, hex) = key.split_once('.').unwrap();
        assert_eq!(hex, "bde4cb40068e81119a9a70fb86c5675c3658d8b745ef8d3167a7daebd86dbf54");
        let id = "0192f0c1-2222-4333-8444-555566667777".parse().unwrap();
        let at = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        let aad = hex::encode(super::job_context("shop", id, at));
        assert_eq!(aad, "0000000473686f700192f0c1222243338444555566667777000001a3185c507b");
        let sealed = "v1.k1.ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7KSYafgJz_4Drha5om7Jco7yCWwmMk5aSx9SjRzCwdoR7d_Mp6Y5lVemiEVAyw6\
                      H4RQYut5lA";
        let keys = Keys::new(root.clone(), vec![], &root);
        let plain = keys.open_job("shop", id, at, sealed).unwrap();
        assert_eq!(std::str::from_utf8(&plain).unwrap(), r#"{"to":"+447700900123","code":"481516"}"#);
    }

    /// Computed with Python's hmac: root 00 01 … 1f. Rows of earlier versions are sealed with these keys.
    #[test]
    fn the_keys_of_rows_stay_the_same() {
        let root = Root::from_hex("k1", &hex::encode(std::array::from_fn::<u8, 32, _>(|n| n as u8))).unwrap();
        let keys = Keys::new(root.clone(), vec![], &root);
        let key = |label| hex::encode(keys.rows[0].key(label));
        assert_eq!(key(RowSecret::Code), "8e04f932c3008d7e51ddeae0d0c43f1e3c2fd914478ac4e3ab07ae54516d7e06");
        assert_eq!(
            key(RowSecret::Number),
            "82e41a50c3e8f61d452a9d870e8da63bcd7a42fa9592a30ca988c36b5b94c59b"
        );
    }

    #[test]
    fn old_texts_open_and_old_tokens_are_good_after_the_root_changed() {
        let (old, new) = (keys("k1", "0a"), keys("k2", "0b"));
        let before = Keys::new(old.clone(), vec![], &old);
        let after = Keys::new(new, vec![old.clone()], &old);
        let uid = Uuid::from_u128(9);
        let sealed = before.seal_row(RowSecret::Code, uid, b"x");
        assert!(after.open_row(RowSecret::Code, uid, &sealed).is_ok());
        assert!(after.open_row(RowSecret::Number, uid, &sealed).is_err());
        let attempt = crate::domain::attempt::AttemptId { uid, n: 1 };
        assert!(after.token_is_good("c1", attempt, &before.callback_token("c1", attempt)));
        assert!(!after.token_is_good("c2", attempt, &before.callback_token("c1", attempt)));
        let number = PhoneNumber::parse("+447700900123").unwrap();
        assert_eq!(before.number_key(&number), after.number_key(&number));
    }
}
