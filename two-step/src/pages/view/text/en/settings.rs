//! English: the settings and the stop page.

use super::super::{
    Changes, Devices, Email, History, MethodPage, Notices, Off, Proof, Remove, Settings, Stop,
};

pub(super) const SETTINGS: Settings = Settings {
    title: "Two-step verification",
    lead: |product| format!("After your password, {product} asks for one of these."),
    on: "On",
    off: "Off",
    off_due: |when| {
        format!(
            "Support will turn off two-step verification on {when}, as requested. If you did not ask for this, sign in with a code. That cancels it."
        )
    },
    only_recovery: "Only your recovery codes sign you in. Add a phone or an authenticator app.",
    methods: "Methods",
    preferred: "Preferred",
    notices_only: "For security notices only",
    paused: "Paused",
    added: |date| format!("Added {date}"),
    last_used: |date| format!("last used {date}"),
    never_used: "never used",
    add_app: |app| format!("Add the {app} app"),
    add_authenticator: "Add an authenticator app",
    add_phone: "Add a phone",
    add_email: "Add an e-mail address",
    backup: "Backup",
    account: "Security",
    history: "History",
    history_detail: "What happened, and when",
    turn_off: "Turn off two-step verification",
    back: "Back to the settings",
};

pub(super) const NOTICES: Notices = Notices {
    added: "Confirmed.",
    app_added: "Confirmed. From now on we ask the app first. To change this, open another method and choose “Ask for this first”.",
    authenticator_added: "Confirmed. From now on we ask for your authenticator app first. To change this, open another method and choose “Ask for this first”.",
    removed: "Removed.",
    saved: "Saved.",
    test_sent: "A test code is on its way. You need not type it anywhere.",
    device_revoked: "That device is no longer trusted.",
    all_devices_revoked: "No device is trusted any more.",
    turned_off: "Two-step verification is off.",
    last_method: "You need a method and a backup. Add another one first, then remove this one.",
    test_limited: "No test code can be sent for now. Please try again later.",
    too_many_apps: "The app is set up on three phones, which is the maximum. Remove one first.",
    too_many_authenticators: "You have as many authenticator apps as possible. Remove one first.",
};

pub(super) const METHOD: MethodPage = MethodPage {
    paused: "Paused: it cannot be used for now.",
    name: "Name",
    name_hint: "For example “My work phone”",
    name_error: |max| format!("Type a name of at most {max} characters."),
    save: "Save",
    prefer: "Ask for this first",
    is_preferred: "We ask for this first.",
    not_preferred: "We ask for another one first.",
    channel: "How the code comes",
    channel_sms: "By text message",
    channel_voice: "By phone call",
    use_calls: "Use calls",
    use_texts: "Use texts",
    no_texts: "This number cannot receive texts. Codes come by call.",
    fallback: "If a text fails, call me",
    fallback_on: "On",
    fallback_off: "Off",
    switch_on: "Switch on",
    switch_off: "Switch off",
    test: "Test",
    test_detail: "Check that codes reach you.",
    test_send: "Send a test code",
    prove: "Use it again",
    prove_detail: "Type one code that we send to it.",
    prove_send: "Send a code",
    remove: "Remove",
    may_not_remove: "You need a method and a backup. Add another one before you remove this one.",
};

pub(super) const REMOVE: Remove = Remove {
    title: "Remove this method?",
    lead: "It can no longer be used to sign in. You can add it again later.",
    told: "We send a last notice to it, and one to your other methods.",
    submit: "Remove it",
    keep: "Keep it",
};

pub(super) const DEVICES: Devices = Devices {
    title: "Trusted devices",
    lead: "On these devices your password is enough. If you do not know one, stop trusting it.",
    count: |n| match n {
        0 => "None".to_owned(),
        1 => "1 device".to_owned(),
        n => format!("{n} devices"),
    },
    none: "No device is trusted. Each sign-in asks for a code.",
    unknown: "Unknown device",
    this: "This device",
    used: |date| format!("Last used {date}"),
    until: |date| format!("Trusted until {date}"),
    until_sign_out: "Trusted until sign-out",
    revoke: "Stop trusting",
    revoke_named: |device| format!("Stop trusting {device}"),
    revoke_all: "Stop trusting all devices",
};

pub(super) const HISTORY: History = History {
    title: "History",
    lead: "If you do not recognise something, change your password.",
    empty: "Nothing happened yet.",
    by_you: "By you",
    by_product: |product| format!("By {product}"),
    by_support: "By support",
    by_service: "Automatically",
    older: "Older entries",
    other_network: "the app was on another network than the browser",
    look: "Please check",
};

pub(super) const CHANGES: Changes = Changes {
    method_added: "A method was added",
    method_removed: "A method was removed",
    method_paused: "A method was paused",
    method_resumed: "A paused method is used again",
    method_key_changed: "An app changed its key",
    account_on: "Two-step verification was turned on",
    account_off: "Two-step verification was turned off",
    account_paused: "Sign-in was paused after wrong codes",
    account_alarm: "A change was reported as not made by you, and stopped",
    challenge_verified: "A second step was confirmed",
    challenge_locked: "A sign-in was locked after wrong codes",
    challenge_denied: "A sign-in was stopped by “It was not me”",
    device_trusted: "A device was trusted",
    device_revoked: "A device is no longer trusted",
    device_replayed: "An old copy of a device's cookie was used, so its trust ended",
    recovery_used: "A recovery code was used",
    recovery_renewed: "New recovery codes were made",
    support_asked: "Support was asked for help with two-step verification",
    support_approved: "Support approved a request",
    support_stopped: "A support request was stopped",
    support_done: "A support request was carried out",
};

pub(super) const OFF: Off = Off {
    title: "Turn off two-step verification?",
    lead: |product| format!("Your password alone will open your account at {product}."),
    erased: "We delete the keys of your authenticator apps, your recovery codes and the list of trusted devices.",
    phones: "What about your phones?",
    keep: "Keep my phone numbers",
    keep_detail: "Turning it on again is quicker.",
    erase: "Delete my phone numbers",
    erase_detail: "We keep no copy.",
    not_chosen: "Choose what happens to your phones.",
    address_stays: |address| format!("Security notices still go to {address}."),
    submit: "Turn off",
    stay_on: "Leave it on",
    again_title: "Turn it on again",
    again_lead: |product| format!("Your password alone opens your account at {product}."),
    kept: "These phone numbers are saved. Enter a code from one of them, then add a backup.",
    others: "Or start with something else",
};

pub(super) const EMAIL: Email = Email {
    title: "Add an e-mail address",
    lead_second_step: "We send a code to check that the address is yours. Later codes go there too.",
    lead_notices: "We send a code to check that the address is yours. Security notices go there.",
    label: "E-mail address",
    send: "Send the code",
    change: "Change the address",
    missing: "Type your e-mail address.",
    invalid: "This is not an e-mail address. Example: name@example.com.",
    known: "You have added this address already.",
    limited: |wait| format!("Too many mails were sent. Try again in {wait}."),
};

pub(super) const PROOF: Proof = Proof {
    title: "Confirm that it is you",
    lead: "Before you see or change these settings, we ask for your second step.",
    lead_expired: "Some time has passed since you last confirmed. Please confirm once more.",
    submit: "Continue",
};

pub(super) const STOP: Stop = Stop {
    title: "Was this you?",
    account: |product| format!("On your account at {product}:"),
    was_you: "If it was you, close this page. Nothing changes.",
    was_not_you: "If it was not you, stop it now. Then:",
    effects: [
        "An added method cannot be used any more.",
        "Open sign-ins, settings and support requests end.",
        "No device is trusted any more.",
    ],
    submit: "It was not me: stop it",
    stopped: (
        "Stopped",
        "We ended all open sign-ins and settings, and told the service. An added method is paused.",
    ),
    stopped_before: ("Stopped already", "This change was stopped before. Nothing more is needed here."),
    too_late: (
        "This link does not work",
        "It is older than seven days, or not complete. Nothing was changed.",
    ),
    next: "What you should do now",
    step_any_password: "Change your password at the shop or service.",
    step_password: |product| format!("Change your password at {product}."),
    step_methods: "Check your methods, and remove what you do not know.",
    step_support: "If you cannot sign in, contact support.",
};
