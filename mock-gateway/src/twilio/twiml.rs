//! Converts `TwiML` to a transcript.

use std::fmt;

use roxmltree::{Document, Node};

/// Maximum number of times that a repeated `<Say>` is written out. A note replaces the rest.
const MAX_WRITTEN_LOOPS: u32 = 10;

/// The transcript of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Speech {
    /// `(pause 1 s) Your code is: 1. 2. 3. (pause 1 s) Again, …`
    pub(super) transcript: String,
    /// The languages of the speech, in order, each once: `en-US, fr-FR`.
    pub(super) language: Option<String>,
    /// The URL of the first `<Gather>`. It is requested when a key is pressed, and its answer continues the call.
    pub(super) key_action: Option<String>,
}

/// An error in `TwiML`.
///
/// Twilio reports these errors only when the call is answered. Here the request fails with 400. The code is
/// **unverified**.
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

impl From<roxmltree::Error> for TwimlError {
    fn from(error: roxmltree::Error) -> Self {
        Self { code: 12100, reason: error.to_string() }
    }
}

/// Well-formed, but not `TwiML`.
fn schema(reason: impl Into<String>) -> TwimlError {
    TwimlError { code: 12200, reason: reason.into() }
}

/// Parses a document. Document types are refused.
pub(super) fn read(text: &str) -> Result<Speech, TwimlError> {
    let document = Document::parse(text)?;
    let response = document.root_element();
    if !response.has_tag_name("Response") {
        return Err(schema("the outermost element is not Response"));
    }
    let mut heard = Heard::default();
    verbs(response, &mut heard)?;
    let language = (!heard.languages.is_empty()).then(|| heard.languages.join(", "));
    let key_action = heard.key_action.map(str::to_owned);
    Ok(Speech { transcript: heard.parts.join(" "), language, key_action })
}

#[derive(Default)]
struct Heard<'a> {
    parts: Vec<String>,
    languages: Vec<&'a str>,
    key_action: Option<&'a str>,
}

/// The verbs inside of an element.
fn verbs<'a>(parent: Node<'a, '_>, heard: &mut Heard<'a>) -> Result<(), TwimlError> {
    for node in parent.children() {
        if node.is_element() {
            verb(node, heard)?;
        } else if node.text().is_some_and(|text| node.is_text() && !text.trim().is_empty()) {
            return Err(schema("text outside of <Say>"));
        }
    }
    Ok(())
}

fn verb<'a>(node: Node<'a, '_>, heard: &mut Heard<'a>) -> Result<(), TwimlError> {
    match node.tag_name().name() {
        "Say" => {
            if let Some(language) = node.attribute("language")
                && !heard.languages.contains(&language)
            {
                heard.languages.push(language);
            }
            let times = number(node, "loop", 1)?;
            let said = words(node)?;
            // Zero means until the call ends.
            let written = if times == 0 { 1 } else { times.min(MAX_WRITTEN_LOOPS) };
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
            heard.parts.push(format!("(pause {} s)", number(node, "length", 1)?));
            must_be_empty(node)?;
        }
        "Play" => heard.parts.push(format!("(plays {})", words(node)?)),
        "Gather" => {
            verbs(node, heard)?;
            heard.parts.push("(waits for keys)".to_owned());
            heard.key_action = heard.key_action.or(node.attribute("action"));
        }
        "Hangup" => must_be_empty(node)?,
        name => return Err(schema(format!("{name} is not a verb that the mock gateway knows"))),
    }
    Ok(())
}

/// Returns the text of an element without its markup.
fn words(parent: Node<'_, '_>) -> Result<String, TwimlError> {
    let mut text = String::new();
    for node in parent.descendants().skip(1) {
        let name = node.tag_name().name();
        if node.is_text() {
            text.push_str(node.text().unwrap_or_default());
        } else if name == "break" {
            text.push_str(" (pause ");
            text.push_str(node.attribute("time").unwrap_or("a moment"));
            text.push_str(") ");
        } else if name.starts_with(|first: char| first.is_ascii_uppercase()) {
            return Err(schema(format!("{name} is not allowed inside <Say>")));
        }
    }
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn must_be_empty(node: Node<'_, '_>) -> Result<(), TwimlError> {
    if node.has_children() {
        return Err(schema(format!("{} must be empty", node.tag_name().name())));
    }
    Ok(())
}

fn number(node: Node<'_, '_>, name: &str, default: u32) -> Result<u32, TwimlError> {
    let Some(value) = node.attribute(name) else {
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
    fn a_call_with_a_code_twice_has_the_whole_transcript() {
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
    fn repeats_are_written_out_up_to_a_limit() {
        assert_eq!(transcript("<Say loop=\"2\">Hi.</Say>").unwrap(), "Hi. Hi.");
        assert_eq!(transcript("<Say loop=\"0\">Hi.</Say>").unwrap(), "Hi. (again and again)");
        assert!(
            transcript("<Say loop=\"4000000000\">Hi.</Say>")
                .unwrap()
                .ends_with("Hi. (4000000000 times in all)")
        );
    }

    #[test]
    fn voice_markup_is_not_in_the_transcript() {
        let said =
            transcript("<Say>Code <say-as interpret-as=\"digits\">12</say-as><break time=\"1s\"/>end</Say>");
        assert_eq!(said.unwrap(), "Code 12 (pause 1s) end");
    }

    #[test]
    fn a_gather_speaks_its_content_and_waits() {
        assert_eq!(
            transcript("<Gather numDigits=\"1\"><Say>Press 1.</Say></Gather>").unwrap(),
            "Press 1. (waits for keys)"
        );
    }

    #[test]
    fn broken_xml_and_unknown_verbs_have_separate_codes() {
        let code = |inside| transcript(inside).unwrap_err().code;
        assert_eq!(code("<Say>1 & 2</Say>"), 12100);
        assert_eq!(code("<Say>"), 12100);
        assert_eq!(
            read("<!DOCTYPE x [<!ENTITY a 'b'>]><Response><Say>&a;</Say></Response>").unwrap_err().code,
            12100
        );
        for wrong in
            ["<say>Hi</say>", "Hi", "<Pause>1</Pause>", "<Pause length=\"x\"/>", "<Say><Say>Hi</Say></Say>"]
        {
            assert_eq!(code(wrong), 12200, "{wrong}");
        }
        assert_eq!(read("<Reply/>").unwrap_err().code, 12200);
    }
}
