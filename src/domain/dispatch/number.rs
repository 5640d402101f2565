//! Phone numbers in E.164, checked against the metadata of the numbering plans.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rlibphonenumber::{
    NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumberFormat, PhoneNumberType, ValidationError,
};
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

words! {
    /// A kind of numbers that codes are rarely meant for. A call to some of them costs much, and some pay the callee (toll fraud).
    NumberKind {
        /// Premium rate.
        Premium = "premium",
        /// The caller and the called share the cost.
        SharedCost = "shared_cost",
        /// A personal number, which leads to a number that its owner chooses.
        Personal = "personal",
        /// A satellite phone, or an international network (+870, +881, +882, +883).
        Satellite = "satellite",
        /// Toll free.
        TollFree = "toll_free",
        /// A pager.
        Pager = "pager",
        /// A company's number for all its offices, or access to voicemail.
        Service = "service",
    }
}

/// Why a number is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberProblem {
    /// A 0 follows the country code.
    #[error("leave out the 0 after the country code: +447700900123, not +4407700900123")]
    TrunkZero,
    /// A digit is inside that is dialled only within the country, or was dialled once.
    #[error(
        "it has a digit that does not belong to the international number, such as the 15 before a mobile of Argentina"
    )]
    ExtraDigit,
    /// It has too few digits.
    #[error(
        "it has too few digits for its country; has the country lengthened its numbers, as Côte d'Ivoire (2021), Benin (2024) and Gabon (2019)?"
    )]
    TooShort,
    /// It has too many digits.
    #[error(
        "it has too many digits for its country; leave out a digit that is dialled only within it, such as the 1 of +52 1 (Mexico, until 2019)"
    )]
    TooLong,
    /// It can only be dialled within its town.
    #[error("it lacks the area code")]
    Local,
    /// No country has this code.
    #[error("no country has this code")]
    CountryCode,
    /// Its range is not known to be in use. Only the stricter check refuses it.
    #[error("its range is not known to be in use; numbers.check = \"possible\" would accept it")]
    Range,
}

/// The error of a text that is not an E.164 number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNumber {
    /// The text is not `+` and 7 to 15 digits. The producer must correct it.
    #[error("must be E.164: + and 7 to 15 digits, the country code first, such as +447700900123")]
    Shape,
}

/// A phone number in E.164. `Debug` and `Display` print a mask. The memory is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct PhoneNumber(Zeroizing<String>);

/// Metadata of a number. Its range and its kind take longest to find out, so they are looked up only on demand. It has no `Debug`,
/// because it holds the number.
#[derive(Clone, PartialEq, Default)]
pub struct Metadata {
    /// ISO 3166 country, if known.
    pub country: Option<String>,
    /// Whether the length is possible.
    pub possible: bool,
    /// Why it is not possible.
    pub problem: Option<NumberProblem>,
    number: Option<rlibphonenumber::PhoneNumber>,
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
            let number = match PHONE_NUMBER_UTIL.parse(text, None) {
                Ok(number) => number,
                Err(e) => {
                    let problem = match e {
                        ParseError::InvalidCountryCode => NumberProblem::CountryCode,
                        ParseError::TooLongNsn => NumberProblem::TooLong,
                        _ => NumberProblem::TooShort,
                    };
                    return Metadata { problem: Some(problem), ..Metadata::default() };
                }
            };
            // A number has one valid spelling. A trunk prefix would make a second one with a quota of its own. Carriers cannot
            // reach a local number that can only be dialled within its town.
            let length = match number.is_possible_with_reason() {
                Ok(NumberLengthType::IsPossible) => None,
                Ok(NumberLengthType::IsPossibleLocalOnly) => Some(NumberProblem::Local),
                Err(ValidationError::TooLong) => Some(NumberProblem::TooLong),
                Err(ValidationError::InvalidCountryCode) => Some(NumberProblem::CountryCode),
                Err(_) => Some(NumberProblem::TooShort),
            };
            let has_zero = text.starts_with(&format!("+{}0", number.country_code));
            let extra = if has_zero { NumberProblem::TrunkZero } else { NumberProblem::ExtraDigit };
            let problem = (!spelled_right(&number)).then_some(extra).or(length);
            Metadata {
                // A number in no known range belongs to the main country of its calling code. The library names a region by its ISO
                // code. A name that is not two letters is not a country.
                country: number
                    .get_region_code()
                    .or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(number.country_code))
                    .map(|r| format!("{r:?}"))
                    .filter(|r| r.len() == 2),
                possible: problem.is_none(),
                problem,
                number: Some(number),
            }
        })
        .unwrap_or_default()
    }

    /// Returns the masked number: the first three characters and the last two digits.
    pub fn mask(&self) -> String {
        let text: &str = &self.0;
        let (head, tail) = (&text[..3], &text[text.len() - 2..]);
        format!("{head}{}{tail}", "•".repeat(text.len() - 5))
    }
}

/// The kind of a number. The metadata know no satellite phones, but their codes.
fn kind(number: &rlibphonenumber::PhoneNumber) -> Option<NumberKind> {
    match number.country_code {
        870 | 881 | 882 | 883 => return Some(NumberKind::Satellite),
        878 => return Some(NumberKind::Personal),
        979 => return Some(NumberKind::Premium),
        _ => {}
    }
    Some(match number.get_type() {
        PhoneNumberType::PremiumRate => NumberKind::Premium,
        PhoneNumberType::SharedCost => NumberKind::SharedCost,
        PhoneNumberType::PersonalNumber => NumberKind::Personal,
        PhoneNumberType::TollFree => NumberKind::TollFree,
        PhoneNumberType::Pager => NumberKind::Pager,
        PhoneNumberType::UAN | PhoneNumberType::VoiceMail => NumberKind::Service,
        _ => return None,
    })
}

impl Metadata {
    /// Returns whether the number is possible and lies in a known range. Canada's 310 numbers lie in one, but are too short to be called
    /// from abroad.
    pub fn is_valid(&self) -> bool {
        let is_in_range = |number: &rlibphonenumber::PhoneNumber| {
            catch_unwind(AssertUnwindSafe(|| number.is_valid())).unwrap_or(false)
        };
        self.possible && self.number.as_ref().is_some_and(is_in_range)
    }

    /// Returns the kind of the number, if it is a special one.
    pub fn kind(&self) -> Option<NumberKind> {
        let number = self.number.as_ref()?;
        catch_unwind(AssertUnwindSafe(|| kind(number))).unwrap_or(None)
    }

    /// Returns why the number does not pass this check.
    pub fn problem(&self, check: NumberCheck) -> Option<NumberProblem> {
        let is_outside = || check == NumberCheck::Valid && !self.is_valid();
        self.problem.or_else(|| is_outside().then_some(NumberProblem::Range))
    }

    /// Returns whether the number passes this check.
    pub fn passes(&self, check: NumberCheck) -> bool {
        match check {
            NumberCheck::Possible => self.possible,
            NumberCheck::Valid => self.is_valid(),
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
    use super::{NumberKind, NumberProblem, PhoneNumber};

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
    fn a_number_that_is_not_possible_says_why() {
        for (number, expected) in [
            ("+4407700900123", NumberProblem::TrunkZero),
            ("+49015112345678", NumberProblem::TrunkZero),
            ("+5215555550150", NumberProblem::TooLong),
            ("+22507550150", NumberProblem::TooShort),
            ("+24106555", NumberProblem::TooShort),
            ("+4477009001500000", NumberProblem::TooLong),
            ("+54111555550150", NumberProblem::ExtraDigit),
            ("+12025550", NumberProblem::Local),
            ("+999123456789", NumberProblem::CountryCode),
        ] {
            let metadata = PhoneNumber::parse(&number[..number.len().min(16)]).unwrap().metadata();
            assert_eq!(metadata.problem, Some(expected), "{number}");
        }
    }

    /// Numbers of ranges and lengths that other systems refused (Côte d'Ivoire, Benin, Kosovo, leading zeros, …).
    #[test]
    fn new_ranges_and_leading_zeros_are_possible() {
        for number in [
            "+2250707550150",
            "+2290197550150",
            "+38344550150",
            "+390655550150",
            "+393335550150",
            "+242065550150",
            "+24106550150",
            "+966579550150",
            "+6580675150",
            "+996997123456",
            "+14365550150",
            "+3197010212345",
        ] {
            assert_eq!(PhoneNumber::parse(number).unwrap().metadata().problem, None, "{number}");
        }
    }

    #[test]
    fn kinds_of_numbers_are_told_apart() {
        for (number, kind) in [
            ("+19005550150", Some(NumberKind::Premium)),
            ("+449098790150", Some(NumberKind::Premium)),
            ("+447012345678", Some(NumberKind::Personal)),
            ("+18005550150", Some(NumberKind::TollFree)),
            ("+498001234567", Some(NumberKind::TollFree)),
            ("+491801234567", Some(NumberKind::SharedCost)),
            ("+881612345678", Some(NumberKind::Satellite)),
            ("+870773111632", Some(NumberKind::Satellite)),
            ("+447640123456", Some(NumberKind::Pager)),
            ("+447700900150", None),
            ("+442079460150", None),
            ("+12015550150", None),
        ] {
            assert_eq!(PhoneNumber::parse(number).unwrap().metadata().kind(), kind, "{number}");
        }
    }

    /// Numbers that people take for British, American or Finnish ones.
    #[test]
    fn neighbours_have_countries_of_their_own() {
        for (number, country) in [
            ("+447797550150", "JE"),
            ("+447781550150", "GG"),
            ("+447624550150", "IM"),
            ("+447700900150", "GB"),
            ("+17875550150", "PR"),
            ("+19395550150", "PR"),
            ("+3581812345", "AX"),
        ] {
            let metadata = PhoneNumber::parse(number).unwrap().metadata();
            assert_eq!(metadata.country.as_deref(), Some(country), "{number}");
        }
    }

    #[test]
    fn metadata_knows_country_and_length() {
        let gb = PhoneNumber::parse("+447700900123").unwrap().metadata();
        assert_eq!((gb.country.as_deref(), gb.possible), (Some("GB"), true));
        let short = PhoneNumber::parse("+4477009001").unwrap().metadata();
        assert!(!short.is_valid());
        for twice in ["+4407701559901", "+49015112345678"] {
            assert!(!PhoneNumber::parse(twice).unwrap().metadata().possible, "{twice} is another spelling");
        }
        assert!(!PhoneNumber::parse("+999123456789").unwrap().metadata().possible);
        for local in ["+4477009", "+12025550", "+13100174"] {
            let metadata = PhoneNumber::parse(local).unwrap().metadata();
            assert!(
                !metadata.possible && !metadata.is_valid(),
                "{local} is dialled within its town or country"
            );
        }
    }
}
