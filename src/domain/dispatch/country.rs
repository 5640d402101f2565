//! Countries and territories with phone numbers of their own, by their ISO 3166 codes.

use std::borrow::Borrow;
use std::sync::LazyLock;

use rlibphonenumber::PHONE_NUMBER_UTIL;
use serde::{Deserialize, Serialize};

static KNOWN: LazyLock<Vec<String>> = LazyLock::new(|| {
    let codes = PHONE_NUMBER_UTIL.get_supported_regions().map(|region| format!("{region:?}"));
    codes.filter(|code| code.len() == 2).collect()
});

/// An ISO 3166 code in capitals, such as `GB`, of a country or territory that the metadata of the numbering plans know. Jersey (`JE`),
/// Guernsey (`GG`), the Isle of Man (`IM`) or Puerto Rico (`PR`) are not part of `GB` or `US`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country(String);

/// The error of a text that is no country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCountry {
    /// The code of the United Kingdom in ISO 3166 is GB.
    #[error("the United Kingdom is GB, not UK")]
    Uk,
    /// The text is no code of a country with phone numbers.
    #[error("a country is written as its ISO 3166 code of two letters, such as GB or US")]
    Unknown,
}

impl TryFrom<String> for Country {
    type Error = BadCountry;

    fn try_from(text: String) -> Result<Self, BadCountry> {
        let code = text.trim().to_ascii_uppercase();
        match code.as_str() {
            "UK" => Err(BadCountry::Uk),
            code if KNOWN.iter().any(|known| known == code) => Ok(Self(code.to_owned())),
            _ => Err(BadCountry::Unknown),
        }
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.0
    }
}

impl Borrow<str> for Country {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{BadCountry, Country};

    #[test]
    fn only_countries_with_phone_numbers_are_taken_in_either_case() {
        for code in ["GB", "gb", " Us ", "JE", "XK", "PR"] {
            let country = Country::try_from(code.to_owned()).unwrap();
            assert_eq!(country.to_string(), code.trim().to_ascii_uppercase());
        }
        assert_eq!(Country::try_from("uk".to_owned()), Err(BadCountry::Uk));
        for code in ["", "EU", "USA", "XX", "G", "001", "England"] {
            assert_eq!(Country::try_from(code.to_owned()), Err(BadCountry::Unknown), "{code}");
        }
    }
}
