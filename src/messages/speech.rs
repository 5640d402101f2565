//! The speech of a call: one sentence or pause for each line of a template.

use zeroize::Zeroizing;

use super::{RenderError, key_prompt};
use crate::domain::dispatch::{Code, Part, Spoken};

/// Maximum characters of speech in a carrier's markup (Twilio accepts 4,000 characters in all).
const MAX_MARKUP_CHARS: usize = 3900;
/// Maximum characters of the sentence that asks for a key press, in a carrier's markup. It is spoken twice, beside a URL.
const MAX_PROMPT_CHARS: usize = 1500;

/// Returns the code digit by digit, for a voice to read slowly. Commas separate the digits, because a German voice reads "4." as
/// "fourth".
pub(super) fn spell(code: &Code) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    for c in code.expose().chars() {
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// Parses a rendered template. `code` is the code, and the brand that the sentence for the key names. `None` for a notice.
pub(super) fn read(text: &str, voice: &str, code: Option<(&Code, &str)>) -> Result<Spoken, RenderError> {
    let (mut parts, mut own_prompt) = (vec![], None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match (bracketed(line, "pause"), bracketed(line, "key")) {
            (Some(seconds), _) => parts.push(pause(seconds)?),
            (None, Some(_)) if code.is_none() => {
                return Err(RenderError::Broken(
                    "a notice has no code, so it asks for no key: remove [key …]",
                ));
            }
            (None, Some(_)) if own_prompt.is_some() => {
                return Err(RenderError::Broken("it has more than one [key …]"));
            }
            (None, Some("")) => return Err(RenderError::Broken("[key …] has no sentence")),
            (None, Some(sentence)) => own_prompt = Some(sentence.to_owned()),
            (None, None) => parts.push(Part::Say(Zeroizing::new(line.to_owned()))),
        }
    }
    if parts.iter().map(markup).sum::<usize>() > MAX_MARKUP_CHARS {
        return Err(RenderError::Broken("it is too long for a call; use fewer sentences"));
    }
    let key_prompt = code.map(|(code, brand)| key_prompt(own_prompt, code, voice, brand)).transpose()?;
    Ok(Spoken { language: voice.to_owned(), key_prompt, parts })
}

fn key_prompt(own: Option<String>, code: &Code, voice: &str, brand: &str) -> Result<String, RenderError> {
    let is_too_long = |prompt: &str| markup(&Part::Say(Zeroizing::new(prompt.to_owned()))) > MAX_PROMPT_CHARS;
    let Some(own) = own else {
        let built_in = key_prompt::sentence(voice, brand);
        return if is_too_long(&built_in) {
            Err(RenderError::Broken("the brand is too long for a call"))
        } else {
            Ok(built_in)
        };
    };
    // A brand may have the digits of a code by chance.
    let without_brand = Zeroizing::new(if brand.is_empty() { own.clone() } else { own.replace(brand, " ") });
    let said: Zeroizing<String> =
        Zeroizing::new(without_brand.chars().filter(char::is_ascii_alphanumeric).collect());
    if said.to_ascii_lowercase().contains(&code.expose().to_ascii_lowercase()) {
        return Err(RenderError::Broken(
            "the sentence in [key …] contains the code, which a mailbox would record",
        ));
    }
    if is_too_long(&own) {
        return Err(RenderError::Broken("the sentence in [key …] is too long for a call"));
    }
    Ok(own)
}

/// Returns the rest of a line `[word rest]`.
fn bracketed<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = line.strip_prefix('[')?.strip_prefix(word)?.strip_suffix(']')?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim())
}

fn pause(seconds: &str) -> Result<Part, RenderError> {
    let seconds = seconds.parse().ok().filter(|seconds| (1..=10).contains(seconds));
    seconds.map(Part::Pause).ok_or(RenderError::Broken("a pause is [pause N], N from 1 to 10"))
}

/// Returns an upper bound of the characters of a part in markup, with its tags and escapes.
fn markup(part: &Part) -> usize {
    match part {
        Part::Say(text) => 45 + text.chars().map(|c| if "&<>\"".contains(c) { 6 } else { 1 }).sum::<usize>(),
        Part::Pause(_) => 25,
    }
}
