//! Phone numbers in E.164, checked against the metadata of the numbering plans.

use std::fmt;
use std::panic::catch_unwind;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumberFormat};
use zeroize::Zeroizing;

use crate::domain::words::words;

words! {
    /// How strictly a number is checked against the metadata of the numbering plans.
    NumberCheck {
        /// The length is possible in the country. This is the default, because the metadata lags behind new ranges.
        Possible = "possible",
        /// The number lies in a range that is known to be assigned.
        Valid = "valid",
    }
}

/// The error of a text that is not an E.164 number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNumber {
    /// The text is not `+` and 7 to 15 digits. The producer must correct it.
    #[error("must be E.164: + and 7 to 15 digits, the country code first")]
    Shape,
}

/// A phone number in E.164. `Debug` and `Display` print a mask. The memory is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct PhoneNumber(Zeroizing<String>);

/// Metadata of a number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// ISO 3166 country, if known.
    pub country: Option<String>,
    /// Whether the length is possible.
    pub possible: bool,
    /// Whether the number lies in a known range.
    pub valid: bool,
}

impl PhoneNumber {
    /// Parses an E.164 number: `+`, then 7 to 15 digits of which the first is not 0 (ITU-T E.164).
    pub fn parse(text: &str) -> Result<Self, BadNumber> {
        let digits = text.strip_prefix('+').ok_or(BadNumber::Shape)?;
        let fits = (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if fits { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(BadNumber::Shape) }
    }

    /// Returns the plain number, for a carrier's request or for sealing.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the metadata of the number. A panic inside the metadata library counts as "not possible".
    pub fn metadata(&self) -> Metadata {
        let text: &str = &self.0;
        catch_unwind(|| {
            let spelled_right =
                |n: &rlibphonenumber::PhoneNumber| n.format_as(PhoneNumberFormat::E164) == text;
            let Ok(number) = PHONE_NUMBER_UTIL.parse(text, None) else {
                return Metadata::default();
            };
            // A number has one valid spelling. A trunk prefix would make a second one with a quota of its own. Carriers cannot
            // reach a local number that can only be dialled within its town.
            let possible = matches!(number.is_possible_with_reason(), Ok(NumberLengthType::IsPossible))
                && spelled_right(&number);
            Metadata {
                // A number in no known range belongs to the main country of its calling code. The library names a region by its ISO
                // code. A name that is not two letters is not a country.
                country: number
                    .get_region_code()
                    .or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(number.country_code))
                    .map(|r| format!("{r:?}"))
                    .filter(|r| r.len() == 2),
                possible,
                // The stricter check requires `possible` too: Canada's 310 numbers lie in a known range but are too short to be
                // called from abroad.
                valid: possible && number.is_valid(),
            }
        })
        .unwrap_or_default()
    }

    /// Returns whether a 0 follows the country code, as in `+4407700900123`. Within a country such a 0 is often dialled first; in
    /// E.164 it is left out.
    pub fn has_trunk_zero(&self) -> bool {
        let text: &str = &self.0;
        catch_unwind(|| {
            let parsed = PHONE_NUMBER_UTIL.parse(text, None);
            parsed.is_ok_and(|number| text.starts_with(&format!("+{}0", number.country_code)))
        })
        .unwrap_or(false)
    }

    /// Returns the masked number: the first three characters and the last two digits.
    pub fn mask(&self) -> String {
        let text: &str = &self.0;
        let (head, tail) = (&text[..3], &text[text.len() - 2..]);
        format!("{head}{}{tail}", "•".repeat(text.len() - 5))
    }
}

impl Metadata {
    /// Returns whether the number passes this check.
    pub fn passes(&self, check: NumberCheck) -> bool {
        match check {
            NumberCheck::Possible => self.possible,
            NumberCheck::Valid => self.valid,
        }
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhoneNumber({})", self.mask())
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mask())
    }
}

#[cfg(test)]
mod tests {
    use super::PhoneNumber;

    #[test]
    fn printing_a_number_shows_a_mask() {
        let n = PhoneNumber::parse("+447700900123").unwrap();
        assert_eq!(format!("{n}"), "+44••••••••23");
        assert!(!format!("{n:?}").contains("7700"));
    }

    #[test]
    fn local_formats_and_stray_characters_are_refused() {
        for bad in [
            "07700900123",
            "447700900123",
            "+0447700900123",
            "+44 7700 900123",
            "+44770090012x",
            "+",
            "+123456",
        ] {
            assert!(PhoneNumber::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_zero_after_the_country_code_is_found() {
        for (number, expected) in [
            ("+4407700900123", true),
            ("+49015112345678", true),
            ("+447700900123", false),
            ("+44770090", false),
        ] {
            assert_eq!(PhoneNumber::parse(number).unwrap().has_trunk_zero(), expected, "{number}");
        }
    }

    #[test]
    fn metadata_knows_country_and_length() {
        let gb = PhoneNumber::parse("+447700900123").unwrap().metadata();
        assert_eq!((gb.country.as_deref(), gb.possible), (Some("GB"), true));
        let short = PhoneNumber::parse("+4477009001").unwrap().metadata();
        assert!(!short.valid);
        for twice in ["+4407701559901", "+49015112345678"] {
            assert!(!PhoneNumber::parse(twice).unwrap().metadata().possible, "{twice} is another spelling");
        }
        assert!(!PhoneNumber::parse("+999123456789").unwrap().metadata().possible);
        for local in ["+4477009", "+12025550", "+13100174"] {
            let metadata = PhoneNumber::parse(local).unwrap().metadata();
            assert!(!metadata.possible && !metadata.valid, "{local} is dialled within its town or country");
        }
    }
}
