use serde_json::json;

use super::*;
use crate::domain::dispatch::Part;

fn head<'a>(locale: Option<&'a str>, country: Option<&'a str>, params: &'a Params) -> RenderInput<'a> {
    RenderInput {
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
    match templates.render(Channel::Sms, &head(locale, country, &Params::new()), Some(&code)).unwrap() {
        RenderedMessage::Text(text) => text.to_string(),
        RenderedMessage::Speech(_) => panic!("a text was asked for"),
    }
}

#[test]
fn what_is_spoken_fits_into_a_carriers_markup() {
    let folder = std::env::temp_dir().join(format!("otpost-speech-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let render = |lines: usize| {
        std::fs::write(
            folder.join("code.en.voice.txt"),
            format!("{{% set _ = code %}}{}", "a & b\n".repeat(lines)),
        )
        .unwrap();
        let templates = Templates::load(Some(&folder)).unwrap();
        let code = Code::parse("481516").unwrap();
        templates.render(Channel::Voice, &head(Some("en"), None, &Params::new()), Some(&code))
    };
    let (fits, too_long) = (render(70), render(71));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(fits.is_ok());
    assert!(matches!(too_long, Err(RenderError::Broken(why)) if why.contains("too long for a call")));
}

#[test]
fn a_text_fits_one_part_and_falls_back_to_a_language_that_is_there() {
    let templates = Templates::load(None).unwrap();
    assert_eq!(
        text(&templates, None, Some("GB")),
        "Example: your code is 481516. It expires in 5 minutes. Never share it."
    );
    let (params, code) = (Params::new(), Code::parse("481516").unwrap());
    let head = RenderInput { life: Duration::from_secs(59), ..head(Some("en"), None, &params) };
    let RenderedMessage::Text(short) = templates.render(Channel::Sms, &head, Some(&code)).unwrap() else {
        panic!("a text")
    };
    assert!(short.contains("It expires in less than a minute."), "{}", *short);
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
    let words = templates.render(Channel::Voice, &head(None, None, &Params::new()), Some(&code)).unwrap();
    let RenderedMessage::Speech(spoken) = words else { panic!("speech was asked for") };
    let said = spoken.parts.iter().filter(|p| matches!(p, Part::Say(s) if s.ends_with("4, 8, A, 5"))).count();
    assert_eq!((said, spoken.language.as_str()), (3, "en-GB"));
    assert!(spoken.parts.iter().filter(|p| matches!(p, Part::Pause(_))).count() >= 3);
    assert_eq!(spoken.key_prompt.as_deref(), Some("This is Example. Press any key to hear your code."));
}

#[test]
fn a_template_may_ask_for_the_key_in_its_own_words_without_the_code() {
    let spoken = |lines: &str| {
        let templates = Folder::with(&[("code.en.voice.txt", lines)]).load().unwrap();
        let code = Code::parse("4815").unwrap();
        match templates.render(Channel::Voice, &head(None, None, &Params::new()), Some(&code)) {
            Ok(RenderedMessage::Speech(spoken)) => Ok((spoken.key_prompt.unwrap(), spoken.parts.len())),
            Ok(RenderedMessage::Text(_)) => panic!("speech was asked for"),
            Err(e) => Err(e.to_string()),
        }
    };
    let own = "[key Press one, {{ brand }} calls.]\n{{ spelled }}\n";
    assert_eq!(spoken(own), Ok(("Press one, Example calls.".to_owned(), 1)));
    for (lines, problem) in [
        ("[key Press one for {{ spelled }}]\n{{ spelled }}", "the sentence in [key …] contains the code"),
        ("[key For {{ code }} press one.]\n{{ spelled }}", "the sentence in [key …] contains the code"),
        (&*format!("[key {}]\n{{{{ code }}}}", "&".repeat(300)), "[key …] is too long for a call"),
        ("[key One.]\n[key Two.]\n{{ code }}", "more than one [key …]"),
        ("[key]\n{{ code }}", "[key …] has no sentence"),
        ("[key ]\n{{ code }}", "[key …] has no sentence"),
        ("{{ spelled }}\n[pause 11]", "a pause is [pause N]"),
    ] {
        assert!(spoken(lines).unwrap_err().contains(problem), "{lines}");
    }
}

#[test]
fn a_brand_with_the_digits_of_the_code_may_ask_for_the_key() {
    let own = "[key Press one, {{ brand }} calls.]\n{{ spelled }}";
    let templates = Folder::with(&[("code.en.voice.txt", own)]).load().unwrap();
    let params = Params::new();
    let input = RenderInput { brand: "Radio 4815", ..head(None, None, &params) };
    let code = Code::parse("4815").unwrap();
    let Ok(RenderedMessage::Speech(spoken)) = templates.render(Channel::Voice, &input, Some(&code)) else {
        panic!("a speech is rendered")
    };
    assert_eq!(spoken.key_prompt.as_deref(), Some("Press one, Radio 4815 calls."));
}

/// Fails if the sentence is ignored, so that nobody learns that it is never spoken.
#[test]
fn a_notice_that_asks_for_a_key_is_not_valid() {
    let folder = Folder::with(&[("note.en.voice.txt", "[key Press one.]\nYour phone was changed.")]);
    let params = Params::new();
    let input = RenderInput { template: "note", ..head(None, None, &params) };
    let problem = folder.load().unwrap().render(Channel::Voice, &input, None).unwrap_err().to_string();
    assert!(problem.contains("asks for no key"), "{problem}");
}

#[test]
fn unknown_values_and_endless_loops_are_errors_without_values() {
    let folder = std::env::temp_dir().join(format!("otpost-templates-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("bad.en.sms.txt"), "{{ code }} {{ nothing }}").unwrap();
    std::fs::write(folder.join("loop.en.sms.txt"), "{% for i in range(90000) %}{{ code }}{% endfor %}")
        .unwrap();
    let templates = Templates::load(Some(&folder)).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let code = Code::parse("481516").unwrap();
    for template in ["bad", "loop", "none"] {
        let params = Params::new();
        let head = RenderInput { template, ..head(None, None, &params) };
        let e = templates.render(Channel::Sms, &head, Some(&code)).unwrap_err();
        assert!(!e.to_string().contains("4815"), "{e}");
    }
}

/// A folder of templates that is deleted on drop.
struct Folder(std::path::PathBuf);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("otpost-templates-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }

    fn load(&self) -> Result<Templates, String> {
        Templates::load(Some(&self.0))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// Renders a built-in template of the two-step service for the brand "Shop".
fn shop(template: &str, language: &str, channel: Channel, params: &Params, life: u64) -> RenderedMessage {
    let (locale, life) = (Some(language), Duration::from_secs(life));
    let head = RenderInput { brand: "Shop", template, locale, country: None, params, life };
    let templates = Templates::load(None).unwrap();
    let code = Code::parse("481516").unwrap();
    let code = (templates.kind(template) == Some(Kind::Code)).then_some(&code);
    templates.render(channel, &head, code).unwrap()
}

fn shop_text(template: &str, language: &str, params: &Params, life: u64) -> String {
    match shop(template, language, Channel::Sms, params, life) {
        RenderedMessage::Text(text) => text.to_string(),
        RenderedMessage::Speech(_) => panic!("a text was asked for"),
    }
}

/// Returns the speech of a call, one line per sentence.
fn shop_speech(template: &str, language: &str, params: &Params) -> String {
    match shop(template, language, Channel::Voice, params, 299) {
        RenderedMessage::Text(_) => panic!("speech was asked for"),
        RenderedMessage::Speech(spoken) => {
            assert_eq!(spoken.key_prompt.is_some(), !template.ends_with("_notice"), "{template}");
            let said = spoken.parts.iter().filter_map(|part| match part {
                Part::Say(text) => Some(text.as_str()),
                Part::Pause(_) => None,
            });
            said.collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn the_last_line_of_a_two_step_text_binds_the_code_to_its_site() {
    let (none, origin) = (Params::new(), params(&[("origin", "verify.shop.example")]));
    let en = "Shop: 481516 is your code. It expires in 5 minutes. Nobody from Shop will ask you for it.";
    let de = "Shop: 481516 ist Ihr Code. Er gilt noch 5 Minuten. Niemand von Shop wird Sie danach fragen.";
    for (language, expected) in [("en", en), ("de", de)] {
        assert_eq!(shop_text("two_step", language, &none, 299), expected);
        let bound = shop_text("two_step", language, &origin, 299);
        assert_eq!(bound, format!("{expected}\n\n@verify.shop.example #481516"));
        let segments = gsm7::segments(&bound);
        assert!(segments.gsm7 && segments.parts == 1, "{segments:?}");
    }
}

#[test]
fn a_text_names_the_minutes_that_a_person_would_say() {
    for (life, expected) in [
        (3600, "in 60 minutes."),
        (240, "in 4 minutes."),
        (245, "in 4 minutes."),
        (246, "in 5 minutes."),
        (299, "in 5 minutes."),
        (301, "in 5 minutes."),
        (66, "in 2 minutes."),
        (61, "in 1 minute."),
        (60, "in 1 minute."),
        (59, "in less than a minute."),
    ] {
        let said = shop_text("two_step", "en", &Params::new(), life);
        assert!(said.contains(expected), "{life} s: {said}");
    }
    assert!(shop_text("two_step", "de", &Params::new(), 60).contains("noch 1 Minute."));
    assert!(shop_text("two_step", "de", &Params::new(), 59).contains("noch weniger als eine Minute."));
}

#[test]
fn no_voice_can_read_a_digit_as_an_ordinal() {
    for language in ["en", "de"] {
        for template in ["code", "two_step"] {
            let said = shop_speech(template, language, &Params::new());
            assert_eq!(said.lines().filter(|line| line.ends_with(": 4, 8, 1, 5, 1, 6")).count(), 3, "{said}");
        }
        assert!(
            shop_speech("two_step", language, &Params::new()).contains("Shop wi"),
            "the call warns that nobody will ask for the code"
        );
    }
}

const ABOUT: [&str; 14] = [
    "method_added",
    "method_removed",
    "turned_on",
    "turned_off",
    "recovery_used",
    "recovery_renewed",
    "number_changed",
    "method_paused",
    "method_resumed",
    "key_changed",
    "paused",
    "denied",
    "support_asked",
    "device_replayed",
];

#[test]
fn a_two_step_notice_says_what_happened_and_where_to_stop_it() {
    let link = params(&SAMPLE_LINK);
    let with = |about: &str| {
        let mut params = link.clone();
        params.insert("about".to_owned(), json!(about));
        params
    };
    let url = format!("https://verify.shop.example/stop/{}", SAMPLE_LINK[1].1);
    assert_eq!(SAMPLE_LINK[1].1.len(), 43, "32 bytes in base64url");
    assert_eq!(
        shop_text("two_step_notice", "en", &with("method_added"), 299),
        format!("Shop: A sign-in method was added to your account. Not you? {url}")
    );
    assert_eq!(
        shop_text("two_step_notice", "de", &with("method_added"), 299),
        format!("Shop: Eine Anmeldemethode wurde hinzugefügt. Waren Sie das nicht? {url}")
    );
    for language in ["en", "de"] {
        let anything_else = shop_text("two_step_notice", language, &with("surprise"), 299);
        assert_eq!(shop_text("two_step_notice", language, &link, 299), anything_else);
        let mut said = std::collections::BTreeSet::from([anything_else]);
        for about in ABOUT {
            let text = shop_text("two_step_notice", language, &with(about), 299);
            let segments = gsm7::segments(&text);
            assert!(segments.gsm7 && segments.parts == 1, "{segments:?}: {text}");
            assert!(text.ends_with(&format!("? {url}")), "{text}");
            let spoken = shop_speech("two_step_notice", language, &with(about));
            assert!(!spoken.contains("http") && !spoken.contains("verify"), "{spoken}");
            let sentence = text.strip_prefix("Shop: ").unwrap().split_inclusive('.').next().unwrap();
            assert_eq!(spoken.matches(sentence).count(), 2, "{sentence}: {spoken}");
            said.insert(text);
        }
        assert_eq!(said.len(), 1 + ABOUT.len(), "each value of `about` has its own sentence");
    }
    // Without both parts of the link, the text has no link.
    for half in [params(&SAMPLE_LINK[..1]), params(&SAMPLE_LINK[1..]), Params::new()] {
        assert_eq!(
            shop_text("two_step_notice", "en", &half, 299),
            "Shop: Your two-step verification was changed. Not you? Sign in and check your account."
        );
        assert!(shop_text("two_step_notice", "de", &half, 299).ends_with("prüfen Sie Ihr Konto."));
    }
}

#[test]
fn a_template_that_does_not_use_the_code_is_a_notice() {
    let folder = Folder::with(&[
        ("spelled.en.voice.txt", "{{ spelled }}"),
        ("asked.en.sms.txt", "{% if code is defined %}x{% endif %}"),
        ("named.en.sms.txt", "{{ brand }}: no code here {# {{ code }} #}"),
        ("own.en.sms.txt", "{% set code = 1 %}{{ code }}"),
    ]);
    let templates = folder.load().unwrap();
    for (template, kind) in [
        ("code", Some(Kind::Code)),
        ("two_step", Some(Kind::Code)),
        ("two_step_notice", Some(Kind::Notice)),
        ("spelled", Some(Kind::Code)),
        ("asked", Some(Kind::Code)),
        ("named", Some(Kind::Notice)),
        ("own", Some(Kind::Notice)),
        ("two", None),
        ("two_step_", None),
    ] {
        assert_eq!(templates.kind(template), kind, "{template}");
    }
}

#[test]
fn a_name_whose_files_are_of_both_kinds_is_refused() {
    let (code, notice) = ("{{ code }}", "hello");
    for (files, both) in [
        (
            &[("a.en.sms.txt", code), ("a.de.sms.txt", notice)][..],
            "a.en.sms.txt uses the code, and a.de.sms.txt does not",
        ),
        (
            &[("a.en.sms.txt", notice), ("a.en.voice.txt", code)],
            "a.en.voice.txt uses the code, and a.en.sms.txt does not",
        ),
        (&[("two_step_notice.fr.sms.txt", code)], "two_step_notice.fr.sms.txt uses the code, and"),
    ] {
        let why = Folder::with(files).load().unwrap_err();
        assert!(why.contains(both), "{why}");
        assert!(
            why.ends_with("either all languages and channels of a template use it, or none does"),
            "{why}"
        );
    }
    assert!(Folder::with(&[("a.en.sms.txt", code), ("b.en.sms.txt", notice)]).load().is_ok());
    // The template of jobs that name none must use the code.
    let files = ["code.en.sms.txt", "code.en.voice.txt", "code.de.sms.txt", "code.de.voice.txt"];
    let why = Folder::with(&files.map(|file| (file, notice))).load().unwrap_err();
    assert!(why.contains("template code does not use the code"), "{why}");
}

/// A reload may have replaced the template for which a dispatch was admitted.
#[test]
fn a_code_is_put_into_no_notice_and_a_notice_into_no_codes_words() {
    let (templates, code) = (Templates::load(None).unwrap(), Code::parse("481516").unwrap());
    let params = params(&[("code", "999999")]);
    for (template, code) in [("code", None), ("two_step_notice", Some(&code))] {
        let head = RenderInput { template, ..head(None, None, &params) };
        let refused = templates.render(Channel::Sms, &head, code);
        assert!(matches!(refused, Err(RenderError::Broken(_))), "{template}: {refused:?}");
    }
}

#[test]
fn a_link_counts_where_texts_are_measured() {
    assert_eq!(Templates::load(None).unwrap().multi_part_texts("Shop"), vec![]);
    let words = "x".repeat(120);
    let folder = Folder::with(&[
        ("short.en.sms.txt", &format!("{words}{{{{ code }}}}")),
        ("long.en.sms.txt", &format!("{words}{{{{ code }}}} {{{{ origin }}}}{{{{ token }}}}")),
        ("notice.en.sms.txt", &format!("{words} https://{{{{ origin }}}}/{{{{ token }}}}")),
        ("other.en.sms.txt", &format!("{words}{words}{{{{ code }}}}{{{{ something }}}}")),
    ]);
    let charged = folder.load().unwrap().multi_part_texts("Shop");
    let charged: Vec<_> = charged.iter().map(|(name, segments)| (name.as_str(), segments.parts)).collect();
    assert_eq!(charged, [("long.en", 2), ("notice.en", 2)]);
}

/// Fails if a file of a region is never used, or if an invisible mark or a carriage return is sent.
#[test]
fn files_are_used_as_their_names_and_texts_say() {
    let folder = Folder::with(&[
        ("code.pt-BR.sms.txt", "\u{feff}{{ brand }}: {{ code }} BR\r\n\r\n@example.com #{{ code }}  \r\n"),
        ("code.pt.sms.txt", "{{ code }} PT"),
        ("code.zh_Hant.sms.txt", "{{ code }} 繁"),
        ("code.DE.sms.txt", "{{ code }} DE"),
    ]);
    let templates = folder.load().unwrap();
    for (locale, expected) in [
        ("pt-BR", "Example: 481516 BR\n\n@example.com #481516"),
        ("pt_BR", "Example: 481516 BR\n\n@example.com #481516"),
        ("pt-PT", "481516 PT"),
        ("zh-TW", "481516 繁"),
        ("zh-Hant-HK", "481516 繁"),
        ("de", "481516 DE"),
    ] {
        assert_eq!(text(&templates, Some(locale), None), expected, "{locale}");
    }
}

#[test]
fn a_file_that_could_never_be_used_is_refused() {
    for (files, why) in [
        (&["code.german.sms.txt"][..], "names no language: write a BCP 47 tag"),
        (&["code.eo.voice.txt"], "no carrier's voice speaks"),
        (&["code.de.sms.txt", "code.DE.sms.txt"], "names the language of another file"),
        (&["code.de.fax.txt"], "the channels are"),
        (&["code.de.txt"], "must be called"),
        (&["Code.de.sms.txt"], "that no job can have as its template"),
        (&[".en.sms.txt"], "that no job can have as its template"),
        (&["log in.en.sms.txt"], "that no job can have as its template"),
        (&["code.de.sms.TXT"], "must end in .txt"),
        (&["code.de.sms.text"], "must end in .txt"),
        (&["code.de.sms.txt "], "must end in .txt"),
        (&["code.de.sms"], "must end in .txt"),
        (&["code.de.sms.txt.txt"], "must be called"),
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|name| (*name, "{{ code }}")).collect();
        let error = Folder::with(&files).load().unwrap_err();
        assert!(error.contains(why), "{files:?}: {error}");
    }
    let folder = Folder::with(&[]);
    std::fs::write(folder.0.join("code.en.sms.txt"), b"\xff\xfe{{ code }}").unwrap();
    assert!(folder.load().unwrap_err().ends_with("is not UTF-8"));
    for other in ["README.md", "README.TXT", ".gitkeep", "..data", "code.en.sms.txt~", "code.en.sms.old"] {
        let folder = Folder::with(&[(other, "{{ nothing")]);
        assert!(folder.load().is_ok(), "{other} is no template");
    }
}

#[test]
fn a_character_that_makes_a_text_dear_is_named_with_its_place() {
    let folder = Folder::with(&[
        ("a.fr.sms.txt", "Votre code\u{a0}: {{ code }}"),
        ("b.en.sms.txt", "{% if minutes %}{{ code }}\nDon’t share it.{% endif %}"),
        ("c.en.sms.txt", "{# ’ #}{{ code }} cafe\u{301}"),
        ("d.en.sms.txt", "Fine: {{ code }} für é"),
    ]);
    let found: Vec<(String, String)> = folder
        .load()
        .unwrap()
        .texts_outside_gsm7()
        .into_iter()
        .map(|(name, place)| (name, place.to_string()))
        .collect();
    let expected = [
        ("a.fr", "U+00A0 (a space that does not break) in line 1, column 11"),
        ("b.en", "U+2019 (a curly quote; write ') in line 2, column 4"),
        (
            "c.en",
            "U+0301 (an accent of its own; write the letter and its accent as one character) in line 1, column 23",
        ),
    ];
    assert_eq!(found, expected.map(|(name, place)| (name.to_owned(), place.to_owned())));
}
