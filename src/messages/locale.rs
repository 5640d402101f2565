//! Chooses the language of a message. A language is a BCP 47 tag in small letters, such as `pt-br`.

/// Names of one language: an older code, or the one that people use for it.
const ALIASES: [(&str, &str); 6] =
    [("iw", "he"), ("in", "id"), ("ji", "yi"), ("no", "nb"), ("nb", "no"), ("tl", "fil")];

/// Tags of voices. The first of a language is its default. Sources: Twilio's page on `<Say>`, attribute `language`, and the voices of
/// Amazon Polly and Google that Twilio offers.
pub(super) const VOICES: &[&str] = &[
    "bg-BG", "ca-ES", "cs-CZ", "da-DK", "de-DE", "el-GR", "en-GB", "en-AU", "en-CA", "en-IN", "en-US",
    "es-ES", "es-MX", "et-EE", "fi-FI", "fr-FR", "fr-CA", "he-IL", "hi-IN", "hu-HU", "id-ID", "is-IS",
    "it-IT", "ja-JP", "ko-KR", "lt-LT", "lv-LV", "nb-NO", "nl-NL", "pl-PL", "pt-BR", "pt-PT", "ro-RO",
    "ru-RU", "sk-SK", "sl-SI", "sv-SE", "tr-TR", "uk-UA", "vi-VN", "zh-CN", "zh-HK", "zh-TW",
];

/// Returns the languages to try, in order: the requested one, from its most exact form to its shortest, the country's, then English.
pub fn languages(locale: Option<&str>, country: Option<&str>) -> impl Iterator<Item = String> {
    let requested = locale.map(normal).into_iter().flat_map(|tag| forms(&tag));
    let local = country.and_then(of_country).into_iter().flat_map(|tag| forms(&tag));
    requested.chain(local).chain(std::iter::once("en".to_owned()))
}

/// Returns a tag in small letters with hyphens: `pt-br` for `pt_BR`.
pub(super) fn normal(tag: &str) -> String {
    tag.replace('_', "-").to_ascii_lowercase()
}

/// Whether a file may have this language. A job can request it.
pub(super) fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let is_word = |part: &str, sizes: std::ops::RangeInclusive<usize>| {
        sizes.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    parts.next().is_some_and(|first| is_word(first, 2..=3) && !first.bytes().any(|b| b.is_ascii_digit()))
        && parts.all(|part| is_word(part, 2..=8))
}

/// The forms of a tag, the most exact one first.
fn forms(tag: &str) -> Vec<String> {
    let mut all = vec![];
    let mut rest = tag;
    loop {
        all.push(rest.to_owned());
        // Traditional and simplified Chinese are told apart by the script, or by the region.
        match rest {
            "zh-tw" | "zh-hk" | "zh-mo" => all.push("zh-hant".to_owned()),
            "zh-hant" => all.push("zh-tw".to_owned()),
            "zh-cn" | "zh-sg" => all.push("zh-hans".to_owned()),
            "zh-hans" => all.push("zh-cn".to_owned()),
            _ => {}
        }
        let Some((shorter, _)) = rest.rsplit_once('-') else { break };
        rest = shorter;
    }
    let alias = ALIASES.iter().find(|(alias, _)| *alias == rest);
    all.extend(alias.map(|(_, language)| (*language).to_owned()));
    all
}

/// Returns the language of most people in a country, with the country as the region: `pt-br` for `BR`.
fn of_country(country: &str) -> Option<String> {
    let language = match country {
        "AT" | "CH" | "DE" | "LI" => "de",
        "FR" | "MC" => "fr",
        "ES" | "MX" | "AR" | "CO" | "CL" | "PE" | "EC" | "VE" | "UY" | "PY" | "BO" | "CR" | "CU" | "DO"
        | "GT" | "HN" | "NI" | "PA" | "SV" => "es",
        "IT" | "SM" | "VA" => "it",
        "NL" => "nl",
        "PL" => "pl",
        "BR" | "PT" | "AO" | "MZ" => "pt",
        "BG" => "bg",
        "CN" | "TW" | "HK" | "MO" => "zh",
        "CZ" => "cs",
        "DK" => "da",
        "EE" => "et",
        "FI" => "fi",
        "GR" | "CY" => "el",
        "HR" => "hr",
        "HU" => "hu",
        "ID" => "id",
        "IL" => "he",
        "IS" => "is",
        "JP" => "ja",
        "KR" => "ko",
        "LT" => "lt",
        "LV" => "lv",
        "NO" => "nb",
        "RO" | "MD" => "ro",
        "RU" => "ru",
        "SE" => "sv",
        "SI" => "sl",
        "SK" => "sk",
        "TH" => "th",
        "TR" => "tr",
        "UA" => "uk",
        "VN" => "vi",
        _ => return None,
    };
    Some(format!("{language}-{}", country.to_ascii_lowercase()))
}

/// Returns the tag of a voice: that of the requested region if the template's language has it, or else the language's default. `None`
/// if no voice speaks the language.
pub(super) fn voice(language: &str, locale: Option<&str>) -> Option<&'static str> {
    let requested = locale.map(normal).filter(|tag| first(tag) == first(language));
    let exact = |tag: &str| VOICES.iter().find(|voice| voice.eq_ignore_ascii_case(tag)).copied();
    let of_script = match language {
        "zh-hant" => Some("zh-TW"),
        "zh-hans" => Some("zh-CN"),
        _ => None,
    };
    let language_of =
        ALIASES.iter().find(|(alias, _)| *alias == first(language)).map_or(first(language), |(_, l)| l);
    let default = || {
        VOICES.iter().find(|voice| first(voice) == language_of || first(voice) == first(language)).copied()
    };
    exact(language).or_else(|| requested.as_deref().and_then(exact)).or(of_script).or_else(default)
}

fn first(tag: &str) -> &str {
    tag.split('-').next().unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::{is_language, languages, voice};

    #[test]
    fn the_most_exact_language_comes_first() {
        for (locale, country, expected) in [
            (Some("pt-BR"), None, "pt-br pt en"),
            (Some("pt_BR"), Some("DE"), "pt-br pt de-de de en"),
            (Some("zh-Hant-HK"), None, "zh-hant-hk zh-hant zh-tw zh en"),
            (Some("zh-TW"), None, "zh-tw zh-hant zh en"),
            (Some("zh-CN"), None, "zh-cn zh-hans zh en"),
            (Some("iw"), None, "iw he en"),
            (Some("no-NO"), None, "no-no no nb en"),
            (None, Some("AT"), "de-at de en"),
            (None, Some("BR"), "pt-br pt en"),
            (None, Some("TW"), "zh-tw zh-hant zh en"),
            (None, Some("NO"), "nb-no nb no en"),
            (None, Some("GB"), "en"),
            (None, None, "en"),
        ] {
            let all: Vec<String> = languages(locale, country).collect();
            assert_eq!(all.join(" "), expected, "{locale:?} {country:?}");
        }
    }

    #[test]
    fn a_voice_is_one_that_exists() {
        for (language, locale, expected) in [
            ("sv", None, "sv-SE"),
            ("da", None, "da-DK"),
            ("nb", None, "nb-NO"),
            ("no", None, "nb-NO"),
            ("cs", None, "cs-CZ"),
            ("el", None, "el-GR"),
            ("ja", None, "ja-JP"),
            ("ko", None, "ko-KR"),
            ("zh", None, "zh-CN"),
            ("zh-hant", None, "zh-TW"),
            ("uk", None, "uk-UA"),
            ("he", None, "he-IL"),
            ("iw", None, "he-IL"),
            ("vi", None, "vi-VN"),
            ("hi", None, "hi-IN"),
            ("et", None, "et-EE"),
            ("sl", None, "sl-SI"),
            ("tr", None, "tr-TR"),
            ("hu", None, "hu-HU"),
            ("ro", None, "ro-RO"),
            ("en", None, "en-GB"),
            ("en", Some("en-US"), "en-US"),
            ("en", Some("en_us"), "en-US"),
            ("en", Some("en-NZ"), "en-GB"),
            ("en", Some("fr-CA"), "en-GB"),
            ("pt-pt", Some("pt-PT"), "pt-PT"),
            ("pt", Some("pt-PT"), "pt-PT"),
        ] {
            assert_eq!(voice(language, locale), Some(expected), "{language} {locale:?}");
        }
        assert_eq!(voice("eo", None), None);
    }

    #[test]
    fn a_language_of_a_file_is_one_that_a_job_can_request() {
        for tag in ["de", "pt-br", "zh-hant-hk", "fil", "es-419"] {
            assert!(is_language(tag), "{tag}");
        }
        for tag in ["", "german", "d", "d3", "de-", "de-a", "pt.br"] {
            assert!(!is_language(tag), "{tag}");
        }
    }
}
