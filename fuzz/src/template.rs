//! A channel on the first line, then a template: any text is rendered within the carriers' limits, or refused
//! with our own message.

use std::time::Duration;

use otpost::domain::channel::Channel;
use otpost::domain::dispatch::{Code, Kind, Params, Part, RenderedMessage};
use otpost::messages::{RenderInput, Templates, gsm7};
use serde_json::json;

use super::account::form_of;
use super::lines::first_of;

const CODE: &str = "48Ab15Zq16";

/// Fails if spoken text is not escaped (`markup`).
pub fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (channel, template) = first_of(text);
    let Ok(channel) = channel.parse::<Channel>() else { return };
    let mut templates = Templates::load(None).expect("the built-in templates");
    if let Err(why) = templates.add(&format!("given.en.{channel}"), template.to_owned()) {
        assert!(why.starts_with("template given.en.") && why.len() < 100, "{why}");
        return;
    }
    let params: Params = [("word".to_owned(), json!("<&>")), ("n".to_owned(), json!(7))].into();
    let head = RenderInput {
        brand: "Example",
        template: "given",
        locale: Some("en"),
        country: None,
        params: &params,
        life: Duration::from_secs(290),
    };
    let code = Code::parse(CODE).expect("a code");
    let code = (templates.kind("given") == Some(Kind::Code)).then_some(&code);
    match templates.render(channel, &head, code) {
        Err(why) => assert!(!why.to_string().contains(CODE) && why.to_string().len() < 200, "{why}"),
        Ok(words) => is_bounded(&words),
    }
}

/// Asserts the carriers' limits, and that the request contains the text unchanged.
pub(crate) fn is_bounded(words: &RenderedMessage) {
    let form = form_of(words);
    let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    match words {
        RenderedMessage::Text(text) => {
            assert!(text.chars().count() <= 1000 && text.trim() == text.as_str());
            assert_eq!(field("Body"), Some(text.as_str()));
            let segments = gsm7::segments(text);
            let most = if segments.gsm7 { 153 } else { 67 };
            assert!(segments.parts >= 1 && segments.units <= segments.parts * most.max(160));
        }
        RenderedMessage::Speech(spoken) => {
            let twiml = field("Twiml").expect("a call has a text");
            assert!(twiml.chars().count() <= 4000);
            let said = spoken.parts.iter().filter(|part| matches!(part, Part::Say(_))).count();
            let pauses = spoken.parts.len() - said;
            // No spoken text opens or closes a tag.
            assert_eq!(twiml.matches("<Say ").count(), said);
            assert_eq!(twiml.matches('<').count(), 4 + 2 * said + pauses, "{twiml}");
            assert_eq!(twiml.matches('>').count(), 4 + 2 * said + pauses, "{twiml}");
            for part in &spoken.parts {
                match part {
                    Part::Say(text) => assert!(!text.is_empty() && !text.contains('\n')),
                    Part::Pause(seconds) => assert!((1..=10).contains(seconds)),
                }
            }
        }
    }
}
