//! Tests of sentences, waits, dates and names on pages.

use super::super::assets;
use super::super::settings::{Change, Notice};
use super::super::sign_in::{Delivery, EntryError, Offer, Trust};
use super::super::stop::Stop;
use super::super::when::{date, date_time, wait};
use super::super::{Accent, Channel, Lang, MethodKind, Proof, country};
use super::samples::{enter_code, html, page};

#[test]
fn waits_are_rounded_up() {
    let english = |seconds| wait(Lang::En, seconds);
    assert_eq!(english(25), "25 s");
    assert_eq!(english(59), "59 s");
    assert_eq!(english(60), "1 min");
    assert_eq!(english(61), "2 min");
    assert_eq!(english(300), "5 min");
    assert_eq!(english(7_201), "3 h");
    assert_eq!(english(172_801), "3 days");
    assert_eq!(wait(Lang::De, 300), "5 min");
    assert_eq!(wait(Lang::De, 259_200), "3 Tagen");
}

#[test]
fn dates_name_their_time_zone() {
    assert_eq!(date_time(Lang::En, 1_795_874_700), "28 Nov 2026, 14:05 UTC");
    assert_eq!(date_time(Lang::De, 1_795_874_700), "28. Nov. 2026, 14:05 UTC");
    assert_eq!(date(Lang::De, 0), "1. Jan. 1970");
    assert_eq!(date(Lang::En, i64::MAX), "1 Jan 1970", "an impossible time does not break a page");
}

#[test]
fn errors_have_the_specified_texts() {
    let english = |error: EntryError| error.text(Lang::En);
    assert_eq!(english(EntryError::Wrong { left: 3 }), "That is not the code. 3 tries left.");
    assert_eq!(english(EntryError::Wrong { left: 1 }), "That is not the code. 1 try left.");
    assert!(english(EntryError::Expired).starts_with("This code has expired."));
    assert_eq!(english(EntryError::NotSixDigits), "Type the six digits.");
    assert_eq!(english(EntryError::Paused { seconds: 300 }), "Too many wrong codes. Sign in again in 5 min.");
    let behind = english(EntryError::ClockBehind { minutes: 4, left: 2 });
    assert!(behind.starts_with("Your phone's clock is 4 min behind.") && behind.ends_with("2 tries left."));
    assert_eq!(EntryError::Wrong { left: 1 }.text(Lang::De), "Das ist nicht der Code. Noch 1 Versuch.");
}

#[test]
fn every_error_and_every_delivery_has_a_sentence_in_each_language() {
    let errors = [
        EntryError::Wrong { left: 2 },
        EntryError::Expired,
        EntryError::NotSixDigits,
        EntryError::NotRecoveryCode,
        EntryError::Paused { seconds: 60 },
        EntryError::ClockBehind { minutes: 1, left: 1 },
        EntryError::ClockAhead { minutes: 1, left: 1 },
    ];
    for error in errors {
        assert_ne!(error.text(Lang::En), error.text(Lang::De));
    }
    let deliveries = [
        Delivery::Sending,
        Delivery::OnItsWay,
        Delivery::Delivered,
        Delivery::Failed,
        Delivery::Landline,
        Delivery::OptedOut,
        Delivery::Refused,
        Delivery::Limited(Some(60)),
        Delivery::Limited(None),
        Delivery::NotSent,
        Delivery::Slow,
        Delivery::Expired,
    ];
    for delivery in deliveries {
        for channel in [Channel::Sms, Channel::Voice, Channel::Email] {
            let [english, german] = Lang::ALL.map(|lang| delivery.text(lang, channel));
            assert!(!english.is_empty() && english != german, "{delivery:?}");
        }
    }
    for change in Change::ALL {
        assert_ne!(change.text(Lang::En), change.text(Lang::De));
        assert_eq!(Change::from_event_type(change.event_type()), Some(change));
    }
    let notices = [
        Notice::Added,
        Notice::AuthenticatorAdded,
        Notice::Removed,
        Notice::Saved,
        Notice::TestSent,
        Notice::DeviceRevoked,
        Notice::AllDevicesRevoked,
        Notice::TurnedOff,
        Notice::LastMethod,
        Notice::TestLimited,
        Notice::TooManyAuthenticators,
    ];
    for notice in notices {
        assert_ne!(notice.text(&page(Lang::En)), notice.text(&page(Lang::De)));
    }
}

#[test]
fn the_code_field_takes_a_one_time_code_and_a_recovery_code_is_not_filled_in() {
    let digits = html(&enter_code(Lang::En, Proof::Sms));
    assert!(digits.contains("type=\"text\" inputmode=\"numeric\" autocomplete=\"one-time-code\""));
    let recovery = html(&enter_code(Lang::En, Proof::Recovery));
    assert!(recovery.contains("inputmode=\"text\" autocomplete=\"off\""));
    assert!(!recovery.contains("one-time-code"));
}

#[test]
fn the_page_shows_the_last_action_and_the_time_of_the_next_send() {
    let page = html(&enter_code(Lang::En, Proof::Sms));
    for words in [
        "We sent a code to the number that ends in 42.",
        "On its way",
        "You can ask again in 25 s.",
        "Check again",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains("role=\"alert\"") && page.contains("aria-invalid=\"true\""));
    assert!(page.contains("<title>Error: "));
}

#[test]
fn the_page_claims_no_send_to_a_refused_number() {
    let mut view = enter_code(Lang::En, Proof::Sms);
    view.delivery = Some(Delivery::Refused);
    let page = html(&view);
    assert!(!page.contains("We sent a code") && page.contains("We cannot send codes to this number"));
}

#[test]
fn the_trust_checkbox_is_unticked_and_absent_if_forbidden() {
    let mut view = enter_code(Lang::En, Proof::Sms);
    let page = html(&view);
    assert!(page.contains("Trust this device for 30 days") && !page.contains(" checked"));
    view.trust = Trust::Hidden;
    assert!(!html(&view).contains("name=\"trust\""));
}

#[test]
fn a_button_that_waits_is_disabled() {
    let mut view = enter_code(Lang::En, Proof::Sms);
    assert!(html(&view).contains("value=\"sms\" disabled"));
    view.sends.again = Offer::after(0);
    assert!(!html(&view).contains("value=\"sms\" disabled"));
}

#[test]
fn a_stop_page_shows_the_event_and_its_time() {
    let page = html(&Stop {
        page: page(Lang::En),
        token: "t1".to_owned(),
        change: Change::MethodAdded,
        detail: MethodKind::Phone.describe(Lang::En, "42"),
        at: 1_795_874_700,
    });
    for words in
        ["A method was added", "Phone · Number that ends in 42", "28 Nov 2026, 14:05 UTC", "It was not me"]
    {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn a_language_is_read_from_a_tag_and_chosen_from_a_header() {
    assert_eq!(Lang::from_tag("de-AT"), Some(Lang::De));
    assert_eq!(Lang::from_tag("fr"), None);
    assert_eq!(Lang::from_header("fr-FR, de;q=0.8, en;q=0.5"), Lang::De);
    assert_eq!(Lang::from_header("en-GB,en;q=0.9,de;q=0.8"), Lang::En);
    assert_eq!(Lang::from_header("de;q=0, *"), Lang::En);
    assert_eq!(Lang::from_header(""), Lang::En);
}

#[test]
fn countries_are_named_in_each_language_and_sorted_as_they_are_read() {
    assert_eq!(country::name(Lang::De, "GB"), Some("Vereinigtes Königreich"));
    assert_eq!(country::name(Lang::En, "XX"), None);
    assert!(country::sort_key("Österreich") < country::sort_key("Polen"));
    assert!(country::codes().is_sorted());
}

#[test]
fn text_on_a_product_colour_can_be_read() {
    let luminance = |hex: &str| {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    };
    for colour in ["#000000", "ffffff", "#767676", "#7a1fa2", "ffcc00", "2e8b57", "ff5a00"] {
        let accent = Accent::parse(colour).unwrap();
        let ink = if accent.style_sheet().contains("#fff}") { 1.0 } else { 0.0 };
        let (ground, ink) = (luminance(&accent.hex()) + 0.05, ink + 0.05);
        assert!(f64::max(ground / ink, ink / ground) >= 4.5, "{colour}");
    }
    for bad in ["red", "#12345", "#1234567", "#12345g", "#+12345", ""] {
        assert_eq!(Accent::parse(bad), None, "{bad}");
    }
}

#[test]
fn assets_are_found_by_name_only() {
    for name in ["two-step.css", "two-step.js", "two-step.svg", "accent-7a1fa2.css"] {
        assert!(assets::find(name).is_some(), "{name}");
    }
    for name in ["", "accent-red.css", "../Cargo.toml", "accent-.css"] {
        assert!(assets::find(name).is_none(), "{name}");
    }
    let style = assets::find("two-step.css").unwrap().body;
    assert!(!style.contains("@import") && style.contains("prefers-color-scheme: dark"));
}
