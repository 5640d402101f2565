//! Chooses the language of a message.

/// Returns the languages to try, in order: the requested one, the country's, then English.
pub fn languages(locale: Option<&str>, country: Option<&str>) -> impl Iterator<Item = String> {
    let requested = locale.map(|l| l.split('-').next().unwrap_or(l).to_ascii_lowercase());
    let local = country.and_then(of_country).map(str::to_owned);
    requested.into_iter().chain(local).chain(std::iter::once("en".to_owned()))
}

/// Returns the language of most people in a country, if templates for it may exist.
fn of_country(country: &str) -> Option<&'static str> {
    Some(match country {
        "AT" | "CH" | "DE" | "LI" => "de",
        "FR" | "MC" => "fr",
        "ES" | "MX" | "AR" | "CO" | "CL" | "PE" => "es",
        "IT" | "SM" => "it",
        "NL" => "nl",
        "PL" => "pl",
        "BR" | "PT" => "pt",
        _ => return None,
    })
}

/// Returns the BCP 47 tag of a voice for a language.
pub(super) fn voice(language: &str) -> String {
    let region = match language {
        "en" => "GB",
        "pt" => "BR",
        other => return format!("{other}-{}", other.to_ascii_uppercase()),
    };
    format!("{language}-{region}")
}
