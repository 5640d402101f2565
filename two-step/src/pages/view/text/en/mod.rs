//! English.

mod set_up;
mod settings;
mod sign_in;

use super::{Common, Methods, Texts, Time};

/// English.
pub(crate) static EN: Texts = Texts {
    common: Common {
        two_step: "Two-step verification",
        language: "Language",
        account: |name| format!("Account: {name}"),
        back_to: |product| format!("Back to {product}"),
        back: "Back",
        cancel: "Cancel",
        error: "Error",
        try_again: "Try again",
        step_of: |step, of| format!("Step {step} of {of}"),
        copy: "Copy",
        copied: "Copied",
        print: "Print",
    },
    time: Time {
        seconds: "s",
        minutes: "min",
        hours: "h",
        days: "days",
        months: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        date: |day, month, year| format!("{day} {month} {year}"),
    },
    methods: Methods {
        phone: "Phone",
        authenticator: "Authenticator app",
        email: "E-mail",
        app: "App",
        recovery: "Recovery codes",
        trusted_device: "Trusted device",
        interceptable: "Can be intercepted",
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
