//! English: the set-up pages.

use super::super::{AddApp, Authenticator, Backup, Choose, Done, Phone, PhoneErrors, Recovery, TurnOn};

pub(super) const CHOOSE: Choose = Choose {
    title: "Choose your second step",
    lead: "After your password we ask for a second step. A stolen password alone is then not enough.",
    recommended: "Recommended",
    app: |app| format!("The {app} app on your phone asks you. You type a number into it."),
    authenticator: "An app on your phone shows a new code every 30 seconds. It works without a network, and no code is sent.",
    phone: "We send a code by text or by call. Easy to start with. Others can intercept texts and calls.",
    email: "We send a code to your mailbox. Only as safe as the mailbox.",
    later: "Not now",
};

pub(super) const BACKUP: Backup = Backup {
    title: "Add a backup",
    lead: "Phones get lost. With a backup you can still sign in.",
    ready: "Ready",
    recovery: "Recovery codes",
    recovery_detail: "Ten codes to print or save. Each works once, without a phone.",
    phone: "Another phone",
    phone_detail: "A second number of yours, or of a person whom you trust.",
    authenticator: "Authenticator app",
    authenticator_detail: "An app, best on another device.",
};

pub(super) const AUTHENTICATOR: Authenticator = Authenticator {
    title: "Set up your authenticator app",
    step_app: "Open your authenticator app",
    step_scan: "Scan this QR code with it",
    step_code: "Type the code that it shows",
    apps: "If you have none, install one from your app store. Many password managers can do it too.",
    qr: |product| format!("QR code with the key for {product}"),
    open_app: "Open the app on this device",
    cannot_scan: "I cannot scan it",
    key_lead: "Choose “Enter a setup key” in the app and type this:",
    account: "Account",
    key: "Key",
    kind: "Kind",
    key_kind: "Time-based, six digits",
    first_code: "Six-digit code",
    submit: "Verify and continue",
};

pub(super) const PHONE: Phone = Phone {
    title: "Add a phone",
    lead: "We send a code to check that the number is yours.",
    note: "We use the number for codes and security notices only.",
    country: "Country",
    number: "Phone number",
    number_hint: "Spaces and dashes do not matter.",
    send_sms: "Send a text",
    call_me: "Call me",
    sent: ("We sent a code to ", "."),
    calling: ("We are calling ", ". A voice reads the six digits three times."),
    sends_used_up: "No more codes can be sent to this number for now.",
    change: "Change the number",
    submit: "Verify and continue",
};

pub(super) const PHONE_ERRORS: PhoneErrors = PhoneErrors {
    missing: "Type your phone number.",
    invalid: "This is not a phone number of the chosen country. Check the digits.",
    country: "Numbers of this country are not accepted. Choose one from the list.",
    kind: "Premium and special numbers are not accepted. Use an ordinary number.",
    refused: "We cannot send codes to this number. Use another number.",
    too_many_accounts: "This number belongs to too many accounts. Use another number.",
    known: "You have added this number already.",
    limited: |wait| format!("Too many codes were sent. Try again in {wait}."),
};

pub(super) const RECOVERY: Recovery = Recovery {
    title: "Recovery codes",
    lead: "With a recovery code you can sign in when you have no phone at hand.",
    none: "No codes yet",
    left: |left| if left == 1 { "1 code left".to_owned() } else { format!("{left} codes left") },
    made: |date| format!("Made on {date}"),
    make: "Make codes",
    make_new: "Make new codes",
    replaces: "If you make new codes, the old ones stop working.",
    new_title: "Save your recovery codes",
    new_lead: "We show them only this once. Keep them where you find them without your phone. If you load this page again, it makes new ones, and these stop working.",
    once: "Each code works once.",
    title_for: |product| format!("Recovery codes for {product}"),
    download: "Download",
    print_hint: "You can also print this page, or write the codes down.",
    file: "recovery-codes",
    saved: "I have saved them",
    submit: "Continue",
    low: "Few codes are left. Make new ones soon.",
};

pub(super) const TURN_ON: TurnOn = TurnOn {
    title: "Turn on two-step verification",
    lead: "Everything is ready. From now on we ask for one of these after your password:",
    unconfirmed: "Not confirmed in this visit",
    unconfirmed_lead: "These were added earlier. Turning on removes them, as somebody who knows your password may have added them. To keep a phone, enter a code that we send to it.",
    submit: "Turn on",
};

pub(super) const DONE: Done = Done {
    title: "Two-step verification is on",
    lead: |product| format!("Your account at {product} is now better protected."),
    trusted: "This device is trusted: here we do not ask for a code.",
    not_trusted: "At the next sign-in we ask for your second step.",
    settings: "Open the settings",
};

pub(super) const ADD_APP: AddApp = AddApp {
    title: |app| format!("Set up the {app} app"),
    step_install: "Open the app on your phone",
    install: "Scan this with the phone’s camera, or use the link below to open it on this device. Then add the page to the home screen: the browser’s menu calls it “Install” or “Add to Home Screen”.",
    qr: |app| format!("QR code that opens the {app} app"),
    here: "Open it on this device",
    step_code: "Type this code into the app",
    code: "Set-up code",
    until: |wait| format!("It is good for {wait}."),
    taken: "The code was entered in an app.",
    step_digits: "Type the six digits that the app shows",
    digits: "Six digits",
    submit: "Verify and continue",
    new_code: "Make a new set-up code",
    needs_script: "The app needs JavaScript.",
};
