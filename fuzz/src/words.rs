//! Values for templates, one per line: channel, brand, code, locale, country, seconds of life, then the
//! params. The built-in templates print them unchanged: no value is parsed as a template, and the code is in
//! the text.

use std::time::Duration;

use otpost::domain::channel::Channel;
use otpost::domain::dispatch::{Code, Params, Part, RenderedMessage};
use otpost::messages::{RenderInput, Templates};
use serde_json::json;

use super::template::is_bounded;

const ECHO: &str = "{{ brand }}|{{ code }}|{{ word }}|{{ minutes }}";

/// Fails if a brand is parsed as a template (`brand_like_a_template`).
pub fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut given = text.split('\n');
    let mut next = || given.next().unwrap_or_default();
    let (Ok(channel), brand, Ok(code)) = (next().parse::<Channel>(), next(), Code::parse(next())) else {
        return;
    };
    let (locale, country) = (Some(next()).filter(|l| !l.is_empty()), Some(next()).filter(|l| !l.is_empty()));
    let Ok(life) = next().parse::<u32>() else { return };
    let param = next();
    let mut templates = Templates::load(None).expect("the built-in templates");
    templates.add("echo.en.sms", ECHO.to_owned()).expect("a template");
    let params: Params = [("word".to_owned(), json!(param))].into();
    let life = Duration::from_secs(u64::from(life));
    let head = RenderInput { brand, template: "code", locale, country, params: &params, life };

    if let Ok(words) = templates.render(channel, &head, Some(&code)) {
        is_bounded(&words);
        match &words {
            RenderedMessage::Text(text) => assert!(text.contains(code.expose())),
            RenderedMessage::Speech(spoken) => {
                let digits: Vec<String> = code.expose().to_uppercase().chars().map(String::from).collect();
                let spelled = digits.join(", ");
                let ends = |part: &&Part| matches!(part, Part::Say(text) if text.ends_with(&spelled));
                assert!(spoken.parts.iter().filter(ends).count() >= 3, "the code is spoken three times");
            }
        }
    } else {
        assert!(brand.chars().count() > 60 || brand.contains("[pause "), "the built-in templates render");
    }

    let head = RenderInput { template: "echo", ..head };
    let expected = format!("{brand}|{}|{param}|{}", code.expose(), life.as_secs() / 60);
    match templates.render(Channel::Sms, &head, Some(&code)) {
        Ok(RenderedMessage::Text(text)) => assert_eq!(*text, expected.trim()),
        Ok(RenderedMessage::Speech(_)) => panic!("a text was requested"),
        Err(_) => assert!(expected.chars().count() > 1000),
    }
}
