//! The languages of the pages.

use super::text::{DE, EN, Texts};

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// German.
    De,
}

impl Lang {
    /// Number of languages.
    pub const COUNT: usize = 2;
    /// Every language, in the order of the language switch.
    pub const ALL: [Lang; Lang::COUNT] = [Lang::En, Lang::De];

    /// The BCP 47 tag, as in `<html lang>` and in `?lang=`.
    pub const fn tag(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::De => "de",
        }
    }

    /// The name of the language in the language itself.
    pub const fn name(self) -> &'static str {
        match self {
            Lang::En => "English",
            Lang::De => "Deutsch",
        }
    }

    /// Reads a tag such as `de` or `de-AT`. Returns `None` for a language without texts.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|lang| lang.tag().eq_ignore_ascii_case(primary))
    }

    /// Chooses from an `Accept-Language` header: the supported language with the highest weight, else English.
    pub fn from_header(header: &str) -> Self {
        let mut best: Option<(f32, Self)> = None;
        for part in header.split(',') {
            let (tag, weight) = part.split_once(";q=").unwrap_or((part, "1"));
            let weight = weight.trim().parse::<f32>().unwrap_or(0.0);
            if let Some(lang) = Self::from_tag(tag.trim())
                && weight > best.map_or(0.0, |(heaviest, _)| heaviest)
            {
                best = Some((weight, lang));
            }
        }
        best.map(|(_, lang)| lang).unwrap_or_default()
    }

    /// The sentences in this language.
    pub(crate) fn texts(self) -> &'static Texts {
        match self {
            Lang::En => &EN,
            Lang::De => &DE,
        }
    }
}
