//! Writes every page in every state into a folder, for a visual check: `cargo run -p two-step --example pages_preview
//! -- target/pages`.

use std::path::PathBuf;
use std::{env, error, fs};

use askama::Template;
use two_step::pages::view::ended::{End, Ended};
use two_step::pages::view::set_up::{
    AddAuthenticator, AddPhone, Backup, ChooseMethod, Country, NewRecoveryCodes, PhoneCode, PhoneError,
    Place, ReadyMethod, RecoveryCodes, SetUpDone, TurnOn,
};
use two_step::pages::view::settings::{
    Actor, AddEmail, Change, CodeOffer, Device, Devices, EmailCode, EmailError, Entry, FreshProof, History,
    KeptPhone, MethodPage, MethodProblem, MethodRow, Notice, OffError, OnAgain, PhoneChoice, RemoveMethod,
    SettingsHome, TurnOff,
};
use two_step::pages::view::sign_in::{
    Delivery, EnterCode, EntryError, LostPhone, Offer, Purpose, SendProblem, Sends, Trust, Way, Ways,
};
use two_step::pages::view::stop::{Stop, StopResult, Stopped};
use two_step::pages::view::{Accent, Channel, Lang, MethodKind, Page, Proof, assets};

type Outcome<T> = Result<T, Box<dyn error::Error>>;

/// 28 Nov 2026, 14:05 UTC.
const NOW: i64 = 1_795_874_700;
const DAY: i64 = 86_400;
const ID: &str = "0199c0de-0000-7000-8000-000000000001";

/// The pages of one language.
struct Pages {
    page: Page,
    folder: PathBuf,
}

impl Pages {
    fn write(&self, name: &str, view: &impl Template) -> Outcome<()> {
        let html = view.render()?.replace("\"/assets/", "\"../assets/");
        Ok(fs::write(self.folder.join(format!("{name}.html")), html)?)
    }

    fn code(&self, proof: Proof, delivery: Option<Delivery>, error: Option<EntryError>) -> EnterCode {
        let hint = match proof {
            Proof::Sms | Proof::Voice => "42",
            Proof::Email => "j…@example.com",
            Proof::Totp | Proof::App | Proof::Recovery => "",
        };
        let again = Sends { again: Offer::Now, ..Sends::NONE };
        let sends = match proof {
            Proof::Sms => Sends { again: Offer::In(25), call: Offer::Now, text: Offer::Hidden },
            Proof::Voice => Sends { text: Offer::Now, ..again },
            Proof::Email => again,
            Proof::Totp | Proof::App | Proof::Recovery => Sends::NONE,
        };
        EnterCode {
            page: self.page.clone(),
            challenge: ID.to_owned(),
            purpose: Purpose::SignIn,
            method: ID.to_owned(),
            proof,
            hint: hint.to_owned(),
            delivery,
            error,
            trust: Trust::Days(30),
            trust_ticked: false,
            sends,
            other_ways: true,
        }
    }

    fn sign_in(&self) -> Outcome<()> {
        let deliveries = [
            ("sending", Delivery::Sending),
            ("on-its-way", Delivery::OnItsWay),
            ("delivered", Delivery::Delivered),
            ("failed", Delivery::Failed),
            ("landline", Delivery::Landline),
            ("opted-out", Delivery::OptedOut),
            ("refused", Delivery::Refused),
            ("limited", Delivery::Limited(Some(540))),
            ("slow", Delivery::Slow),
            ("expired", Delivery::Expired),
        ];
        for (name, delivery) in deliveries {
            self.write(&format!("code-sms-{name}"), &self.code(Proof::Sms, Some(delivery), None))?;
        }
        let errors = [
            ("wrong", EntryError::Wrong { left: 3 }),
            ("expired", EntryError::Expired),
            ("not-six", EntryError::NotSixDigits),
            ("paused", EntryError::Paused { seconds: 290 }),
        ];
        for (name, error) in errors {
            let view = self.code(Proof::Sms, Some(Delivery::Delivered), Some(error));
            self.write(&format!("code-error-{name}"), &view)?;
        }
        self.write("code-voice", &self.code(Proof::Voice, Some(Delivery::OnItsWay), None))?;
        self.write("code-email", &self.code(Proof::Email, Some(Delivery::OnItsWay), None))?;
        self.write("code-totp", &self.code(Proof::Totp, None, None))?;
        let behind = EntryError::ClockBehind { minutes: 4, left: 2 };
        self.write("code-totp-clock", &self.code(Proof::Totp, None, Some(behind)))?;
        self.write("code-recovery", &self.code(Proof::Recovery, None, None))?;
        let short = Some(EntryError::NotRecoveryCode);
        self.write("code-recovery-short", &self.code(Proof::Recovery, None, short))?;
        let mut used_up = self.code(Proof::Sms, Some(Delivery::Failed), None);
        used_up.sends = Sends { again: Offer::UsedUp, ..Sends::NONE };
        used_up.trust = Trust::Hidden;
        used_up.purpose = Purpose::NewDevice;
        self.write("code-sms-used-up", &used_up)?;
        let way = |proof, name: Option<&str>, hint: &str, wait| {
            let (method, name, hint) = (ID.to_owned(), name.map(str::to_owned), hint.to_owned());
            Way { method, proof, name, hint, wait }
        };
        let ways = vec![
            way(Proof::Totp, None, "", None),
            way(Proof::Sms, Some("Work phone"), "42", Some(25)),
            way(Proof::Voice, Some("Work phone"), "42", None),
            way(Proof::Email, None, "j…@example.com", None),
            way(Proof::Recovery, None, "", None),
        ];
        let (page, challenge) = (self.page.clone(), ID.to_owned());
        self.write(
            "ways",
            &Ways {
                page,
                challenge,
                purpose: Purpose::SignIn,
                ways,
                problem: Some(SendProblem::Limited(60)),
                sent: true,
                back: true,
            },
        )?;
        let phone = |hint: &str| (ID.to_owned(), hint.to_owned());
        for (name, phones) in [
            ("lost-phone", vec![phone("42")]),
            ("lost-one-of-two-phones", vec![phone("42"), phone("17")]),
            ("lost-code-only", vec![]),
        ] {
            let new_code = Some("7H3KQ2MZ9XW4TB6R".to_owned());
            self.write(
                name,
                &LostPhone { page: self.page.clone(), challenge: ID.to_owned(), phones, new_code },
            )?;
        }
        Ok(())
    }

    fn ended(&self) -> Outcome<()> {
        let ends = [
            ("expired", End::Expired, false),
            ("locked", End::Locked(Some(300)), false),
            ("cancelled", End::Cancelled, false),
            ("denied", End::Denied, false),
            ("used", End::Used, false),
            ("other-browser", End::OtherBrowser, false),
            ("no-cookies", End::NoCookies, true),
            ("not-found", End::NotFound, false),
            ("session-expired", End::SessionExpired, false),
            ("unavailable", End::Unavailable(5), true),
            ("too-big", End::TooBig, false),
            ("forbidden", End::Forbidden, false),
            ("rate-limited", End::RateLimited(60), true),
            ("bad-request", End::BadRequest, false),
        ];
        for (name, end, retry) in ends {
            let retry = retry.then(|| "/challenge/1".to_owned());
            self.write(&format!("ended-{name}"), &Ended { page: self.page.clone(), end, retry })?;
        }
        let bare = Page::new(self.page.lang, "", "");
        self.write("ended-no-product", &Ended { page: bare, end: End::NotFound, retry: None })
    }

    fn set_up(&self) -> Outcome<()> {
        let page = || self.page.clone();
        let first = Place::Wizard { step: 1, of: 3 };
        let second = Place::Wizard { step: 2, of: 3 };
        let third = Place::Wizard { step: 3, of: 3 };
        let choose = ChooseMethod {
            page: page(),
            place: first,
            just_off: false,
            app: Some("Shop".to_owned()),
            email: true,
        };
        self.write("setup-choose", &choose)?;
        let ready = ReadyMethod { kind: MethodKind::Phone, hint: "42".to_owned() };
        let email = false;
        self.write("setup-backup", &Backup { page: page(), place: second, ready, app: None, email })?;
        let uri = "otpauth://totp/Shop:jane?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Shop".to_owned();
        let qr_svg = qrcode::QrCode::new(&uri)?.render::<qrcode::render::svg::Color<'_>>().build();
        let mut add = AddAuthenticator {
            page: page(),
            place: first,
            method: ID.to_owned(),
            qr_svg,
            key: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP".to_owned(),
            uri,
            account: "jane".to_owned(),
            error: None,
        };
        self.write("setup-authenticator", &add)?;
        add.error = Some(EntryError::ClockAhead { minutes: 3, left: 4 });
        self.write("setup-authenticator-error", &add)?;
        let country = |code: &str, calling_code| Country { code: code.to_owned(), calling_code };
        let mut phone = AddPhone {
            page: page(),
            place: Place::Settings,
            countries: vec![country("GB", 44), country("DE", 49), country("AT", 43), country("BA", 387)],
            country: "DE".to_owned(),
            number: String::new(),
            sms: true,
            voice: true,
            error: None,
        };
        self.write("setup-phone", &phone)?;
        phone.error = Some(PhoneError::Invalid);
        phone.number.push_str("0151 23");
        self.write("setup-phone-error", &phone)?;
        phone.countries.truncate(1);
        phone.error = None;
        self.write("setup-phone-one-country", &phone)?;
        let mut code = PhoneCode {
            page: page(),
            place: first,
            method: ID.to_owned(),
            number: "+44 7400 123442".to_owned(),
            may_change: true,
            channel: Channel::Sms,
            delivery: Some(Delivery::OnItsWay),
            error: None,
            sends: Sends { again: Offer::In(90), call: Offer::Now, text: Offer::Hidden },
        };
        self.write("setup-phone-code", &code)?;
        code.channel = Channel::Voice;
        code.error = Some(EntryError::Wrong { left: 1 });
        code.sends = Sends { again: Offer::Now, call: Offer::Hidden, text: Offer::Now };
        self.write("setup-phone-code-call", &code)?;
        for (name, left) in [("setup-recovery-make", None), ("recovery-left", Some(7))] {
            let (place, made_at) = (Place::Settings, left.map(|_| NOW - 90 * DAY));
            self.write(name, &RecoveryCodes { page: page(), place, left, made_at })?;
        }
        let code = |place: u64| format!("{:016X}", 0x1F3A_77C2_94D8_6B05_u64.wrapping_mul(place));
        let codes: Vec<String> = (1..=10).map(code).collect();
        let (codes, place) = (codes.clone(), second);
        self.write("setup-recovery-new", &NewRecoveryCodes { page: page(), place, codes, made_at: NOW })?;
        let method = |kind, hint: &str| ReadyMethod { kind, hint: hint.to_owned() };
        let methods = vec![
            method(MethodKind::Totp, ""),
            method(MethodKind::Phone, "42"),
            method(MethodKind::Recovery, "10"),
        ];
        let (kept_phones, removed, trust) = (vec![], vec![], Trust::Days(30));
        let ready = TurnOn {
            page: page(),
            place: third,
            methods: methods.clone(),
            offer_codes: true,
            kept_phones,
            removed,
            trust,
        };
        self.write("setup-turn-on", &ready)?;
        let kept_phones =
            vec![KeptPhone { method: "m2".to_owned(), hint: "17".to_owned(), sms: true, voice: true }];
        let removed = vec![method(MethodKind::Totp, "")];
        let view =
            TurnOn { page: page(), place: third, methods, offer_codes: true, kept_phones, removed, trust };
        self.write("setup-turn-on-unconfirmed", &view)?;
        self.write("setup-done", &SetUpDone { page: page(), trusted: true })
    }

    fn row(kind: MethodKind, name: Option<&str>, hint: &str, preferred: bool) -> MethodRow {
        MethodRow {
            id: ID.to_owned(),
            kind,
            name: name.map(str::to_owned),
            hint: hint.to_owned(),
            preferred,
            notices_only: kind == MethodKind::Email,
            paused: false,
            added_at: NOW - 40 * DAY,
            used_at: preferred.then_some(NOW - DAY),
        }
    }

    fn devices() -> Vec<Device> {
        let device = |label: &str, is_this, days: i64, until: Option<i64>| Device {
            id: ID.to_owned(),
            label: label.to_owned(),
            is_this,
            used_at: NOW - days * DAY,
            until: until.map(|days| NOW + days * DAY),
        };
        vec![
            device("Firefox on Windows", true, 0, Some(30)),
            device("Safari on iPhone", false, 3, Some(27)),
            device("", false, 20, None),
        ]
    }

    fn settings(&self) -> Outcome<()> {
        let page = || self.page.clone();
        let mut paused = Self::row(MethodKind::Phone, Some("Old <phone>"), "17", false);
        paused.paused = true;
        let mut home = SettingsHome {
            add_app: None,
            page: page(),
            notice: Some(Notice::Saved),
            off_due_at: None,
            methods: vec![
                Self::row(MethodKind::Totp, None, "", true),
                Self::row(MethodKind::Phone, Some("Work phone"), "42", false),
                paused.clone(),
            ],
            recovery_left: Some(7),
            devices: Self::devices(),
            add_authenticator: true,
            add_phone: true,
            add_email: true,
        };
        self.write("settings", &home)?;
        home.notice = Some(Notice::LastMethod);
        home.off_due_at = Some(NOW + DAY);
        home.recovery_left = Some(1);
        home.devices.clear();
        self.write("settings-warnings", &home)?;
        let choice = PhoneChoice { channel: Channel::Sms, no_texts: false, voice: true, fallback: true };
        let mut method = MethodPage {
            page: page(),
            notice: None,
            method: Self::row(MethodKind::Phone, Some("Work phone"), "42", false),
            problem: None,
            phone: Some(choice),
            code: CodeOffer::Test,
            may_prefer: true,
            may_remove: true,
        };
        self.write("settings-method", &method)?;
        method.problem =
            Some((MethodProblem::Name { max: 40 }, "A name that is much too long for one line".to_owned()));
        method.method = paused;
        method.phone = Some(PhoneChoice { channel: Channel::Voice, no_texts: true, ..choice });
        (method.may_remove, method.notice) = (false, Some(Notice::TestSent));
        self.write("settings-method-problem", &method)?;
        let remove = Self::row(MethodKind::Phone, Some("Work phone"), "42", false);
        self.write("settings-remove", &RemoveMethod { page: page(), method: remove, is_told: true })?;
        let (devices, notice) = (Self::devices(), Some(Notice::DeviceRevoked));
        self.write("settings-devices", &Devices { page: page(), notice, devices })?;
        self.write("settings-devices-none", &Devices { page: page(), notice: None, devices: Vec::new() })?;
        let entry = |(place, change): (usize, Change)| Entry {
            at: NOW - place as i64 * 50_000,
            change,
            detail: if place % 3 == 0 { "Work phone".to_owned() } else { String::new() },
            actor: [Actor::User, Actor::Product, Actor::Support, Actor::Service][place % 4],
        };
        let entries = Change::ALL.into_iter().enumerate().map(entry).collect();
        let older = Some("/settings/history?before=1".to_owned());
        self.write("settings-history", &History { page: page(), entries, older })?;
        self.write(
            "settings-off",
            &TurnOff { page: page(), has_phone: true, kept_address: None, error: None },
        )?;
        let error = Some(OffError::NotChosen);
        self.write(
            "settings-off-error",
            &TurnOff {
                page: page(),
                has_phone: true,
                kept_address: Some("a•••@example.com".to_owned()),
                error,
            },
        )?;
        let kept = KeptPhone { method: ID.to_owned(), hint: "42".to_owned(), sms: true, voice: true };
        let phones = vec![kept];
        self.write("settings-on-again", &OnAgain { page: page(), was_on: true, just_off: true, phones })?;
        let address = String::new();
        self.write("settings-email", &AddEmail { page: page(), address, second_step: false, error: None })?;
        let (address, error) = ("jane@".to_owned(), Some(EmailError::Invalid));
        self.write("settings-email-error", &AddEmail { page: page(), address, second_step: true, error })?;
        let code = EmailCode {
            page: page(),
            address: "jane.with.a.very.long.name@mail.department.example.com".to_owned(),
            delivery: Some(Delivery::OnItsWay),
            error: None,
            sends: Sends { again: Offer::In(59), ..Sends::NONE },
        };
        self.write("settings-email-code", &code)?;
        let action = "/settings/proof".to_owned();
        self.write("settings-proof", &FreshProof { page: page(), action, expired: false })
    }

    fn stop(&self) -> Outcome<()> {
        let page = || self.page.clone();
        let (token, detail) = ("token".to_owned(), MethodKind::Phone.describe(self.page.lang, "42"));
        let ask = Stop { page: page(), token, change: Change::MethodAdded, detail, at: NOW };
        self.write("stop", &ask)?;
        self.write("stop-done", &Stopped { page: page(), result: StopResult::Stopped })?;
        self.write("stop-late", &Stopped { page: page(), result: StopResult::TooLate })
    }
}

fn main() -> Outcome<()> {
    let root = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "target/pages".to_owned()));
    fs::create_dir_all(root.join("assets"))?;
    for name in ["two-step.css", "two-step.js", "two-step.svg", "accent-7a1fa2.css"] {
        fs::write(root.join("assets").join(name), assets::find(name).ok_or("no such asset")?.body)?;
    }
    for lang in Lang::ALL {
        let folder = root.join(lang.tag());
        fs::create_dir_all(&folder)?;
        let mut page = Page::new(lang, "Shop", "csrf-value");
        page.home = Some("https://shop.example/account".to_owned());
        page.account = Some("ada at the shop".to_owned());
        let pages = Pages { page, folder };
        pages.sign_in()?;
        pages.ended()?;
        pages.set_up()?;
        pages.settings()?;
        pages.stop()?;
        let mut accent = pages.code(Proof::Sms, Some(Delivery::Delivered), None);
        accent.page.accent = Accent::parse("#7a1fa2");
        pages.write("code-accent", &accent)?;
    }
    Ok(())
}
