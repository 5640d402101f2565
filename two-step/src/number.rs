//! Reads telephone numbers as users type them into E.164.

use std::fmt;
use std::panic::catch_unwind;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType};
use zeroize::Zeroizing;

/// Maximum length of a typed number, in characters.
const MAX_TYPED_CHARS: usize = 40;

/// A number in E.164. Printing it prints a mask.
#[derive(Clone, PartialEq, Eq)]
pub struct Number {
    e164: Zeroizing<String>,
    international: Zeroizing<String>,
    country: String,
}

/// Why a typed number cannot receive codes. The page has a sentence for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNumber {
    /// Not a number of the chosen country.
    #[error("is not a telephone number")]
    Unreadable,
    /// Too few digits for its country.
    #[error("is too short")]
    TooShort,
    /// Too many digits for its country.
    #[error("is too long")]
    TooLong,
    /// Its country is not on the product's list.
    #[error("is of a country that is not served")]
    Country,
    /// A premium-rate or shared-cost number.
    #[error("is a premium-rate or shared-cost number")]
    Costly,
}

impl Number {
    /// Reads a number as it is typed in a country: with spaces, a trunk zero, `00` or `+` in front. `countries` are the ISO
    /// 3166 codes that the product serves.
    pub fn read(typed: &str, country: &str, countries: &[String]) -> Result<Self, BadNumber> {
        if typed.chars().count() > MAX_TYPED_CHARS || typed.chars().any(char::is_control) {
            return Err(BadNumber::Unreadable);
        }
        // The metadata library parses untrusted text. A panic inside it must fail this entry only.
        let number = catch_unwind(|| read(typed, country)).unwrap_or(Err(BadNumber::Unreadable))?;
        if countries.iter().any(|c| c.eq_ignore_ascii_case(&number.country)) {
            Ok(number)
        } else {
            Err(BadNumber::Country)
        }
    }

    /// Creates a number from its stored E.164 form.
    pub fn from_kept(e164: &str) -> Result<Self, BadNumber> {
        catch_unwind(|| read(e164, "ZZ")).unwrap_or(Err(BadNumber::Unreadable))
    }

    /// The number in E.164: `+447700900123`. To be sent, sealed or hashed.
    pub fn expose(&self) -> &str {
        &self.e164
    }

    /// The international format: `+44 7700 900123`. Only for the user who typed it.
    pub fn expose_international(&self) -> &str {
        &self.international
    }

    /// ISO 3166 code.
    pub fn country(&self) -> &str {
        &self.country
    }

    /// The last two digits. Later pages show nothing else.
    pub fn hint(&self) -> String {
        self.e164[self.e164.len() - 2..].to_owned()
    }

    /// All but the last four digits. Numbers that are rented in a block share this prefix.
    pub fn prefix(&self) -> &str {
        &self.e164[..self.e164.len() - 4]
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Number({} …{})", self.country, self.hint())
    }
}

fn read(typed: &str, country: &str) -> Result<Number, BadNumber> {
    let text: Zeroizing<String> = Zeroizing::new(typed.trim().to_owned());
    let region = country.to_ascii_uppercase().parse().ok();
    // Most countries dial abroad with "00". The metadata accepts it for the chosen country only.
    let text = match text.strip_prefix("00").filter(|_| !text.starts_with("000")) {
        Some(rest) if text.chars().filter(char::is_ascii_digit).count() > 9 => {
            Zeroizing::new(format!("+{rest}"))
        }
        _ => text,
    };
    if text.matches(['+', '＋']).count() > 1 {
        return Err(BadNumber::Unreadable);
    }
    let parsed = PHONE_NUMBER_UTIL.parse(&*text, region).map_err(|_| BadNumber::Unreadable)?;
    if parsed.extension.as_deref().is_some_and(|e| !e.is_empty()) {
        return Err(BadNumber::Unreadable);
    }
    match parsed.is_possible_with_reason() {
        Ok(NumberLengthType::IsPossible) => {}
        Err(e) => {
            let why = format!("{e:?}");
            return Err(match why.as_str() {
                w if w.contains("Short") => BadNumber::TooShort,
                w if w.contains("Long") => BadNumber::TooLong,
                _ => BadNumber::Unreadable,
            });
        }
        Ok(_) => return Err(BadNumber::TooShort),
    }
    // The metadata lags behind new number ranges. An unknown number must at least be as long as a mobile number.
    if !parsed.is_valid() && !PHONE_NUMBER_UTIL.is_possible_number_for_type(&parsed, PhoneNumberType::Mobile)
    {
        return Err(BadNumber::Unreadable);
    }
    if matches!(parsed.get_type(), PhoneNumberType::PremiumRate | PhoneNumberType::SharedCost) {
        return Err(BadNumber::Costly);
    }
    let country = parsed
        .get_region_code()
        .or_else(|| PHONE_NUMBER_UTIL.get_region_for_country_code(parsed.country_code))
        .map(|r| format!("{r:?}"))
        .filter(|r| r.len() == 2)
        .ok_or(BadNumber::Country)?;
    let e164 = Zeroizing::new(parsed.format_as(PhoneNumberFormat::E164).into_owned());
    if e164.len() < 8 {
        return Err(BadNumber::TooShort);
    }
    let international = Zeroizing::new(parsed.format_as(PhoneNumberFormat::International).into_owned());
    Ok(Number { e164, international, country })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(codes: &[&str]) -> Vec<String> {
        codes.iter().map(|c| (*c).to_owned()).collect()
    }

    #[test]
    fn a_number_is_read_in_every_spelling_of_its_country() {
        let served = all(&["GB", "DE", "IT", "US"]);
        for (typed, country, e164) in [
            ("07700 900123", "GB", "+447700900123"),
            ("+44 7700 900123", "DE", "+447700900123"),
            ("+44 (0)7700 900123", "GB", "+447700900123"),
            ("0044 7700 900123", "GB", "+447700900123"),
            ("0044 7700 900123", "US", "+447700900123"),
            ("7700-900-123", "gb", "+447700900123"),
            ("０７７００９００１２３", "GB", "+447700900123"),
            ("0151 23456789", "DE", "+4915123456789"),
            ("+49 (0) 151/23456789", "DE", "+4915123456789"),
            ("02 1234 5678", "IT", "+390212345678"),
            ("(212) 555-2368", "US", "+12125552368"),
        ] {
            let read = Number::read(typed, country, &served).map(|n| n.expose().to_owned());
            assert_eq!(read.as_deref(), Ok(e164), "{typed} in {country}");
        }
    }

    #[test]
    fn a_number_that_cannot_receive_codes_is_refused_with_a_reason() {
        let served = all(&["GB", "US"]);
        for (typed, country, why) in [
            ("", "GB", BadNumber::Unreadable),
            ("call me", "GB", BadNumber::Unreadable),
            ("0770", "GB", BadNumber::TooShort),
            ("07700 900123 4567", "GB", BadNumber::TooLong),
            ("+49 151 23456789", "GB", BadNumber::Country),
            ("0909 879 0000", "GB", BadNumber::Costly),
            ("07700\0900123", "GB", BadNumber::Unreadable),
        ] {
            assert_eq!(Number::read(typed, country, &served).err(), Some(why), "{typed}");
        }
    }

    #[test]
    fn a_number_is_shown_in_international_form_and_later_by_two_digits() {
        let number = Number::read("07700900123", "GB", &all(&["GB"])).unwrap();
        assert_eq!(number.expose_international(), "+44 7700 900123");
        assert_eq!((number.hint().as_str(), number.prefix(), number.country()), ("23", "+44770090", "GB"));
        assert_eq!(Number::from_kept(number.expose()).unwrap(), number);
        assert!(!format!("{number:?}").contains("7700"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,50}", country in "[A-Z]{2}") {
            if let Ok(number) = Number::read(&text, &country, std::slice::from_ref(&country)) {
                prop_assert!(number.expose().starts_with('+') && number.expose().len() >= 8);
            }
        }
    }
}
