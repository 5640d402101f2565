//! Codes of authenticator apps: RFC 6238 with SHA-1, six digits and steps of 30 s, which all apps support.

use jiff::Timestamp;
use totp_rs::{Algorithm, Builder, Totp};
use zeroize::Zeroizing;

use crate::code::SecretText;

/// Bytes of a key: 160 bits (RFC 4226, section 4).
pub const KEY_BYTES: usize = 20;
/// Seconds of a step.
pub const STEP_S: i64 = 30;
/// Maximum clock error, in steps, that is reported to the user.
const MAX_REPORTED_STEPS: i64 = 10;

/// The result of checking an authenticator's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// A valid code of a step that was not used before.
    Right {
        /// The step. The caller stores it: this step and earlier ones are used.
        step: i64,
    },
    /// A code of a step that was used before.
    Used,
    /// A code of another time: the phone's clock is behind by this many seconds (negative: ahead).
    ClockOff {
        /// Seconds that the phone is behind.
        behind_s: i64,
    },
    /// Not a code of this key.
    Wrong,
}

/// Creates a random key.
pub fn random_key() -> Zeroizing<[u8; KEY_BYTES]> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *key).expect("the operating system has randomness");
    key
}

/// Returns the key in base32 without padding (RFC 4648, section 6).
pub fn base32(key: &[u8]) -> Zeroizing<String> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut out = Zeroizing::new(String::with_capacity(key.len().div_ceil(5) * 8));
    let (mut bits, mut held) = (0u32, 0u32);
    for b in key {
        bits = (bits << 8) | u32::from(*b);
        held += 8;
        while held >= 5 {
            held -= 5;
            out.push(char::from(ALPHABET[((bits >> held) & 31) as usize]));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        out.push(char::from(ALPHABET[((bits << (5 - held)) & 31) as usize]));
    }
    out
}

/// Returns the URI of the QR code (Key Uri Format of Google Authenticator's wiki).
pub fn uri(key: &[u8], issuer: &str, account_name: &str) -> Zeroizing<String> {
    let encode =
        |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    Zeroizing::new(format!(
        "otpauth://totp/{issuer}:{name}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30",
        issuer = encode(&issuer.replace(':', " ")),
        name = encode(&account_name.replace(':', " ")),
        secret = &*base32(key),
    ))
}

/// Checks a code against the steps within `tolerance` of now. `last` is the last used step.
pub fn check(key: &[u8], code: &SecretText, last: Option<i64>, tolerance: u32, now: Timestamp) -> Checked {
    let step_now = now.as_second().div_euclid(STEP_S);
    let tolerance = i64::from(tolerance.min(2));
    let fits = |step: i64| step >= 0 && same(&at_step(key, step), code.expose());
    let near = (-tolerance..=tolerance).map(|by| step_now + by).filter(|step| fits(*step));
    let mut used = false;
    for step in near {
        if last.is_none_or(|last| step > last) {
            return Checked::Right { step };
        }
        used = true;
    }
    if used {
        return Checked::Used;
    }
    let far = (tolerance + 1..=MAX_REPORTED_STEPS).flat_map(|by| [by, -by]).find(|by| fits(step_now + by));
    far.map_or(Checked::Wrong, |by| Checked::ClockOff { behind_s: -by * STEP_S })
}

fn same(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq;
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// Returns the code of a step.
pub fn at_step(key: &[u8], step: i64) -> String {
    generator(key).generate(u64::try_from(step * STEP_S).unwrap_or(0)).to_string()
}

fn generator(key: &[u8]) -> Totp {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_step_duration(30)
        .with_secret(key.to_vec())
        .build_noncompliant()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).unwrap()
    }

    /// RFC 6238, appendix B, the SHA-1 rows; a code of six digits is the end of one of eight.
    #[test]
    fn codes_match_the_vectors_of_rfc_6238() {
        let key = b"12345678901234567890";
        for (time, eight) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            let code = SecretText::from_kept(&eight[2..]);
            assert_eq!(check(key, &code, None, 0, at(time)), Checked::Right { step: time / 30 }, "{time}");
        }
    }

    /// RFC 4648, section 10.
    #[test]
    fn base32_follows_rfc_4648() {
        for (plain, encoded) in
            [("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("foobar", "MZXW6YTBOI")]
        {
            assert_eq!(*base32(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_step_is_accepted_once_and_so_are_its_neighbours() {
        let key = b"12345678901234567890";
        let code = SecretText::from_kept(&at_step(key, 100));
        for step in [99, 100, 101] {
            assert_eq!(check(key, &code, None, 1, at(step * 30)), Checked::Right { step: 100 });
        }
        assert_eq!(check(key, &code, Some(100), 1, at(3000)), Checked::Used);
        assert_eq!(check(key, &code, Some(99), 1, at(3000)), Checked::Right { step: 100 });
        assert_eq!(check(key, &code, None, 0, at(3030)), Checked::ClockOff { behind_s: 30 });
    }

    #[test]
    fn a_clock_error_of_up_to_five_minutes_is_reported() {
        let key = b"12345678901234567890";
        let code = SecretText::from_kept(&at_step(key, 100));
        assert_eq!(check(key, &code, None, 1, at(108 * 30)), Checked::ClockOff { behind_s: 240 });
        assert_eq!(check(key, &code, None, 1, at(92 * 30)), Checked::ClockOff { behind_s: -240 });
        assert_eq!(check(key, &code, None, 1, at(120 * 30)), Checked::Wrong);
    }

    #[test]
    fn the_uri_escapes_names() {
        let uri = uri(b"12345678901234567890", "Käse & Co: Shop", "u/1 x");
        assert_eq!(
            *uri,
            "otpauth://totp/K%C3%A4se%20%26%20Co%20%20Shop:u%2F1%20x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=K%C3%A4se%20%26%20Co%20%20Shop&algorithm=SHA1&digits=6&period=30"
        );
    }
}
