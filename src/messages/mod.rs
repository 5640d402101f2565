//! Texts and speech from templates.
//!
//! Comes in: a code or a notice, a language, and parameters. Goes out: the text of a message, or the parts of a call. Nothing here
//! sends a message. The carrier writes the markup; only its size is limited here.
//!
//! A template is a file `<name>.<language>.<channel>.txt`. Its variables are `brand`, `code`, `spelled` (the code digit by digit),
//! `minutes` (whole minutes left, rounded down; 0: less than one), `minutes_rounded_up` (the minutes that a person would say) and
//! the params of the job. Any other variable is an error. In speech, each line is a sentence, and `[pause 2]` is a pause of 2 s. A line
//! `[key Press any key.]` is the sentence that asks for a key press.
//!
//! A template that uses neither `code` nor `spelled` is a notice. All files with the same name must be of the same kind.

mod folder;
pub mod gsm7;
mod key_prompt;
mod locale;
mod speech;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use minijinja::{Environment, UndefinedBehavior, Value};
use zeroize::Zeroizing;

use crate::domain::channel::Channel;
use crate::domain::dispatch::{Code, DEFAULT_TEMPLATE, Kind, Params, RenderedMessage};

pub use locale::languages;

/// Maximum steps of rendering a template. It stops endless loops.
const MAX_RENDER_STEPS: u64 = 20_000;
/// Maximum characters of a text. A longer one is an error in its template (Twilio accepts 1,600 characters).
const MAX_TEXT_CHARS: usize = 1000;

/// The built-in templates, compiled in.
const BUILT_IN: &[(&str, &str)] = &[
    ("code.en.sms", include_str!("../../config/templates/code.en.sms.txt")),
    ("code.en.voice", include_str!("../../config/templates/code.en.voice.txt")),
    ("code.de.sms", include_str!("../../config/templates/code.de.sms.txt")),
    ("code.de.voice", include_str!("../../config/templates/code.de.voice.txt")),
    ("two_step.en.sms", include_str!("../../config/templates/two_step.en.sms.txt")),
    ("two_step.en.voice", include_str!("../../config/templates/two_step.en.voice.txt")),
    ("two_step.de.sms", include_str!("../../config/templates/two_step.de.sms.txt")),
    ("two_step.de.voice", include_str!("../../config/templates/two_step.de.voice.txt")),
    ("two_step_notice.en.sms", include_str!("../../config/templates/two_step_notice.en.sms.txt")),
    ("two_step_notice.en.voice", include_str!("../../config/templates/two_step_notice.en.voice.txt")),
    ("two_step_notice.de.sms", include_str!("../../config/templates/two_step_notice.de.sms.txt")),
    ("two_step_notice.de.voice", include_str!("../../config/templates/two_step_notice.de.voice.txt")),
];

/// Sample values to measure texts with a link: a host name of usual length, and a token of 32 bytes.
const SAMPLE_LINK: [(&str, &str); 2] =
    [("origin", "verify.shop.example"), ("token", "c3RvcC10aGlzLXRva2VuLWlzLTMyLWJ5dGVzLWxvbmc")];

/// Why a message cannot be rendered. The error contains no text of a template or a library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There is no template with this name for the channel.
    #[error("there is no template of this name for this channel")]
    Missing,
    /// The template cannot be rendered, for this reason.
    #[error("the template cannot be rendered: {0}")]
    Broken(&'static str),
}

/// All templates, built-in and loaded.
#[derive(Debug)]
pub struct Templates {
    env: Environment<'static>,
    /// The kind of each file, by `<name>.<language>.<channel>`.
    kinds: BTreeMap<String, Kind>,
}

/// The values of a message besides its code.
#[derive(Debug)]
pub struct RenderInput<'a> {
    /// The brand at the beginning of the message.
    pub brand: &'a str,
    /// The template's name.
    pub template: &'a str,
    /// The requested language, if any.
    pub locale: Option<&'a str>,
    /// ISO 3166 country of the number, if known.
    pub country: Option<&'a str>,
    /// Values for the template.
    pub params: &'a Params,
    /// The remaining life of the code or the notice.
    pub life: Duration,
}

impl Templates {
    /// Loads the built-in templates and those of a folder. A file in the folder replaces the built-in template with the same name.
    ///
    /// # Errors
    ///
    /// Returns the error text if a file cannot be read, or a template is not valid.
    pub fn load(folder: Option<&Path>) -> Result<Self, String> {
        let mut all = Self::built_in()?;
        if let Some(folder) = folder {
            for (name, text) in folder::read(folder)? {
                all.add(&name, text)?;
            }
        }
        all.check()?;
        Ok(all)
    }

    fn built_in() -> Result<Self, String> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_fuel(Some(MAX_RENDER_STEPS));
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let mut all = Self { env, kinds: BTreeMap::new() };
        for (name, text) in BUILT_IN {
            all.add(name, (*text).to_owned())?;
        }
        Ok(all)
    }

    /// Adds the template `<name>.<language>.<channel>`, or replaces the one with this name.
    ///
    /// # Errors
    ///
    /// Returns the error text if the template is not valid.
    pub fn add(&mut self, name: &str, text: String) -> Result<(), String> {
        self.env
            .add_template_owned(name.to_owned(), text)
            .map_err(|e| format!("template {name}.txt is not valid (line {})", e.line().unwrap_or(0)))?;
        let template = self.env.get_template(name).expect("it was added");
        let used = template.undeclared_variables(false);
        let uses_code = used.contains("code") || used.contains("spelled");
        self.kinds.insert(name.to_owned(), if uses_code { Kind::Code } else { Kind::Notice });
        Ok(())
    }

    /// Returns whether a template is for a code or for a notice, or `None` if there is no such template.
    pub fn kind(&self, template: &str) -> Option<Kind> {
        let prefix = format!("{template}.");
        let (name, kind) = self.kinds.range(prefix.clone()..).next()?;
        name.starts_with(&prefix).then_some(*kind)
    }

    /// Checks that all files with the same name are of the same kind. The kind of a job holds for all its channels, and its
    /// language may be missing.
    fn check(&self) -> Result<(), String> {
        let mut files = self.kinds.iter().peekable();
        while let Some((file, kind)) = files.next() {
            let name = |file: &String| file.split('.').next().map(str::to_owned);
            let Some((next, other)) = files.peek().filter(|(next, _)| name(next) == name(file)) else {
                continue;
            };
            if kind != *other {
                let (uses, does_not) = if *kind == Kind::Code { (file, *next) } else { (*next, file) };
                return Err(format!(
                    "template {uses}.txt uses the code, and {does_not}.txt does not: either all languages and channels of a template \
                     use it, or none does"
                ));
            }
        }
        if self.kind(DEFAULT_TEMPLATE) == Some(Kind::Notice) {
            return Err(format!(
                "template {DEFAULT_TEMPLATE} does not use the code: jobs without a `template` use it"
            ));
        }
        Ok(())
    }

    /// Returns the texts that are charged as more than one part, with their sizes. They are measured with a sample `origin` and
    /// `token`. Templates that need other params are omitted.
    pub fn multi_part_texts(&self, brand: &str) -> Vec<(String, gsm7::Segments)> {
        let code = Code::parse("481516").expect("a code of six digits");
        let sms = self.kinds.keys().filter_map(|name| name.strip_suffix(".sms").map(str::to_owned));
        let measured = sms.filter_map(|name| {
            let (template, language) = name.split_once('.')?;
            let params = SAMPLE_LINK.map(|(name, value)| (name.to_owned(), value.into())).into();
            let life = Duration::from_mins(5);
            let (locale, country) = (Some(language), None);
            let input = RenderInput { brand, template, locale, country, params: &params, life };
            let code = (self.kind(template)? == Kind::Code).then_some(&code);
            match self.render(Channel::Sms, &input, code).ok()? {
                RenderedMessage::Text(text) => Some((name.clone(), gsm7::segments(&text))),
                RenderedMessage::Speech(_) => None,
            }
        });
        measured.filter(|(_, segments)| segments.parts > 1).collect()
    }

    /// Returns the texts that cannot be sent in GSM-7, each with the first character that is not in it. A text in UCS-2 has 70 characters
    /// in a part instead of 160.
    pub fn texts_outside_gsm7(&self) -> Vec<(String, gsm7::Outside)> {
        let sms = self.kinds.keys().filter_map(|name| name.strip_suffix(".sms").map(|short| (short, name)));
        let first = sms.filter_map(|(short, name)| {
            let template = self.env.get_template(name).ok()?;
            Some((short.to_owned(), gsm7::outside(&without_blocks(template.source()))?))
        });
        first.collect()
    }

    /// Returns the language of a message: the first for which there is a template. `None` without a template.
    pub fn language(
        &self, template: &str, channel: Channel, locale: Option<&str>, country: Option<&str>,
    ) -> Option<String> {
        languages(locale, country).find(|l| self.kinds.contains_key(&format!("{template}.{l}.{channel}")))
    }

    /// Renders a message: with the code, or without one for a notice.
    ///
    /// # Errors
    ///
    /// Returns [`RenderError`] if there is no template, or it cannot be rendered.
    pub fn render(
        &self, channel: Channel, input: &RenderInput<'_>, code: Option<&Code>,
    ) -> Result<RenderedMessage, RenderError> {
        let (language, template) = languages(input.locale, input.country)
            .find_map(|l| {
                let name = format!("{}.{l}.{channel}", input.template);
                self.env.get_template(&name).ok().map(|t| (l, t))
            })
            .ok_or(RenderError::Missing)?;
        // A reload may have replaced the template for which the job was admitted.
        if self.kinds.get(template.name()) != Some(&Kind::of(code)) {
            return Err(RenderError::Broken(match code {
                Some(_) => "it does not use the code of the job",
                None => "it uses a code, and the job has none",
            }));
        }
        let mut values: BTreeMap<String, Value> =
            input.params.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
        values.insert("brand".to_owned(), Value::from(input.brand));
        if let Some(code) = code {
            values.insert("code".to_owned(), Value::from(code.expose()));
            values.insert("spelled".to_owned(), Value::from(speech::spell(code).as_str()));
        }
        let seconds = input.life.as_secs();
        values.insert("minutes".to_owned(), Value::from(seconds / 60));
        values.insert("minutes_rounded_up".to_owned(), Value::from(rounded_up_minutes(seconds)));
        let text = Zeroizing::new(template.render(values).map_err(|e| RenderError::Broken(error_text(&e)))?);
        if text.chars().count() > MAX_TEXT_CHARS {
            return Err(RenderError::Broken("it is longer than 1000 characters"));
        }
        Ok(match channel {
            Channel::Sms => RenderedMessage::Text(Zeroizing::new(text.trim().to_owned())),
            Channel::Voice => {
                let voice = locale::voice(&language, input.locale)
                    .ok_or(RenderError::Broken("no voice speaks its language"))?;
                RenderedMessage::Speech(speech::read(&text, voice, code.map(|code| (code, input.brand)))?)
            }
        })
    }
}

/// Replaces the blocks of a template by spaces, so that its own words keep their lines and columns.
fn without_blocks(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(begin) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        let close = match &rest[begin + 1..begin + 2] {
            "{" => "}}",
            "%" => "%}",
            _ => "#}",
        };
        let end = rest[begin..].find(close).map_or(rest.len(), |end| begin + end + close.len());
        out.push_str(&rest[..begin]);
        out.extend(rest[begin..end].chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &rest[end..];
    }
    out + rest
}

/// Returns the minutes that a person would say: five for 299 s and for 301 s. 0 means less than one.
fn rounded_up_minutes(seconds: u64) -> u64 {
    const FORGIVEN_S: u64 = 5;
    if seconds < 60 { 0 } else { (seconds - FORGIVEN_S).div_ceil(60) }
}

/// Converts a param: a whole number or a short word.
fn plain(value: &serde_json::Value) -> Value {
    value.as_i64().map_or_else(|| Value::from(value.as_str().unwrap_or_default()), Value::from)
}

fn error_text(e: &minijinja::Error) -> &'static str {
    match e.kind() {
        minijinja::ErrorKind::UndefinedError => "it uses a value that the job does not have",
        minijinja::ErrorKind::OutOfFuel => "it takes too many steps",
        _ => "it is not valid for these values",
    }
}
