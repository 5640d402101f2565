//! One-time codes. The plain text is used in two places only: in a message to the phone, and for sealing.

use std::fmt;

use zeroize::Zeroizing;

/// The error of a text that is not a one-time code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 4 to 10 of 0-9, A-Z, a-z, without spaces")]
pub struct BadCode;

/// A one-time code: 4 to 10 of `0-9A-Za-z`. `Debug` and `Display` print a mask. The memory is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(Zeroizing<String>);

impl Code {
    /// Parses a code.
    pub fn parse(text: &str) -> Result<Self, BadCode> {
        let fits = (4..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(BadCode) }
    }

    /// Returns the plain text, for a message to the phone or for sealing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(••••)")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("••••")
    }
}

/// The kind of message that a dispatch delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A one-time code.
    Code,
    /// A notice: a message without a code.
    Notice,
}

impl Kind {
    /// Returns the kind of a dispatch with this code, or without one.
    pub fn of(code: Option<&Code>) -> Self {
        if code.is_some() { Self::Code } else { Self::Notice }
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn printing_a_code_shows_a_mask() {
        let code = Code::parse("481516").unwrap();
        assert_eq!(format!("{code} {code:?}"), "•••• Code(••••)");
    }

    #[test]
    fn spaces_other_alphabets_and_odd_lengths_are_refused() {
        for bad in ["12 34", "123", "12345678901", "１２３４", "12-34", ""] {
            assert!(Code::parse(bad).is_err(), "{bad}");
        }
        assert!(Code::parse("aZ09").is_ok());
    }
}
