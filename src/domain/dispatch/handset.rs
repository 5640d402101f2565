//! One form for the numbers that reach one handset. Quotas count by it, so that a second spelling gives no second quota.
//!
//! It is no number to send to: some of these forms are not dialled any more.

use zeroize::Zeroizing;

use super::PhoneNumber;

impl PhoneNumber {
    /// Returns the form that all spellings of this handset's number share.
    pub fn handset(&self) -> Zeroizing<String> {
        let text = self.expose();
        let with = |prefix: &str, rest: &str| Some(Zeroizing::new(format!("{prefix}{rest}")));
        let rest_of =
            |prefix: &str, length: usize| text.strip_prefix(prefix).filter(|rest| rest.len() == length);
        let same = None
            // Argentina: a mobile is +54 9 and ten digits from abroad, and +54 and ten digits at many carriers.
            .or_else(|| with("+54", rest_of("+549", 10)?))
            // Brazil: mobiles got a ninth digit 9 after the area code (2012 to 2016), and both forms are still delivered.
            .or_else(|| {
                let (area, subscriber) = rest_of("+55", 11)?.split_at(2);
                let old = subscriber.strip_prefix('9').filter(|old| old.starts_with(['6', '7', '8', '9']))?;
                with("+55", &format!("{area}{old}"))
            })
            // Mexico: the 1 for mobiles was abolished in 2019.
            .or_else(|| with("+52", rest_of("+521", 10)?))
            // Palestinian mobiles (56, 59) are reached through the code of Israel too.
            .or_else(|| {
                with(
                    "+970",
                    rest_of("+972", 9).filter(|rest| rest.starts_with("56") || rest.starts_with("59"))?,
                )
            })
            // Kosovo used codes of Monaco (44, 45) and of Slovenia (43, 49) before +383.
            .or_else(|| {
                with(
                    "+383",
                    rest_of("+377", 8).filter(|rest| rest.starts_with("44") || rest.starts_with("45"))?,
                )
            })
            .or_else(|| {
                with(
                    "+383",
                    rest_of("+386", 8).filter(|rest| rest.starts_with("43") || rest.starts_with("49"))?,
                )
            })
            // San Marino's landlines are in Italy's plan too (0549).
            .or_else(|| with("+3780549", text.strip_prefix("+390549")?));
        same.unwrap_or_else(|| Zeroizing::new(text.to_owned()))
    }

    /// Returns the country of the handset if it differs from that of the number's calling code: `PS` for a Palestinian mobile with +972.
    pub fn other_country(&self) -> Option<String> {
        let handset = self.handset();
        if handset.as_str() == self.expose() {
            return None;
        }
        let country = Self::parse(&handset).ok()?.metadata().country?;
        (self.metadata().country.as_ref() != Some(&country)).then_some(country)
    }

    /// Returns this number, and the other spellings that reach the same handset.
    pub fn spellings(&self) -> Vec<Self> {
        let handset = self.handset();
        let with = |from: &str, to: &str| Some(format!("{to}{}", handset.strip_prefix(from)?));
        let ninth_digit = || {
            let (area, subscriber) = handset.strip_prefix("+55")?.split_at_checked(2)?;
            Some(format!("+55{area}9{subscriber}"))
        };
        let others = [
            Some(handset.to_string()),
            with("+54", "+549"),
            ninth_digit(),
            with("+52", "+521"),
            with("+970", "+972"),
            with("+383", "+377"),
            with("+383", "+386"),
            with("+3780549", "+390549"),
        ];
        let mut all = vec![self.clone()];
        for other in others.into_iter().flatten().map(Zeroizing::new) {
            let other = Self::parse(&other).ok().filter(|other| other.handset() == handset);
            all.extend(other.filter(|other| other != self));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::PhoneNumber;

    #[test]
    fn each_spelling_of_a_handset_lists_the_others() {
        let spellings = |text: &str| {
            let all = PhoneNumber::parse(text).unwrap().spellings();
            let mut all: Vec<String> = all.iter().map(|number| number.expose().to_owned()).collect();
            all.sort();
            all
        };
        for group in [
            &["+541155550150", "+5491155550150"][..],
            &["+554891550150", "+5548991550150"],
            &["+5215555550150", "+525555550150"],
            &["+970595550150", "+972595550150"],
            &["+37744550150", "+38344550150"],
            &["+38349550150", "+38649550150"],
            &["+3780549882914", "+390549882914"],
            &["+447700900150"],
            &["+551133550150"],
        ] {
            for number in group {
                assert_eq!(spellings(number), group, "{number}");
            }
        }
    }

    /// Fails if a blocked country can be reached through the code of another one.
    #[test]
    fn a_handset_may_be_in_another_country_than_its_number_says() {
        let country = |text: &str| PhoneNumber::parse(text).unwrap().other_country();
        assert_eq!(country("+972595550150").as_deref(), Some("PS"));
        assert_eq!(country("+37744550150").as_deref(), Some("XK"));
        for one in ["+970595550150", "+972525550150", "+5491155550150", "+447700900150"] {
            assert_eq!(country(one), None, "{one}");
        }
    }

    #[test]
    fn the_spellings_of_one_handset_are_one_and_others_stay() {
        let handset = |text: &str| PhoneNumber::parse(text).unwrap().handset().to_string();
        for (one, other) in [
            ("+5491155550150", "+541155550150"),
            ("+5548991550150", "+554891550150"),
            ("+5215555550150", "+525555550150"),
            ("+970595550150", "+972595550150"),
            ("+38344550150", "+37744550150"),
            ("+38349550150", "+38649550150"),
            ("+3780549882914", "+390549882914"),
        ] {
            assert_eq!(handset(one), handset(other), "{one} {other}");
        }
        // Neighbours that are other handsets.
        for alone in [
            "+972505550150",
            "+37760550150",
            "+38641550150",
            "+551133550150",
            "+5511933550150",
            "+390655550150",
            "+447700900150",
        ] {
            assert_eq!(handset(alone), alone);
        }
        assert_ne!(handset("+5548991550150"), handset("+5548981550150"));
    }
}
