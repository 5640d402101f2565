//! What operators have restricted: carriers that are paused, and numbers that are blocked. This is the form that a process looks
//! things up in; it holds only what is in force.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::domain::dispatch::PhoneNumber;
use crate::domain::words::words;

/// Minimum and maximum number of digits of a blocked prefix. A longer one would be a number in plain text.
pub const PREFIX_DIGITS: std::ops::RangeInclusive<usize> = 1..=9;

words! {
    /// What a block applies to.
    BlockKind {
        /// One number, in all its spellings.
        Number = "number",
        /// All numbers that begin with these digits.
        Prefix = "prefix",
        /// All numbers of a country.
        Country = "country",
    }
}

/// The restrictions that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restrictions {
    is_read: bool,
    /// The carriers that are paused everywhere.
    paused: HashSet<String>,
    /// The countries in which carriers are paused, by carrier.
    paused_countries: HashMap<String, HashSet<String>>,
    numbers: HashSet<String>,
    prefixes: HashSet<String>,
    countries: HashSet<String>,
}

impl Restrictions {
    /// No restrictions yet, but they have been read.
    pub fn read() -> Self {
        Self { is_read: true, ..Self::default() }
    }

    /// Returns whether they have been read. Until then nobody knows what is blocked.
    pub fn is_read(&self) -> bool {
        self.is_read
    }

    /// Adds the pause of a carrier in a country; `None`: everywhere.
    pub fn pause(&mut self, carrier: &str, country: Option<&str>) {
        match country {
            None => self.paused.insert(carrier.to_owned()),
            Some(country) => {
                self.paused_countries.entry(carrier.to_owned()).or_default().insert(country.to_owned())
            }
        };
    }

    /// Adds a block. Its value is the keyed hash of a number, a prefix with its `+`, or an ISO 3166 code.
    pub fn block(&mut self, kind: BlockKind, value: &str) {
        let values = match kind {
            BlockKind::Number => &mut self.numbers,
            BlockKind::Prefix => &mut self.prefixes,
            BlockKind::Country => &mut self.countries,
        };
        values.insert(value.to_owned());
    }

    /// Returns whether a carrier is paused for numbers of a country: everywhere, or in this country. The country is the one by which
    /// routes are chosen. `None`: only a pause everywhere counts.
    pub fn is_paused(&self, carrier: &str, country: Option<&str>) -> bool {
        let is_paused_in = |country: &str| {
            self.paused_countries.get(carrier).is_some_and(|countries| countries.contains(country))
        };
        self.paused.contains(carrier) || country.is_some_and(is_paused_in)
    }

    /// The countries in which some carrier is paused.
    pub fn countries_with_pauses(&self) -> BTreeSet<&str> {
        self.paused_countries.values().flatten().map(String::as_str).collect()
    }

    /// Returns what blocks a number. `hash` computes its keyed hash, and is called only if numbers are blocked.
    pub fn block_of(
        &self, number: &PhoneNumber, country: Option<&str>, hash: impl FnOnce() -> String,
    ) -> Option<BlockKind> {
        if !self.numbers.is_empty() && self.numbers.contains(&hash()) {
            return Some(BlockKind::Number);
        }
        // A prefix may be written for either spelling of a handset's number.
        let begins = |text: &str| {
            PREFIX_DIGITS.filter_map(|digits| text.get(..=digits)).any(|start| self.prefixes.contains(start))
        };
        if !self.prefixes.is_empty() && (begins(number.expose()) || begins(&number.handset())) {
            return Some(BlockKind::Prefix);
        }
        let is_blocked = |country: &str| self.countries.contains(country);
        let is_blocked = !self.countries.is_empty()
            && (country.is_some_and(is_blocked)
                || number.other_country().is_some_and(|other| is_blocked(&other)));
        is_blocked.then_some(BlockKind::Country)
    }
}

/// Returns whether a text is a prefix that can be blocked: `+` and 1 to 9 digits, the first of which is not 0.
pub fn is_prefix(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else { return false };
    PREFIX_DIGITS.contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::{BlockKind, Restrictions, is_prefix};
    use crate::domain::dispatch::PhoneNumber;

    #[test]
    fn a_number_is_blocked_by_itself_its_prefix_or_its_country() {
        let mut restrictions = Restrictions::default();
        let of = |restrictions: &Restrictions, text: &str| {
            let number = PhoneNumber::parse(text).unwrap();
            let country = number.metadata().country;
            restrictions.block_of(&number, country.as_deref(), || number.handset().to_string())
        };
        assert_eq!(of(&restrictions, "+447700900123"), None);
        restrictions.block(BlockKind::Number, "+541155550150");
        restrictions.block(BlockKind::Prefix, "+44770090");
        restrictions.block(BlockKind::Prefix, "+5219");
        restrictions.block(BlockKind::Country, "JE");
        for (number, kind) in [
            ("+447700900123", Some(BlockKind::Prefix)),
            ("+447911123456", None),
            ("+447797550150", Some(BlockKind::Country)),
            ("+5491155550150", Some(BlockKind::Number)),
            ("+5219555550150", Some(BlockKind::Prefix)),
            ("+529555550150", None),
        ] {
            assert_eq!(of(&restrictions, number), kind, "{number}");
        }
        restrictions.block(BlockKind::Prefix, "+5411");
        let mut without_number = restrictions.clone();
        without_number.numbers.clear();
        assert_eq!(of(&without_number, "+5491155550150"), Some(BlockKind::Prefix), "of the other spelling");
    }

    /// Fails if a pause in one country holds in another one, for another carrier, or for numbers without a country.
    #[test]
    fn a_carrier_is_paused_everywhere_or_in_a_country() {
        let mut restrictions = Restrictions::default();
        restrictions.pause("acme", Some("ID"));
        restrictions.pause("acme", Some("NG"));
        restrictions.pause("bolt", None);
        for (carrier, country, expected) in [
            ("acme", Some("ID"), true),
            ("acme", Some("NG"), true),
            ("acme", Some("DE"), false),
            ("acme", None, false),
            ("bolt", Some("ID"), true),
            ("bolt", None, true),
            ("other", Some("ID"), false),
        ] {
            assert_eq!(restrictions.is_paused(carrier, country), expected, "{carrier} {country:?}");
        }
    }

    #[test]
    fn a_prefix_is_a_plus_and_a_few_digits() {
        for good in ["+1", "+44", "+447700900"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in ["", "+", "44", "+0", "+4477009001", "+44 7", "+44x", "+٤٤"] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
