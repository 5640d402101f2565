//! The `TwiML` of calls (docs pages "`TwiML` Voice: `<Say>`, `<Pause>`, `<Gather>`, `<Hangup>`").

use zeroize::Zeroizing;

use crate::domain::dispatch::{Part, Spoken};

/// Maximum characters of the `TwiML` of a call.
const MAX_CHARS: usize = 4000;
/// Seconds between the two times that the recipient is asked for a key, and after the second.
const KEY_WAIT_S: u8 = 5;

/// Returns a call that speaks everything at once.
pub(super) fn speech(spoken: &Spoken) -> Zeroizing<String> {
    let mut said = Zeroizing::new(String::new());
    for part in &spoken.parts {
        add(&mut said, part, &spoken.language);
    }
    document(&said)
}

/// Returns a call that asks for a key. Twilio then requests `url`, whose answer is [`speech`]. Without a key the call ends.
pub(super) fn key_request(prompt: &str, language: &str, url: &str) -> Zeroizing<String> {
    let mut said = Zeroizing::new(String::new());
    let prompt = Part::Say(Zeroizing::new(prompt.to_owned()));
    for part in [&Part::Pause(1), &prompt, &Part::Pause(KEY_WAIT_S), &prompt] {
        add(&mut said, part, language);
    }
    // With an empty finishOnKey, # is a key as all others.
    let gather = format!(
        "<Gather input=\"dtmf\" numDigits=\"1\" finishOnKey=\"\" timeout=\"{KEY_WAIT_S}\" action=\"{}\">{}</Gather>",
        escape(url).as_str(),
        said.as_str()
    );
    document(&gather)
}

/// Returns an answer that ends the call.
pub(super) fn hang_up() -> Zeroizing<String> {
    document("")
}

fn document(verbs: &str) -> Zeroizing<String> {
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>{verbs}<Hangup/></Response>");
    debug_assert!(xml.chars().count() <= MAX_CHARS, "templates are bounded");
    Zeroizing::new(xml)
}

fn add(verbs: &mut Zeroizing<String>, part: &Part, language: &str) {
    match part {
        Part::Say(text) => {
            let said = format!("<Say language=\"{language}\">{}</Say>", escape(text).as_str());
            **verbs += &Zeroizing::new(said);
        }
        Part::Pause(seconds) => {
            **verbs += "<Pause length=\"";
            **verbs += &seconds.to_string();
            **verbs += "\"/>";
        }
    }
}

fn escape(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
