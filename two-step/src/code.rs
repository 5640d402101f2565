//! Codes: six digits for one challenge and one method. Creates them, and reads what users type.

use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Digits of a code.
pub const DIGITS: usize = 6;
/// Maximum number of live codes of one challenge. A new one ends the oldest.
pub const MAX_LIVE: usize = 3;
/// If a code has less life left than this, "send again" creates a new one.
pub const RENEW_BELOW: std::time::Duration = std::time::Duration::from_secs(120);
/// Maximum length of an entry, in characters. Longer ones are not read.
const MAX_ENTRY_CHARS: usize = 64;

/// A secret that a person types: the digits of a code, or a recovery code. `Debug` prints a mask, and the memory is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Creates six random digits. Every value is equally likely.
    pub fn random() -> Self {
        Self(random_digits(DIGITS as u32))
    }

    /// Creates eight random digits, for a code from support.
    pub fn random_for_support() -> Self {
        Self(random_digits(8))
    }

    /// Creates digits from their unsealed form.
    pub fn from_kept(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The digits in clear text, to be sent, hashed or compared.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(••••)")
    }
}

/// Rejection sampling: values above the last whole multiple are drawn again, so there is no modulo bias.
fn random_digits(digits: u32) -> Zeroizing<String> {
    let modulus = 10u64.pow(digits);
    let limit = u64::MAX - u64::MAX % modulus;
    loop {
        let mut bytes = Zeroizing::new([0; 8]);
        getrandom::fill(&mut *bytes).expect("the operating system has randomness");
        let drawn = u64::from_be_bytes(*bytes);
        if drawn < limit {
            return Zeroizing::new(format!("{:0width$}", drawn % modulus, width = digits as usize));
        }
    }
}

/// A parsed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedText {
    /// Six digits.
    Code(SecretText),
    /// A recovery code: sixteen Crockford characters, in canonical form.
    Recovery(SecretText),
    /// A code from support: eight digits.
    Support(SecretText),
    /// Anything else. It does not count as a wrong code.
    Unreadable,
}

impl TypedText {
    /// Reads an entry. Spaces, dashes, dots and invisible characters are ignored, and digits of every script are accepted.
    pub fn read(text: &str) -> Self {
        let Some(kept) = characters_in(text) else { return Self::Unreadable };
        let all_digits = kept.bytes().all(|b| b.is_ascii_digit());
        match kept.len() {
            DIGITS if all_digits => Self::Code(SecretText(kept)),
            8 if all_digits => Self::Support(SecretText(kept)),
            crate::recovery::CHARS => crate::recovery::canonical(&kept)
                .map_or(Self::Unreadable, |code| Self::Recovery(SecretText(code))),
            _ => Self::Unreadable,
        }
    }
}

/// Returns the digits of an entry, or `None` if it has other characters than digits and separators.
pub(crate) fn digits_in(text: &str) -> Option<Zeroizing<String>> {
    characters_in(text).filter(|kept| kept.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns the ASCII digits and upper-case letters of an entry without its separators, or `None` if it is too long or has
/// other characters.
fn characters_in(text: &str) -> Option<Zeroizing<String>> {
    if text.chars().count() > MAX_ENTRY_CHARS {
        return None;
    }
    let mut kept = Zeroizing::new(String::with_capacity(32));
    for c in text.chars() {
        match digit(c).or_else(|| letter(c)) {
            Some(c) => kept.push(c),
            None if is_separator(c) => {}
            None => return None,
        }
    }
    Some(kept)
}

/// The zero of each script whose digits users type (Unicode, general category Nd). Its digits 1 to 9 follow it.
const ZEROS: [char; 22] = [
    '0', '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}',
    '\u{c66}', '\u{ce6}', '\u{d66}', '\u{de6}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{17e0}',
    '\u{1810}', '\u{1946}', '\u{ff10}',
];

fn digit(c: char) -> Option<char> {
    ZEROS.iter().find_map(|zero| {
        let value = (c as u32).checked_sub(*zero as u32).filter(|v| *v < 10)?;
        char::from_digit(value, 10)
    })
}

/// Returns an ASCII letter in upper case. Full-width letters are accepted.
fn letter(c: char) -> Option<char> {
    let c = match c as u32 {
        wide @ (0xff21..=0xff3a | 0xff41..=0xff5a) => char::from_u32(wide - 0xfee0)?,
        _ => c,
    };
    c.is_ascii_alphabetic().then(|| c.to_ascii_uppercase())
}

/// Spaces, dashes, dots, and invisible characters that keyboards and messengers add.
fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '_' | '.' | '·' | '\u{ad}' | '\u{2010}'
                ..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ff0e}')
}

/// A live code of a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The id.
    pub id: Uuid,
    /// The group: one per challenge and method. otpost knows it as `supersedes`.
    pub group_id: Uuid,
    /// The challenge.
    pub challenge: Uuid,
    /// The method.
    pub method: Uuid,
    /// Keyed hash of the digits and this row's id.
    pub hash: String,
    /// The sealed digits, so that the same code can be sent again.
    pub sealed: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Whether the mail server rejected the mail with this code.
    pub undelivered: bool,
}

impl Code {
    /// Returns whether it is accepted at this time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        match TypedText::read(text) {
            TypedText::Code(digits) => Some(digits.expose().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn spaces_dashes_and_digits_of_other_scripts_are_read() {
        for text in [
            "481516",
            " 481 516 ",
            "481-516",
            "48\u{2013}15\u{2011}16",
            "４８１５１６",
            "٤٨١٥١٦",
            "४८१५१६",
            "4 8 1 5 1 6",
            "\u{200e}481516\u{200b}",
            "481\u{a0}516",
            "481.516",
            "４８１－５１６",
        ] {
            assert_eq!(read(text).as_deref(), Some("481516"), "{text:?}");
        }
    }

    #[test]
    fn an_entry_without_six_digits_is_not_a_code() {
        for text in [
            "",
            "12345",
            "1234567",
            "48151a",
            "six",
            "48 15 1",
            "481516!",
            "4815½6",
            &"1 ".repeat(64),
            "\x00481516",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(TypedText::read("12345678"), TypedText::Support(SecretText::from_kept("12345678")));
    }

    #[test]
    fn a_recovery_code_is_read_in_every_spelling() {
        let canonical = TypedText::Recovery(SecretText::from_kept("0123456789ABCDEF"));
        for text in ["0123-4567-89AB-CDEF", "o123 4567 89ab cdef", "OI23456789abcdef", "0l23.4567.89AB.CDEF"]
        {
            assert_eq!(TypedText::read(text), canonical, "{text:?}");
        }
        assert_eq!(TypedText::read("0123-4567-89AB-CDEU"), TypedText::Unreadable);
    }

    #[test]
    fn printing_digits_prints_a_mask() {
        assert_eq!(format!("{:?}", SecretText::from_kept("481516")), "SecretText(••••)");
    }

    #[test]
    fn every_digit_is_equally_likely_in_every_place() {
        const DRAWS: usize = 30_000;
        let mut counts = [[0u32; 10]; DIGITS];
        for _ in 0..DRAWS {
            for (place, b) in SecretText::random().expose().bytes().enumerate() {
                counts[place][usize::from(b - b'0')] += 1;
            }
        }
        // Chi-squared with 9 degrees of freedom: above 45 once in more than a million runs.
        for place in counts {
            let expected = DRAWS as f64 / 10.0;
            let chi: f64 = place.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
            assert!(chi < 45.0, "{place:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_six_digits_only_from_six_digits(text in "\\PC{0,80}") {
            if let TypedText::Code(digits) = TypedText::read(&text) {
                prop_assert!(digits.expose().len() == DIGITS && digits.expose().bytes().all(|b| b.is_ascii_digit()));
            }
        }

        #[test]
        fn separators_anywhere_change_nothing(code in "[0-9]{6}", gaps in prop::collection::vec(" |-|\u{a0}|\u{2009}|\u{2014}|", 7)) {
            let spaced: String = code.chars().zip(&gaps).map(|(c, gap)| format!("{gap}{c}")).collect();
            prop_assert_eq!(read(&(spaced + &gaps[6])), Some(code));
        }
    }
}
