//! The product's own app on one phone: the code that sets it up, and the key with which it signs.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::recovery;
use crate::signature::PublicKey;

/// How long a set-up code is good.
pub const SET_UP_LIFE: Duration = Duration::from_secs(10 * 60);
/// Wrong set-up codes that one set-up bears.
pub const SET_UP_TRIES: u32 = 5;
/// Apps that one account may have.
pub const MAX_APPS: usize = 3;
/// The first characters of a set-up code find the set-up, so that wrong ones can be counted; the rest is its secret.
const NAME_CHARS: usize = 3;
const CODE_CHARS: usize = 8;

/// What we keep of an app. Its method has the same id's row in `method`, and says whether it may prove anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppKey {
    /// The method.
    pub method: Uuid,
    /// Whose it is.
    pub account: Uuid,
    /// The first characters of the set-up code; none once an app has used it.
    pub setup_name: Option<String>,
    /// The set-up code, sealed, so that a reload of the page shows it again.
    pub setup_sealed: Option<String>,
    /// Until when the set-up code is good.
    pub setup_until: Timestamp,
    /// Wrong set-up codes so far.
    pub setup_tries: u32,
    /// The thumbprint of the app's key (RFC 7638).
    pub thumbprint: Option<String>,
    /// The coordinates of its public key, base64url, with a dot between.
    pub public: Option<String>,
    /// The user's name at the product, for an app that has several accounts.
    pub display_name: Option<String>,
    /// Where pushes go, sealed.
    pub push_sealed: Option<String>,
    /// The account's second denial within an hour paused this app until this time.
    pub paused_until: Option<Timestamp>,
    /// When it last signed something.
    pub seen_at: Option<Timestamp>,
}

impl AppKey {
    /// The app's public key; none until it has registered.
    pub fn public_key(&self) -> Option<PublicKey> {
        let (x, y) = self.public.as_deref()?.split_once('.')?;
        Some(PublicKey::p256(x, y))
    }

    /// Takes a key in.
    pub fn set_public(&mut self, key: &PublicKey) {
        self.thumbprint = Some(key.thumbprint());
        self.public = Some(format!("{}.{}", key.x, key.y));
    }
}

/// A set-up code in its one spelling.
#[derive(Clone, PartialEq, Eq)]
pub struct SetUpCode(Zeroizing<String>);

impl SetUpCode {
    /// A random one.
    pub fn random() -> Self {
        Self(recovery::random_characters(CODE_CHARS))
    }

    /// Reads what somebody typed. Spaces and dashes do not matter, nor does `O` for `0`. None where it is no set-up code.
    pub fn read(text: &str) -> Option<Self> {
        if text.chars().count() > 64 {
            return None;
        }
        let kept: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
        recovery::canonical_of(&kept, CODE_CHARS).map(Self)
    }

    /// As it was kept.
    pub fn from_kept(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The part that finds the set-up.
    pub fn name(&self) -> &str {
        &self.0[..NAME_CHARS]
    }

    /// All of it, to be sealed or compared.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// As people read it: `7K2M-9QX0`.
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
