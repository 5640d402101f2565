//! German.

mod set_up;
mod settings;
mod sign_in;

use super::{Common, Methods, Texts, Time};

/// German.
pub(crate) static DE: Texts = Texts {
    common: Common {
        two_step: "Bestätigung in zwei Schritten",
        language: "Sprache",
        account: |name| format!("Konto: {name}"),
        back_to: |product| format!("Zurück zu {product}"),
        back: "Zurück",
        cancel: "Abbrechen",
        error: "Fehler",
        try_again: "Erneut versuchen",
        step_of: |step, of| format!("Schritt {step} von {of}"),
        copy: "Kopieren",
        copied: "Kopiert",
        print: "Drucken",
    },
    time: Time {
        seconds: "s",
        minutes: "min",
        hours: "h",
        days: "Tagen",
        months: [
            "Jan.", "Feb.", "März", "April", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez.",
        ],
        date: |day, month, year| format!("{day}. {month} {year}"),
    },
    methods: Methods {
        phone: "Telefon",
        authenticator: "Authenticator-App",
        email: "E-Mail",
        app: "App",
        recovery: "Wiederherstellungscodes",
        trusted_device: "Vertrauenswürdiges Gerät",
        interceptable: "Kann abgefangen werden",
    },
    sign_in: sign_in::SIGN_IN,
    delivery: sign_in::DELIVERIES,
    entry_error: sign_in::ENTRY_ERRORS,
    ways: sign_in::WAYS,
    ask_app: sign_in::ASK_APP,
    lost: sign_in::LOST,
    ended: sign_in::ENDED,
    choose: set_up::CHOOSE,
    backup: set_up::BACKUP,
    authenticator: set_up::AUTHENTICATOR,
    add_app: set_up::ADD_APP,
    phone: set_up::PHONE,
    phone_error: set_up::PHONE_ERRORS,
    recovery: set_up::RECOVERY,
    turn_on: set_up::TURN_ON,
    done: set_up::DONE,
    settings: settings::SETTINGS,
    notices: settings::NOTICES,
    method: settings::METHOD,
    remove: settings::REMOVE,
    devices: settings::DEVICES,
    history: settings::HISTORY,
    changes: settings::CHANGES,
    off: settings::OFF,
    email: settings::EMAIL,
    proof: settings::PROOF,
    stop: settings::STOP,
};
