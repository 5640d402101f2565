//! Every page in one language, with values that must be escaped.

use askama::Template;

use super::super::ended::{End, Ended};
use super::super::set_up::*;
use super::super::settings::*;
use super::super::sign_in::*;
use super::super::stop::{Stop, StopResult, Stopped};
use super::super::{Accent, Channel, Lang, MethodKind, Page, Proof};

/// A value that breaks the page if it is not escaped.
pub(super) const HOSTILE: &str = "<b>\"'&";

pub(super) fn page(lang: Lang) -> Page {
    let mut page = Page::new(lang, HOSTILE, "csrf-value");
    page.accent = Accent::parse("7a1fa2");
    page.home = Some("https://shop.example/account".to_owned());
    page.account = Some(HOSTILE.to_owned());
    page
}

pub(super) fn enter_code(lang: Lang, proof: Proof) -> EnterCode {
    EnterCode {
        page: page(lang),
        challenge: "c1".to_owned(),
        purpose: Purpose::SignIn,
        method: "m1".to_owned(),
        proof,
        hint: "42".to_owned(),
        delivery: Some(Delivery::OnItsWay),
        error: Some(EntryError::Wrong { left: 3 }),
        trust: Trust::Days(30),
        trust_ticked: false,
        sends: Sends { again: Offer::In(25), call: Offer::Now, text: Offer::Now },
        other_ways: true,
    }
}

pub(super) fn row(kind: MethodKind) -> MethodRow {
    MethodRow {
        id: "m1".to_owned(),
        kind,
        name: Some(HOSTILE.to_owned()),
        hint: "42".to_owned(),
        preferred: false,
        notices_only: true,
        paused: true,
        added_at: 0,
        used_at: Some(86_400),
    }
}

fn sign_in(lang: Lang, out: &mut Vec<(String, String)>) {
    let mut add = |name: &str, view: &dyn askama::DynTemplate| {
        out.push((name.to_owned(), view.dyn_render().unwrap()));
    };
    for proof in [Proof::Sms, Proof::Voice, Proof::Totp, Proof::Email, Proof::Recovery] {
        add(proof.word(), &enter_code(lang, proof));
    }
    let mut calm = enter_code(lang, Proof::Sms);
    (calm.delivery, calm.error, calm.purpose) = (None, None, Purpose::NewDevice);
    (calm.trust, calm.sends) = (Trust::UntilSignOut, Sends { again: Offer::UsedUp, ..Sends::NONE });
    add("calm", &calm);
    let way = |proof| Way {
        method: "m1".to_owned(),
        proof,
        name: Some(HOSTILE.to_owned()),
        hint: "42".to_owned(),
        wait: Some(25),
    };
    let ways =
        [Proof::Sms, Proof::Voice, Proof::Totp, Proof::Email, Proof::App, Proof::Recovery].map(way).to_vec();
    for problem in [SendProblem::Limited(60), SendProblem::UsedUp, SendProblem::NotPossible] {
        let (page, challenge, ways) = (page(lang), "c1".to_owned(), ways.clone());
        add(
            "ways",
            &Ways {
                page,
                challenge,
                purpose: Purpose::Confirm,
                ways,
                problem: Some(problem),
                sent: true,
                back: true,
            },
        );
    }
    for asking in [Asking::Waiting("012345".to_owned()), Asking::Replaced, Asking::Idle, Asking::Limited(60)]
    {
        let ask = AskApp {
            page: page(lang),
            challenge: "c1".to_owned(),
            purpose: Purpose::SignIn,
            method: "m1".to_owned(),
            app: HOSTILE.to_owned(),
            device: HOSTILE.to_owned(),
            asking,
            error: Some(EntryError::Wrong { left: 3 }),
            trust: Trust::Days(30),
            trust_ticked: true,
            other_ways: true,
        };
        add("ask app", &ask);
    }
    let phone = |id: &str, hint: &str| (id.to_owned(), hint.to_owned());
    for phones in [vec![phone("m1", "42")], vec![phone("m1", "42"), phone("m2", "17")], vec![]] {
        let (page, challenge) = (page(lang), "c1".to_owned());
        add(
            "lost phone",
            &LostPhone { page, challenge, phones, new_code: Some("0123456789ABCDEF".to_owned()) },
        );
    }
    for end in [
        End::Expired,
        End::Locked(Some(300)),
        End::Locked(None),
        End::Paused(60),
        End::Cancelled,
        End::Denied,
        End::Used,
        End::OtherBrowser,
        End::NoCookies,
        End::NotFound,
        End::SessionExpired,
        End::Unavailable(5),
        End::TooBig,
        End::Forbidden,
        End::RateLimited(60),
        End::BadRequest,
    ] {
        add("ended", &Ended { page: page(lang), end, retry: Some("/again".to_owned()) });
    }
}

fn set_up(lang: Lang, out: &mut Vec<(String, String)>) {
    let mut add = |name: &str, view: &dyn askama::DynTemplate| {
        out.push((name.to_owned(), view.dyn_render().unwrap()));
    };
    let page = || page(lang);
    let place = Place::Wizard { step: 1, of: 3 };
    let email = true;
    let app = Some(HOSTILE.to_owned());
    add("choose", &ChooseMethod { page: page(), place, just_off: true, app: app.clone(), email });
    let ready = ReadyMethod { kind: MethodKind::Phone, hint: "42".to_owned() };
    add("backup", &Backup { page: page(), place, ready: ready.clone(), app, email });
    for code in [Some("7K2M-9QX0".to_owned()), None] {
        let add_app = AddApp {
            page: page(),
            place,
            method: "m1".to_owned(),
            app: HOSTILE.to_owned(),
            url: "https://verify.shop.example/app?product=shop".to_owned(),
            qr_svg: "<svg></svg>".to_owned(),
            code,
            seconds: 600,
            error: Some(EntryError::Wrong { left: 3 }),
        };
        add("add app", &add_app);
    }
    let authenticator = AddAuthenticator {
        page: page(),
        place,
        method: "m1".to_owned(),
        qr_svg: "<?xml version=\"1.0\"?><svg viewBox=\"0 0 1 1\"></svg>".to_owned(),
        key: "JBSWY3DPEHPK3PXP".to_owned(),
        uri: "otpauth://totp/Shop?secret=JBSWY3DPEHPK3PXP&issuer=Shop".to_owned(),
        account: HOSTILE.to_owned(),
        error: Some(EntryError::NotSixDigits),
    };
    add("authenticator", &authenticator);
    let country = |code: &str, calling_code| Country { code: code.to_owned(), calling_code };
    let errors = [
        PhoneError::Missing,
        PhoneError::Invalid,
        PhoneError::Country,
        PhoneError::Kind,
        PhoneError::Refused,
        PhoneError::TooManyAccounts,
        PhoneError::Known,
        PhoneError::Limited(60),
    ];
    for (place_in_list, error) in errors.into_iter().enumerate() {
        let mut countries = vec![country("GB", 44), country("AT", 43), country("DE", 49)];
        countries.truncate(if place_in_list == 0 { 1 } else { 3 });
        let (country, number) = ("GB".to_owned(), HOSTILE.to_owned());
        let (page, sms, voice, error) = (page(), place_in_list != 1, true, Some(error));
        add("phone", &AddPhone { page, place, countries, country, number, sms, voice, error });
    }
    for channel in [Channel::Sms, Channel::Voice] {
        let code = PhoneCode {
            page: page(),
            place: Place::Settings,
            method: "m1".to_owned(),
            number: "+44 7400 123442".to_owned(),
            may_change: true,
            channel,
            delivery: Some(Delivery::Sending),
            error: Some(EntryError::Expired),
            sends: Sends { again: Offer::Now, call: Offer::UsedUp, text: Offer::Hidden },
        };
        add("phone code", &code);
    }
    for left in [None, Some(1), Some(7)] {
        add("recovery codes", &RecoveryCodes { page: page(), place, left, made_at: Some(0) });
    }
    let codes = vec!["0123456789ABCDEF".to_owned(); 10];
    add("new codes", &NewRecoveryCodes { page: page(), place, codes, made_at: 0 });
    let methods = vec![ready, ReadyMethod { kind: MethodKind::Recovery, hint: "10".to_owned() }];
    let removed = vec![ReadyMethod { kind: MethodKind::Totp, hint: "Work".to_owned() }];
    let phone = KeptPhone { method: "m2".to_owned(), hint: "42".to_owned(), sms: true, voice: true };
    let trust = Trust::Days(30);
    add(
        "turn on",
        &TurnOn { page: page(), place, methods, offer_codes: true, kept_phones: vec![phone], removed, trust },
    );
    add("done", &SetUpDone { page: page(), trusted: true });
}

fn settings(lang: Lang, out: &mut Vec<(String, String)>) {
    let mut add = |name: &str, view: &dyn askama::DynTemplate| {
        out.push((name.to_owned(), view.dyn_render().unwrap()));
    };
    let page = || page(lang);
    let device =
        |until| Device { id: "d1".to_owned(), label: HOSTILE.to_owned(), is_this: true, used_at: 0, until };
    let devices = vec![device(Some(0)), device(None), Device { label: String::new(), ..device(None) }];
    let home = SettingsHome {
        add_app: Some(HOSTILE.to_owned()),
        page: page(),
        notice: Some(Notice::Saved),
        off_due_at: Some(0),
        methods: [MethodKind::Phone, MethodKind::Totp, MethodKind::Email, MethodKind::App].map(row).to_vec(),
        recovery_left: Some(1),
        devices: devices.clone(),
        add_authenticator: true,
        add_phone: true,
        add_email: true,
    };
    add("home", &home);
    for (channel, no_texts) in [(Channel::Sms, false), (Channel::Voice, false), (Channel::Voice, true)] {
        let method = MethodPage {
            page: page(),
            notice: Some(Notice::LastMethod),
            method: row(MethodKind::Phone),
            problem: Some((MethodProblem::Name { max: 40 }, HOSTILE.to_owned())),
            phone: Some(PhoneChoice { channel, no_texts, voice: true, fallback: true }),
            code: if no_texts { CodeOffer::Prove } else { CodeOffer::Test },
            may_prefer: true,
            may_remove: no_texts,
        };
        add("method", &method);
    }
    add("remove", &RemoveMethod { page: page(), method: row(MethodKind::Phone), is_told: true });
    for devices in [devices, Vec::new()] {
        add("devices", &Devices { page: page(), notice: Some(Notice::DeviceRevoked), devices });
    }
    let actors = [Actor::User, Actor::Product, Actor::Support, Actor::Service];
    let entry = |(place, change): (usize, Change)| Entry {
        at: 0,
        change,
        detail: HOSTILE.to_owned(),
        actor: actors[place % actors.len()],
    };
    let entries = Change::ALL.into_iter().enumerate().map(entry).collect();
    add("history", &History { page: page(), entries, older: Some("/settings/history?before=1".to_owned()) });
    for has_phone in [true, false] {
        add(
            "off",
            &TurnOff {
                page: page(),
                has_phone,
                kept_address: Some(HOSTILE.to_owned()),
                error: Some(OffError::NotChosen),
            },
        );
    }
    let kept = KeptPhone { method: "m1".to_owned(), hint: "42".to_owned(), sms: true, voice: true };
    let phones = vec![kept];
    add("on again", &OnAgain { page: page(), was_on: true, just_off: true, phones });
    let errors = [EmailError::Missing, EmailError::Invalid, EmailError::Known, EmailError::Limited(60)];
    for error in errors.map(Some) {
        let (page, address) = (page(), HOSTILE.to_owned());
        add("email", &AddEmail { page, address, second_step: error == errors.map(Some)[0], error });
    }
    let code = EmailCode {
        page: page(),
        address: "jane@example.com".to_owned(),
        delivery: Some(Delivery::Failed),
        error: Some(EntryError::Expired),
        sends: Sends { again: Offer::In(59), ..Sends::NONE },
    };
    add("email code", &code);
    for expired in [true, false] {
        add("proof", &FreshProof { page: page(), action: "/settings/proof".to_owned(), expired });
    }
    let (token, change, detail) = ("t1".to_owned(), Change::MethodAdded, HOSTILE.to_owned());
    add("stop", &Stop { page: page(), token, change, detail, at: 0 });
    for result in [StopResult::Stopped, StopResult::StoppedBefore, StopResult::TooLate] {
        add("stopped", &Stopped { page: page(), result });
    }
}

/// Returns name and HTML of every page.
pub(super) fn all(lang: Lang) -> Vec<(String, String)> {
    let mut out = Vec::new();
    sign_in(lang, &mut out);
    set_up(lang, &mut out);
    settings(lang, &mut out);
    out
}

/// One page.
pub(super) fn html(view: &impl Template) -> String {
    view.render().unwrap()
}
