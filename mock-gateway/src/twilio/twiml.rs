//! Reads `TwiML` as the person on the phone hears it.

use std::fmt;

use super::xml::{self, Piece, XmlError};

/// How often a repeated `<Say>` is written out; beyond it, and for endless ones, a note says so.
const LOOPS_WRITTEN: u32 = 10;

/// What is spoken in a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Speech {
    /// `(pause 1 s) Your code is: 1. 2. 3. (pause 1 s) Again, …`
    pub(super) transcript: String,
    /// The languages of what is said, in order, each once: `en-US, fr-FR`.
    pub(super) language: Option<String>,
}

/// Why `TwiML` cannot be spoken.
///
/// Twilio notices when the call is answered, and then the call fails; saying so at once, with a 400, is more
/// useful here and is **unverified**.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TwimlError {
    pub(super) code: u32,
    reason: String,
}

impl fmt::Display for TwimlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.code == 12100 { "Document parse failure" } else { "Schema validation failure" };
        write!(f, "{kind}: {}", self.reason)
    }
}

impl From<XmlError> for TwimlError {
    fn from(error: XmlError) -> Self {
        Self { code: 12100, reason: error.to_string() }
    }
}

/// Well-formed, but not `TwiML`.
fn schema(reason: impl Into<String>) -> TwimlError {
    TwimlError { code: 12200, reason: reason.into() }
}

/// Read a document.
pub(super) fn read(text: &str) -> Result<Speech, TwimlError> {
    let pieces = xml::read(text)?;
    let mut pieces = pieces.iter();
    match pieces.next() {
        Some(Piece::Open { name, .. }) if name == "Response" => {}
        _ => return Err(schema("the outermost element is not Response")),
    }
    let mut heard = Heard::default();
    verbs(&mut pieces, &mut heard)?;
    let language = (!heard.languages.is_empty()).then(|| heard.languages.join(", "));
    Ok(Speech { transcript: heard.parts.join(" "), language })
}

#[derive(Default)]
struct Heard<'a> {
    parts: Vec<String>,
    languages: Vec<&'a str>,
}

type Pieces<'a> = std::slice::Iter<'a, Piece>;

/// The verbs up to the end of the element they are in.
fn verbs<'a>(pieces: &mut Pieces<'a>, heard: &mut Heard<'a>) -> Result<(), TwimlError> {
    loop {
        match pieces.next() {
            None | Some(Piece::Close) => return Ok(()),
            Some(Piece::Text(text)) if text.trim().is_empty() => {}
            Some(Piece::Text(_)) => return Err(schema("there is text outside of Say")),
            Some(Piece::Open { name, attributes }) => verb(name, attributes, pieces, heard)?,
        }
    }
}

fn verb<'a>(
    name: &str, attributes: &'a [(String, String)], pieces: &mut Pieces<'a>, heard: &mut Heard<'a>,
) -> Result<(), TwimlError> {
    match name {
        "Say" => {
            if let Some(language) = attribute(attributes, "language")
                && !heard.languages.contains(&language)
            {
                heard.languages.push(language);
            }
            let times = number(attributes, "loop", 1)?;
            let said = words(pieces)?;
            // Zero means until the call ends.
            let written = if times == 0 { 1 } else { times.min(LOOPS_WRITTEN) };
            for _ in 0..written {
                heard.parts.push(said.clone());
            }
            match times {
                0 => heard.parts.push("(again and again)".to_owned()),
                more if more > written => heard.parts.push(format!("({more} times in all)")),
                _ => {}
            }
        }
        "Pause" => {
            heard.parts.push(format!("(pause {} s)", number(attributes, "length", 1)?));
            nothing_inside(name, pieces)?;
        }
        "Play" => heard.parts.push(format!("(plays {})", words(pieces)?)),
        "Gather" => {
            verbs(pieces, heard)?;
            heard.parts.push("(waits for keys)".to_owned());
        }
        "Hangup" => nothing_inside(name, pieces)?,
        _ => {
            return Err(schema(format!("{name} is not a verb that the mock gateway knows")));
        }
    }
    Ok(())
}

/// The words inside an element, whatever markup for the voice is around them.
fn words(pieces: &mut Pieces<'_>) -> Result<String, TwimlError> {
    let mut text = String::new();
    let mut depth = 0_u32;
    for piece in pieces {
        match piece {
            Piece::Text(more) => text.push_str(more),
            Piece::Open { name, attributes } => {
                depth += 1;
                if name == "break" {
                    text.push_str(" (pause ");
                    text.push_str(attribute(attributes, "time").unwrap_or("a moment"));
                    text.push_str(") ");
                } else if name.starts_with(|first: char| first.is_ascii_uppercase()) {
                    return Err(schema(format!("{name} must not stand inside of Say")));
                }
            }
            Piece::Close if depth == 0 => break,
            Piece::Close => depth -= 1,
        }
    }
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn nothing_inside(name: &str, pieces: &mut Pieces<'_>) -> Result<(), TwimlError> {
    match pieces.next() {
        Some(Piece::Close) => Ok(()),
        _ => Err(schema(format!("{name} must be empty"))),
    }
}

fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn number(attributes: &[(String, String)], name: &str, default: u32) -> Result<u32, TwimlError> {
    let Some(value) = attribute(attributes, name) else {
        return Ok(default);
    };
    value.parse().map_err(|_| schema(format!("{name}=\"{value}\" is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(inside: &str) -> Result<String, TwimlError> {
        read(&format!("<Response>{inside}</Response>")).map(|speech| speech.transcript)
    }

    #[test]
    fn a_call_that_says_a_code_twice_reads_like_it_sounds() {
        let speech = read(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response>\n  <Pause length=\"1\"/>\n  \
             <Say voice=\"Polly.Joanna\" language=\"en-US\">Your code is: 1. 2. 3.</Say>\n  <Pause/>\n  \
             <Say language=\"fr-FR\">Tom &amp; Zo&#233;: 1. 2. 3.</Say>\n  <Hangup/>\n</Response>",
        );
        let speech = speech.unwrap();
        assert_eq!(speech.transcript, "(pause 1 s) Your code is: 1. 2. 3. (pause 1 s) Tom & Zoé: 1. 2. 3.");
        assert_eq!(speech.language.as_deref(), Some("en-US, fr-FR"));
    }

    #[test]
    fn repeats_are_written_out_but_not_without_end() {
        assert_eq!(transcript("<Say loop=\"2\">Hi.</Say>").unwrap(), "Hi. Hi.");
        assert_eq!(transcript("<Say loop=\"0\">Hi.</Say>").unwrap(), "Hi. (again and again)");
        assert!(
            transcript("<Say loop=\"4000000000\">Hi.</Say>")
                .unwrap()
                .ends_with("Hi. (4000000000 times in all)")
        );
    }

    #[test]
    fn markup_for_the_voice_is_not_heard() {
        let said =
            transcript("<Say>Code <say-as interpret-as=\"digits\">12</say-as><break time=\"1s\"/>end</Say>");
        assert_eq!(said.unwrap(), "Code 12 (pause 1s) end");
    }

    #[test]
    fn a_gather_says_what_is_inside_and_waits() {
        assert_eq!(
            transcript("<Gather numDigits=\"1\"><Say>Press 1.</Say></Gather>").unwrap(),
            "Press 1. (waits for keys)"
        );
    }

    #[test]
    fn broken_xml_and_unknown_verbs_have_codes_of_their_own() {
        let code = |inside| transcript(inside).unwrap_err().code;
        assert_eq!(code("<Say>1 & 2</Say>"), 12100);
        assert_eq!(code("<Say>"), 12100);
        for wrong in
            ["<say>Hi</say>", "Hi", "<Pause>1</Pause>", "<Pause length=\"x\"/>", "<Say><Say>Hi</Say></Say>"]
        {
            assert_eq!(code(wrong), 12200, "{wrong}");
        }
        assert_eq!(read("<Reply/>").unwrap_err().code, 12200);
    }
}
