//! The product's own app on one phone: its set-up code and its signing key.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::public_key::PublicKey;
use crate::recovery;

/// Life of a set-up code.
pub const SET_UP_LIFE: Duration = Duration::from_secs(10 * 60);
/// Maximum number of wrong set-up codes for one set-up.
pub const SET_UP_TRIES: u32 = 5;
/// Maximum number of apps of one account.
pub const MAX_APPS: usize = 3;
/// Number of leading characters that identify a set-up, so that wrong codes can be counted. The rest is secret.
const NAME_CHARS: usize = 3;
const CODE_CHARS: usize = 8;

/// The stored data of an app. Its row in `method` has the same id and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppKey {
    /// The method.
    pub method: Uuid,
    /// The account.
    pub account: Uuid,
    /// The leading characters of the set-up code; `None` after an app used it.
    pub setup_name: Option<String>,
    /// The sealed set-up code. A reload of the page shows it again.
    pub setup_sealed: Option<String>,
    /// When the set-up code expires.
    pub setup_until: Timestamp,
    /// Number of wrong set-up codes.
    pub setup_tries: u32,
    /// The thumbprint of the app's key (RFC 7638).
    pub thumbprint: Option<String>,
    /// The coordinates of its public key, base64url, separated by a dot.
    pub public: Option<String>,
    /// The user's name at the product, for an app that has several accounts.
    pub display_name: Option<String>,
    /// The sealed push endpoint.
    pub push_sealed: Option<String>,
    /// The app gets no requests before this time, because the user denied two within an hour.
    pub paused_until: Option<Timestamp>,
    /// When it last signed a request.
    pub seen_at: Option<Timestamp>,
}

impl AppKey {
    /// Returns the app's public key, or `None` before it has registered.
    pub fn public_key(&self) -> Option<PublicKey> {
        let (x, y) = self.public.as_deref()?.split_once('.')?;
        Some(PublicKey::p256(x, y))
    }

    /// Stores a key.
    pub fn set_public(&mut self, key: &PublicKey) {
        self.thumbprint = Some(key.thumbprint());
        self.public = Some(format!("{}.{}", key.x, key.y));
    }
}

/// A set-up code in canonical form.
#[derive(Clone, PartialEq, Eq)]
pub struct SetUpCode(Zeroizing<String>);

impl SetUpCode {
    /// Creates a random code.
    pub fn random() -> Self {
        Self(recovery::random_characters(CODE_CHARS))
    }

    /// Reads a typed code. Spaces and dashes are ignored, and `O` counts as `0`. Returns `None` if it is not a set-up code.
    pub fn read(text: &str) -> Option<Self> {
        if text.chars().count() > 64 {
            return None;
        }
        let kept: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
        recovery::canonical_of(&kept, CODE_CHARS).map(Self)
    }

    /// Creates a code from its stored form.
    pub fn from_kept(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The leading characters, which identify the set-up.
    pub fn name(&self) -> &str {
        &self.0[..NAME_CHARS]
    }

    /// The whole code, to be sealed or compared.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The code with a dash, as pages show it: `7K2M-9QX0`.
    pub fn spelled(&self) -> Zeroizing<String> {
        let (first, second) = self.0.split_at(CODE_CHARS / 2);
        Zeroizing::new(format!("{first}-{second}"))
    }
}

impl std::fmt::Debug for SetUpCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SetUpCode(••••)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_up_code_is_read_in_every_spelling() {
        let code = SetUpCode::from_kept("7K2M9QX0");
        for text in ["7K2M-9QX0", "7k2m9qxo", " 7k2m 9qx0 ", "7K2M9QXO"] {
            assert_eq!(SetUpCode::read(text), Some(code.clone()), "{text:?}");
        }
        for text in ["", "7K2M9QX", "7K2M9QX01", "7K2M9QXU", "7K2M9QX!", &"7".repeat(100), "7K2M9QX\0"] {
            assert_eq!(SetUpCode::read(text), None, "{text:?}");
        }
        assert_eq!((code.name(), code.spelled().as_str()), ("7K2", "7K2M-9QX0"));
        let random = SetUpCode::random();
        assert_eq!(SetUpCode::read(&random.spelled()), Some(random));
    }
}
