//! A root secret, from which all keys are derived.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Why a root is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRoot {
    /// The root is not 64 hexadecimal digits.
    #[error("a root key is 64 hexadecimal digits (32 bytes); create one with: otpost keys root")]
    Length,
    /// The id is not 1 to 16 of `a-z`, `0-9` and `-`.
    #[error("a key id is 1 to 16 of a-z, 0-9 and -")]
    Name,
}

/// A root secret of 32 bytes, with its public id.
#[derive(Clone)]
pub struct Root {
    pub(super) kid: String,
    pub(super) bytes: Zeroizing<[u8; 32]>,
}

impl Root {
    /// Parses a root from 64 hexadecimal digits.
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

    /// Generates a root from the system's randomness.
    pub fn random(kid: &str) -> Self {
        Self { kid: kid.to_owned(), bytes: Zeroizing::new(super::random()) }
    }

    /// The 64 hexadecimal digits, for a key file.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.bytes))
    }

    pub(super) fn derive(&self, label: &str, who: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        let info: [&[u8]; 3] = [label.as_bytes(), b"\0", who.as_bytes()];
        Hkdf::<Sha256>::new(None, &*self.bytes)
            .expand_multi_info(&info, &mut *key)
            .expect("32 bytes are less than HKDF's limit of 255 blocks");
        key
    }

    pub(super) fn hmac(&self, label: &str) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(&*self.derive(label, "")).expect("HMAC takes keys of any length")
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.kid)
    }
}
