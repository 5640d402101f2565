//! Recovery codes: a set of ten codes, each valid once. 16 Crockford characters carry 80 bits (NIST SP 800-63B,
//! 4.2.1.1).

use argon2::{Algorithm, Argon2, Params, Version};
use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Codes in a set.
pub const SET_SIZE: usize = 10;
/// Characters of a code, without dashes.
pub const CHARS: usize = 16;
/// Crockford's alphabet: no I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Bytes of the salt of a set.
const SALT_BYTES: usize = 16;
/// Argon2id: 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet, 2025).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// A stored code of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryCode {
    /// The id.
    pub id: Uuid,
    /// The account.
    pub account: Uuid,
    /// Its position in the set, from 1.
    pub n: u32,
    /// The set's salt, hexadecimal.
    pub salt: String,
    /// Keyed hash of the slow hash.
    pub hash: String,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

/// Creates a random code in groups of four: `7K2M-9QXA-…`.
pub fn random() -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(CHARS + 3));
    for (i, c) in random_characters(CHARS).chars().enumerate() {
        if i > 0 && i % 4 == 0 {
            text.push('-');
        }
        text.push(c);
    }
    text
}

/// Random characters of the alphabet.
pub(crate) fn random_characters(count: usize) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(vec![0; count]);
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    // No bias: 256 is a multiple of 32.
    Zeroizing::new(bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect())
}

/// Creates a random salt for a set, hexadecimal.
pub fn random_salt() -> String {
    let mut bytes = [0; SALT_BYTES];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    hex::encode(bytes)
}

/// Returns the canonical form of a code: upper case, no dashes, `O` as `0`, `I` and `L` as `1`. `None` if it is not a code.
pub fn canonical(text: &str) -> Option<Zeroizing<String>> {
    canonical_of(text, CHARS)
}

/// The same for a code of this length.
pub(crate) fn canonical_of(text: &str, count: usize) -> Option<Zeroizing<String>> {
    let mut kept = Zeroizing::new(String::with_capacity(text.len()));
    for c in text.chars().filter(|c| *c != '-') {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        };
        if !c.is_ascii() || !ALPHABET.contains(&(c as u8)) {
            return None;
        }
        kept.push(c);
    }
    (kept.len() == count).then_some(kept)
}

/// The slow hash of a canonical code. Takes tens of milliseconds: call it outside of locks and async tasks.
pub fn slow_hash(canonical: &str, salt: &str) -> Zeroizing<[u8; 32]> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).expect("fixed parameters are valid");
    let mut out = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(canonical.as_bytes(), salt.as_bytes(), &mut *out)
        .expect("the salt has a valid length");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_eighty_bits_in_groups_of_four_and_one_canonical_spelling() {
        let code = random();
        assert_eq!(code.split('-').map(str::len).collect::<Vec<_>>(), [4, 4, 4, 4]);
        let canonical = canonical(&code).unwrap();
        assert_eq!(*super::canonical(&canonical.to_lowercase()).unwrap(), *canonical);
        assert_ne!(*random(), *code);
    }

    #[test]
    fn the_slow_hash_depends_on_code_and_salt() {
        let (a, b) = (random_salt(), random_salt());
        assert_eq!(slow_hash("X", &a), slow_hash("X", &a));
        assert_ne!(slow_hash("X", &a), slow_hash("X", &b));
        assert_ne!(slow_hash("X", &a), slow_hash("Y", &a));
    }
}
