//! From a code to words: the text of a message, or what a call says.
//!
//! A template is a file `<name>.<language>.<channel>.txt`. It may use `brand`, `code`, `spelled` (the code digit by
//! digit), `minutes` (whole minutes left; 0: less than one) and the job's own params; anything else is an error. In speech a
//! line is a sentence, and `[pause 2]` a line of silence.

pub mod gsm7;
mod locale;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use minijinja::{Environment, UndefinedBehavior, Value};
use zeroize::Zeroizing;

use crate::dispatch::{Channel, Code, Params, Part, Spoken, Words};

pub use locale::languages;

/// Steps that a template may take: a loop without end stops here.
const FUEL: u64 = 20_000;
/// A text longer than this is a mistake in its template (Twilio takes 1,600 characters).
const LONGEST: usize = 1000;
/// What is spoken is no longer than this as a carrier's markup (Twilio takes 4,000 characters in all).
const LONGEST_MARKUP: usize = 3900;

/// Our own templates, compiled in.
const BUILT_IN: &[(&str, &str)] = &[
    ("code.en.sms", include_str!("../../config/templates/code.en.sms.txt")),
    ("code.en.voice", include_str!("../../config/templates/code.en.voice.txt")),
    ("code.de.sms", include_str!("../../config/templates/code.de.sms.txt")),
    ("code.de.voice", include_str!("../../config/templates/code.de.voice.txt")),
];

/// Why there are no words. No template's or library's text is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWords {
    /// There is no such template.
    #[error("there is no template of this name for this channel")]
    Missing,
    /// It could not be rendered.
    #[error("the template cannot be rendered: {0}")]
    Broken(&'static str),
}

/// All templates.
#[derive(Debug)]
pub struct Templates {
    env: Environment<'static>,
}

/// What a message says beside its code.
#[derive(Debug)]
pub struct Letterhead<'a> {
    /// The name that it begins with.
    pub brand: &'a str,
    /// The template's name.
    pub template: &'a str,
    /// The language asked for.
    pub locale: Option<&'a str>,
    /// The number's country.
    pub country: Option<&'a str>,
    /// The template's values.
    pub params: &'a Params,
    /// How long the code still lives.
    pub life: Duration,
}

impl Templates {
    /// Our own templates, and those of a folder, which win.
    pub fn load(folder: Option<&Path>) -> Result<Self, String> {
        let mut all = Self::built_in()?;
        if let Some(folder) = folder {
            let cannot = || format!("the templates folder {} cannot be read", folder.display());
            for entry in std::fs::read_dir(folder).map_err(|_| cannot())? {
                let path = entry.map_err(|_| cannot())?.path();
                let Some(name) =
                    path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".txt"))
                else {
                    continue;
                };
                let parts: Vec<&str> = name.split('.').collect();
                if !matches!(parts[..], [_, _, channel] if channel.parse::<Channel>().is_ok()) {
                    return Err(format!(
                        "{} must be called <name>.<language>.<sms or voice>.txt",
                        path.display()
                    ));
                }
                all.add(name, std::fs::read_to_string(&path).map_err(|_| cannot())?)?;
            }
        }
        Ok(all)
    }

    fn built_in() -> Result<Self, String> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_fuel(Some(FUEL));
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let mut all = Self { env };
        for (name, text) in BUILT_IN {
            all.add(name, (*text).to_owned())?;
        }
        Ok(all)
    }

    /// Adds a template, `<name>.<language>.<channel>`, or puts it in the place of the one that is called so.
    pub fn add(&mut self, name: &str, text: String) -> Result<(), String> {
        self.env
            .add_template_owned(name.to_owned(), text)
            .map_err(|e| format!("template {name}.txt is not valid (line {})", e.line().unwrap_or(0)))
    }

    /// Texts that are charged as more than one part, with how many, and whether GSM-7 has all their characters. What
    /// needs params is left out.
    pub fn charged_above_one(&self, brand: &str) -> Vec<(String, gsm7::Segments)> {
        let code = Code::parse("481516").expect("a code of six digits");
        let sms = self.env.templates().filter_map(|(name, _)| name.strip_suffix(".sms").map(str::to_owned));
        let measured = sms.filter_map(|name| {
            let (template, language) = name.split_once('.')?;
            let params = Params::default();
            let life = Duration::from_mins(5);
            let (locale, country) = (Some(language), None);
            let head = Letterhead { brand, template, locale, country, params: &params, life };
            match self.render(Channel::Sms, &head, &code).ok()? {
                Words::Text(text) => Some((name.clone(), gsm7::segments(&text))),
                Words::Speech(_) => None,
            }
        });
        measured.filter(|(_, segments)| segments.parts > 1).collect()
    }

    /// The words of a message.
    pub fn render(&self, channel: Channel, head: &Letterhead<'_>, code: &Code) -> Result<Words, NoWords> {
        let (language, template) = languages(head.locale, head.country)
            .find_map(|l| {
                let name = format!("{}.{l}.{channel}", head.template);
                self.env.get_template(&name).ok().map(|t| (l, t))
            })
            .ok_or(NoWords::Missing)?;
        let mut values: BTreeMap<String, Value> =
            head.params.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
        values.insert("brand".to_owned(), Value::from(head.brand));
        values.insert("code".to_owned(), Value::from(code.expose()));
        values.insert("spelled".to_owned(), Value::from(spell(code).as_str()));
        values.insert("minutes".to_owned(), Value::from(head.life.as_secs() / 60));
        let text = Zeroizing::new(template.render(values).map_err(|e| NoWords::Broken(kind(&e)))?);
        if text.chars().count() > LONGEST {
            return Err(NoWords::Broken("it is longer than 1000 characters"));
        }
        Ok(match channel {
            Channel::Sms => Words::Text(Zeroizing::new(text.trim().to_owned())),
            Channel::Voice => {
                Words::Speech(Spoken { language: locale::voice(&language), parts: parts(&text)? })
            }
        })
    }
}

/// A param: a whole number or a short word.
fn plain(value: &serde_json::Value) -> Value {
    value.as_i64().map_or_else(|| Value::from(value.as_str().unwrap_or_default()), Value::from)
}

fn kind(e: &minijinja::Error) -> &'static str {
    match e.kind() {
        minijinja::ErrorKind::UndefinedError => "it uses a value that the job does not have",
        minijinja::ErrorKind::OutOfFuel => "it takes too many steps",
        _ => "it is not valid for these values",
    }
}

/// The code digit by digit, as a voice reads it slowly.
fn spell(code: &Code) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    for c in code.expose().chars() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push(c.to_ascii_uppercase());
        out.push('.');
    }
    out
}

fn parts(text: &str) -> Result<Vec<Part>, NoWords> {
    let parts = read_parts(text)?;
    if parts.iter().map(markup).sum::<usize>() > LONGEST_MARKUP {
        return Err(NoWords::Broken("it is too long to be spoken: fewer sentences"));
    }
    Ok(parts)
}

/// At most so many characters, with its tags and with what must be escaped.
fn markup(part: &Part) -> usize {
    match part {
        Part::Say(text) => 45 + text.chars().map(|c| if "&<>\"".contains(c) { 6 } else { 1 }).sum::<usize>(),
        Part::Pause(_) => 25,
    }
}

fn read_parts(text: &str) -> Result<Vec<Part>, NoWords> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let Some(pause) = line.strip_prefix("[pause ").and_then(|l| l.strip_suffix(']')) else {
                return Ok(Part::Say(Zeroizing::new(line.to_owned())));
            };
            let seconds = pause.parse().ok().filter(|s| (1..=10).contains(s));
            seconds.map(Part::Pause).ok_or(NoWords::Broken("a pause is [pause N], N from 1 to 10"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(locale: Option<&'a str>, country: Option<&'a str>, params: &'a Params) -> Letterhead<'a> {
        Letterhead {
            brand: "Example",
            template: "code",
            locale,
            country,
            params,
            life: Duration::from_secs(290),
        }
    }

    fn text(templates: &Templates, locale: Option<&str>, country: Option<&str>) -> String {
        let code = Code::parse("481516").unwrap();
        match templates.render(Channel::Sms, &head(locale, country, &Params::new()), &code).unwrap() {
            Words::Text(text) => text.to_string(),
            Words::Speech(_) => panic!("a text was asked for"),
        }
    }

    #[test]
    fn what_is_spoken_fits_into_a_carriers_markup() {
        let folder = std::env::temp_dir().join(format!("otpost-speech-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let render = |lines: usize| {
            std::fs::write(folder.join("code.en.voice.txt"), "a & b\n".repeat(lines)).unwrap();
            let templates = Templates::load(Some(&folder)).unwrap();
            let code = Code::parse("481516").unwrap();
            templates.render(Channel::Voice, &head(Some("en"), None, &Params::new()), &code)
        };
        let (fits, too_long) = (render(70), render(71));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(fits.is_ok());
        assert!(matches!(too_long, Err(NoWords::Broken(why)) if why.contains("too long to be spoken")));
    }

    #[test]
    fn a_text_fits_one_part_and_falls_back_to_a_language_that_is_there() {
        let templates = Templates::load(None).unwrap();
        assert_eq!(
            text(&templates, None, Some("GB")),
            "Example: your code is 481516. It ends in 4 min. Never share it."
        );
        let (params, code) = (Params::new(), Code::parse("481516").unwrap());
        let head = Letterhead { life: Duration::from_secs(59), ..head(Some("en"), None, &params) };
        let Words::Text(short) = templates.render(Channel::Sms, &head, &code).unwrap() else {
            panic!("a text")
        };
        assert!(short.contains("It ends in less than a minute."), "{}", *short);
        assert!(text(&templates, Some("de-AT"), Some("GB")).starts_with("Example: Ihr Code ist 481516."));
        assert!(text(&templates, None, Some("DE")).contains("Ihr Code"));
        assert!(text(&templates, Some("fr-FR"), None).contains("your code"), "no French: English");
        for locale in ["en", "de"] {
            assert_eq!(gsm7::segments(&text(&templates, Some(locale), None)).parts, 1);
        }
    }

    #[test]
    fn a_call_says_the_code_three_times_digit_by_digit_with_pauses() {
        let templates = Templates::load(None).unwrap();
        let code = Code::parse("48a5").unwrap();
        let words = templates.render(Channel::Voice, &head(None, None, &Params::new()), &code).unwrap();
        let Words::Speech(spoken) = words else { panic!("speech was asked for") };
        let said =
            spoken.parts.iter().filter(|p| matches!(p, Part::Say(s) if s.ends_with("4. 8. A. 5."))).count();
        assert_eq!((said, spoken.language.as_str()), (3, "en-GB"));
        assert!(spoken.parts.iter().filter(|p| matches!(p, Part::Pause(_))).count() >= 3);
    }

    #[test]
    fn unknown_values_and_endless_loops_are_errors_without_values() {
        let folder = std::env::temp_dir().join(format!("otpost-templates-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("bad.en.sms.txt"), "{{ nothing }}").unwrap();
        std::fs::write(folder.join("loop.en.sms.txt"), "{% for i in range(90000) %}{{ code }}{% endfor %}")
            .unwrap();
        let templates = Templates::load(Some(&folder)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let code = Code::parse("481516").unwrap();
        for template in ["bad", "loop", "none"] {
            let params = Params::new();
            let head = Letterhead { template, ..head(None, None, &params) };
            let e = templates.render(Channel::Sms, &head, &code).unwrap_err();
            assert!(!e.to_string().contains("4815"), "{e}");
        }
    }
}
