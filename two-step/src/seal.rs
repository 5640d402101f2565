//! Protection of stored data: sealed values, keyed hashes, derived secrets.
//!
//! Keys are derived by label (HKDF-SHA-256, RFC 5869) from a root outside the database. Sealed values are
//! `v1.<kid>.<base64url(nonce ‖ ciphertext)>`, XChaCha20-Poly1305 with a random 24-byte nonce, bound to table, column
//! and row.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;

/// A column with sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// The number or address of a method.
    MethodTarget,
    /// The key of an authenticator.
    MethodSecret,
    /// The digits of a code.
    Code,
    /// The body of an outbox row.
    Outbox,
    /// The private key that signs results.
    SigningKey,
    /// The stored answer of an idempotent request.
    Answer,
    /// The set-up code of an app.
    SetUpCode,
    /// The push endpoint of an app.
    Push,
}

impl Sealed {
    fn label(self) -> &'static str {
        match self {
            Self::MethodTarget => "method.target",
            Self::MethodSecret => "method.secret",
            Self::Code => "code.digits",
            Self::Outbox => "outbox.body",
            Self::SigningKey => "signing_key.private",
            Self::Answer => "idempotency.answer",
            Self::SetUpCode => "app_key.setup",
            Self::Push => "app_key.push",
        }
    }
}

/// The purpose of a keyed hash. Hashes of different purposes never compare equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// The secret in a challenge's URL.
    ChallengeHandle,
    /// The secret in a session's URL.
    SessionHandle,
    /// The cookie of a browser.
    Browser,
    /// The CSRF field of a form.
    Csrf,
    /// A ticket.
    Ticket,
    /// A code.
    Code,
    /// A recovery code.
    Recovery,
    /// A number or address.
    Target,
    /// A client's address.
    Client,
    /// The subject of a limit.
    Counter,
    /// A bearer key.
    ApiKey,
    /// The token of a notice.
    Notice,
    /// An idempotency key or the body of its request.
    Idempotency,
    /// The secret of a device's generation.
    Device,
    /// A code from support.
    Support,
    /// The nonce of an app's request.
    AppNonce,
    /// The digits that a page shows for the app.
    AppDigits,
}

/// Why a sealed value cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not of the form `v1.<kid>.<base64url>`.
    #[error("a sealed value is malformed")]
    Form,
    /// Sealed under a root that is not configured.
    #[error("a value is sealed under a root that is not configured; add the root to keys.previous")]
    UnknownRoot,
    /// Wrong key or row, or the value was changed.
    #[error("a sealed value cannot be opened: the root is wrong, or the value was changed")]
    DoesNotOpen,
}

/// Why a root is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRoot {
    /// The secret is not 32 bytes.
    #[error("a root must be 64 hexadecimal digits; create one with: two-step keys root")]
    Length,
    /// The id is malformed.
    #[error("a root's id must be 1 to 16 of a-z, 0-9 and -")]
    Name,
}

/// A root key: 32 secret bytes and a public id.
#[derive(Clone)]
pub struct Root {
    kid: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.kid)
    }
}

impl Root {
    /// Reads a root from 64 hexadecimal digits.
    pub fn from_hex(kid: &str, hex: &str) -> Result<Self, BadRoot> {
        let named = (1..=16).contains(&kid.len())
            && kid.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named {
            return Err(BadRoot::Name);
        }
        let hex = hex.trim();
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(hex, &mut *bytes).map_err(|_| BadRoot::Length)?;
        Ok(Self { kid: kid.to_owned(), bytes })
    }

    /// Creates a random root.
    pub fn random(kid: &str) -> Self {
        Self { kid: kid.to_owned(), bytes: Zeroizing::new(random_bytes()) }
    }

    /// 64 hexadecimal digits, for a key file.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.bytes))
    }

    fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &*self.bytes)
            .expand_multi_info(&[b"two-step/v1/", label.as_bytes()], &mut *key)
            .expect("32 bytes are below HKDF's limit");
        key
    }
}

/// Returns random bytes from the operating system.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// Returns 32 random bytes as 43 characters of base64url, for a handle, a cookie or a bearer key.
pub fn random_token() -> String {
    BASE64.encode(random_bytes::<32>())
}

/// Returns whether a text has the form of [`random_token`].
pub fn is_token(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Compares two hashes in constant time.
pub fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// All keys. The current root seals, and all roots open sealed values. One more root is the key of all hashes and never
/// changes.
#[derive(Clone)]
pub struct Keys {
    roots: Vec<Root>,
    hashes: Root,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.roots).finish()
    }
}

impl Keys {
    /// `current` seals, `previous` only open, and `hashes` is the key of every hash.
    pub fn new(current: Root, previous: Vec<Root>, hashes: Root) -> Self {
        Self { roots: std::iter::once(current).chain(previous).collect(), hashes }
    }

    /// Creates random keys that are not stored, for the demo and for tests.
    pub fn ephemeral() -> Self {
        let root = Root::random("run");
        Self::new(root.clone(), vec![], root)
    }

    /// The `n`th candidate for the key that signs pushes.
    pub fn push_key(&self, n: u8) -> Zeroizing<[u8; 32]> {
        self.hashes.derive(&format!("push/{n}"))
    }

    /// Seals a value for a row.
    pub fn seal(&self, column: Sealed, row: Uuid, plain: &[u8]) -> String {
        let root = &self.roots[0];
        let nonce: [u8; NONCE_BYTES] = random_bytes();
        let sealed = cipher(root, column)
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: row.as_bytes() })
            .expect("values are far below the cipher's limit of 256 GiB");
        let mut bytes = Vec::with_capacity(NONCE_BYTES + sealed.len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        format!("v1.{}.{}", root.kid, BASE64.encode(bytes))
    }

    /// Opens a value of a row.
    pub fn open(&self, column: Sealed, row: Uuid, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (kid, text) =
            sealed.strip_prefix("v1.").and_then(|s| s.split_once('.')).ok_or(SealError::Form)?;
        let bytes = BASE64.decode(text).map_err(|_| SealError::Form)?;
        let root = self.roots.iter().find(|r| r.kid == kid).ok_or(SealError::UnknownRoot)?;
        let (nonce, body) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Form)?;
        cipher(root, column)
            .decrypt(&XNonce::from(*nonce), Payload { msg: body, aad: row.as_bytes() })
            .map(Zeroizing::new)
            .map_err(|_| SealError::DoesNotOpen)
    }

    /// Opens a text of a row.
    pub fn open_text(&self, column: Sealed, row: Uuid, sealed: &str) -> Result<Zeroizing<String>, SealError> {
        let bytes = self.open(column, row, sealed)?;
        std::str::from_utf8(&bytes).map(|t| Zeroizing::new(t.to_owned())).map_err(|_| SealError::Form)
    }

    /// Returns the HMAC-SHA-256 of length-prefixed parts, as 43 characters of base64url.
    pub fn hash(&self, purpose: Hashed, parts: &[&[u8]]) -> String {
        let key = self.hashes.derive(&format!("hash/{purpose:?}"));
        let mut mac = Hmac::<Sha256>::new_from_slice(&*key).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        BASE64.encode(mac.finalize().into_bytes())
    }

    /// The same as bytes.
    pub fn hash_bytes(&self, purpose: Hashed, parts: &[&[u8]]) -> [u8; 32] {
        let mut bytes = [0; 32];
        BASE64.decode_slice(self.hash(purpose, parts), &mut bytes).expect("a hash is base64url of 32 bytes");
        bytes
    }

    /// The hash of one text.
    pub fn hash_text(&self, purpose: Hashed, text: &str) -> String {
        self.hash(purpose, &[text.as_bytes()])
    }
}

fn cipher(root: &Root, column: Sealed) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&*root.derive(&format!("seal/{}", column.label()))).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_in_its_own_row_and_column() {
        let keys = Keys::ephemeral();
        let (row, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = keys.seal(Sealed::Code, row, b"481516");
        assert_eq!(&**keys.open(Sealed::Code, row, &sealed).unwrap(), b"481516");
        assert_eq!(keys.open(Sealed::Code, other, &sealed), Err(SealError::DoesNotOpen));
        assert_eq!(keys.open(Sealed::MethodSecret, row, &sealed), Err(SealError::DoesNotOpen));
        assert_eq!(keys.open(Sealed::Code, row, "v1.k9.AAAA"), Err(SealError::UnknownRoot));
        assert_eq!(keys.open(Sealed::Code, row, "nonsense"), Err(SealError::Form));
    }

    #[test]
    fn an_old_root_opens_after_a_change_and_hashes_stay() {
        let (old, new) = (Root::random("k1"), Root::random("k2"));
        let before = Keys::new(old.clone(), vec![], old.clone());
        let after = Keys::new(new, vec![old.clone()], old);
        let row = Uuid::from_u128(1);
        assert!(after.open(Sealed::Code, row, &before.seal(Sealed::Code, row, b"x")).is_ok());
        assert_eq!(before.hash_text(Hashed::Target, "+44"), after.hash_text(Hashed::Target, "+44"));
        assert_ne!(after.hash_text(Hashed::Target, "+44"), after.hash_text(Hashed::Counter, "+44"));
    }

    #[test]
    fn the_parts_of_a_hash_cannot_be_shifted() {
        let keys = Keys::ephemeral();
        assert_ne!(keys.hash(Hashed::Code, &[b"ab", b"c"]), keys.hash(Hashed::Code, &[b"a", b"bc"]));
    }
}
