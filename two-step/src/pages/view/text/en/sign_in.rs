//! English: the sign-in pages and the pages without a form.

use super::super::{AskApp, Deliveries, EndText, Ended, EntryErrors, Lost, SignIn, Ways};

pub(super) const SIGN_IN: SignIn = SignIn {
    title_sms: "Check your text messages",
    title_voice: "Answer your phone",
    title_totp: "Open your authenticator app",
    title_email: "Check your e-mail",
    title_app: "Confirm in the app",
    title_recovery: "Use a recovery code",
    lead_sms: |digits| format!("We sent a code to the number that ends in {digits}."),
    lead_voice: |digits| {
        format!("We are calling the number that ends in {digits}. A voice reads the six digits three times.")
    },
    lead_totp: |product| format!("Type the six digits that it shows for {product}."),
    lead_email: |address| format!("We sent a code to {address}."),
    lead_recovery: "Type one of the codes that you saved. Each code works once.",
    number: |digits| format!("Number that ends in {digits}"),
    new_device: "We ask because you are using a new browser or device.",
    label_digits: "Six-digit code",
    label_recovery: "Recovery code",
    hint_recovery: "16 letters and digits. You may leave out the dashes.",
    trust_days: |days| format!("Trust this device for {days} days"),
    trust_until_sign_out: "Trust this device until I sign out",
    trust_hint: "Do not tick this on a shared device.",
    verify: "Verify",
    send_first: "Send a code",
    send_again: "Send again",
    call_again: "Call again",
    call_instead: "Call me instead",
    text_instead: "Send a text instead",
    ask_again_in: |wait| format!("You can ask again in {wait}."),
    sends_used_up: "No more codes can be sent for this sign-in.",
    other_way: "Use another way",
    check_again: "Check again",
    cancel: "Cancel sign-in",
};

pub(super) const DELIVERIES: Deliveries = Deliveries {
    sms_sending: "Sending the text…",
    sms_on_its_way: "On its way to your phone",
    sms_delivered: "Delivered to your phone",
    sms_failed: "The text may not have arrived. Choose another way below.",
    voice_sending: "Starting the call…",
    voice_on_its_way: "Your phone should ring now. Press any key to hear the code.",
    voice_delivered: "Delivered: we called and read out the code",
    voice_failed: "The call did not get through, or no key was pressed. Choose another way below.",
    email_sending: "Sending the e-mail…",
    email_on_its_way: "On its way. Look in the spam folder too.",
    email_delivered: "Delivered. Look in the spam folder too.",
    email_failed: "The e-mail could not be delivered.",
    landline: "This number cannot receive texts. Choose another way below.",
    opted_out: "This number has blocked our messages. Choose another way below.",
    refused: "We cannot send codes to this number. Choose another way below.",
    limited: "No more codes can be sent this way for now. Choose another way below.",
    limited_until: |wait| {
        format!("The next code can be sent in {wait}. Until then, choose another way below.")
    },
    not_sent: "No code was sent yet. Send one, or choose another way below.",
    slow: "Sending takes longer than usual. You can wait, or choose another way below.",
    expired: "The code expired before it could be sent. Send a new one.",
};

pub(super) const ENTRY_ERRORS: EntryErrors = EntryErrors {
    wrong: "That is not the code.",
    tries_left: |left| if left == 1 { "1 try left.".to_owned() } else { format!("{left} tries left.") },
    expired: "This code has expired. Request a new one.",
    not_six_digits: "Type the six digits.",
    not_recovery_code: "Type all 16 characters of one recovery code.",
    paused: |wait| format!("Too many wrong codes. Sign in again in {wait}."),
    clock_behind: |minutes| {
        format!(
            "Your phone's clock is {minutes} min behind. Set it to automatic time, then type the new code."
        )
    },
    clock_ahead: |minutes| {
        format!(
            "Your phone's clock is {minutes} min ahead. Set it to automatic time, then type the new code."
        )
    },
};

pub(super) const WAYS: Ways = Ways {
    title: "Use another way",
    lead: "Choose how to confirm that it is you.",
    codes_work: "Codes that we sent earlier still work.",
    sms: "Text message",
    voice: "Phone call",
    totp: "Authenticator app",
    email: "E-mail",
    app: "The app",
    recovery: "Recovery code",
    to_number: |digits| format!("To the number that ends in {digits}"),
    possible_in: |wait| format!("Possible in {wait}"),
    telephone_note: "Texts and calls pass through the telephone network, where others can intercept them. An authenticator app is safer.",
    back_to_code: "Back to the code",
    limited: |wait| {
        format!(
            "No code can be sent for now. Try again in {wait}, or choose a way that needs no code from us."
        )
    },
    used_up: "No more codes can be sent for this sign-in. Choose a way that needs no code from us.",
    not_possible: "No code can be sent that way. Choose another one.",
};

pub(super) const LOST: Lost = Lost {
    title: "Your code was correct",
    question: "Have you lost this phone?",
    question_of_many: "Have you lost one of your phones?",
    phone: |digits| format!("Phone with the number that ends in {digits}"),
    explain: "Remove a phone that is lost or stolen. It then gets no more codes.",
    remove: "Remove the phone",
    keep: "Keep the phone",
    keep_all: "Keep them all",
    go_on: "I have saved it, continue",
    new_code_title: "Your new recovery code",
    new_code_lead: "It replaces the one that you used. Save it now: we show it only once.",
};

const SIGN_IN_AGAIN: &str = "Go back to the shop or service and sign in again.";

pub(super) const ENDED: Ended = Ended {
    expired: EndText {
        title: "This sign-in has ended",
        happened: "It was open for too long, so we closed it to keep your account safe.",
        next: SIGN_IN_AGAIN,
    },
    locked: EndText {
        title: "Too many wrong codes",
        happened: "We locked this sign-in to keep your account safe.",
        next: SIGN_IN_AGAIN,
    },
    paused: EndText {
        title: "Too many wrong codes",
        happened: "Signing in to this account is paused to keep it safe.",
        next: SIGN_IN_AGAIN,
    },
    cancelled: EndText {
        title: "This sign-in was cancelled",
        happened: "Nothing was confirmed.",
        next: "You can sign in again at any time.",
    },
    denied: EndText {
        title: "Sign-in stopped",
        happened: "Somebody chose “It was not me”, so we ended this sign-in.",
        next: "If that was a mistake, sign in again. If it was not you who signed in, change your password.",
    },
    used: EndText {
        title: "Already verified",
        happened: "This step was completed, here or in another window.",
        next: "You can close this page.",
    },
    other_browser: EndText {
        title: "Opened in another browser",
        happened: "This sign-in was opened in another browser, or in a private window.",
        next: "Continue there, or sign in again in this browser.",
    },
    no_cookies: EndText {
        title: "We cannot find this page in your browser",
        happened: "It may have expired. Go back to the shop or service and start again. If you see this page again, your browser blocks our cookie. The cookie ties a sign-in to your browser, and holds no personal data.",
        next: "Then sign in again.",
    },
    cookie_steps: [
        "Open your browser's privacy settings.",
        "Allow cookies for this site.",
        "If you opened the page inside another app, open it in your browser.",
    ],
    not_found: EndText {
        title: "Page not found",
        happened: "There is nothing at this address. The link may be incomplete.",
        next: "Go back to the shop or service and start again.",
    },
    session_expired: EndText {
        title: "Your settings have closed",
        happened: "They were open for too long, or a change was stopped. We closed them to keep your account safe.",
        next: "Open them again from your account page.",
    },
    unavailable: EndText {
        title: "Not available right now",
        happened: "We cannot answer at the moment.",
        next: "Please try again in a moment.",
    },
    too_big: EndText {
        title: "That was too much",
        happened: "Your browser sent more data than we accept.",
        next: "Go back and try again with a shorter entry.",
    },
    forbidden: EndText {
        title: "We could not accept that",
        happened: "The form did not come from this page, or the page has expired. Nothing was changed.",
        next: "Go back, reload the page and try again.",
    },
    rate_limited: EndText {
        title: "Too many tries",
        happened: "There were too many tries. Nothing was changed.",
        next: "Please try again later.",
    },
    bad_request: EndText {
        title: "We could not read that",
        happened: "The form was incomplete. Nothing was changed.",
        next: "Go back and try again.",
    },
    sign_in_again_in: |wait| format!("Sign in again in {wait}."),
    try_again_in: |wait| format!("Please try again in {wait}."),
};

pub(super) const ASK_APP: AskApp = AskApp {
    lead: |app, device| match device {
        "" => format!("Open the {app} app on your phone, and type this number:"),
        device => format!("Open the {app} app on {device}, and type this number:"),
    },
    not_asked: |app| format!("Confirm with the {app} app."),
    number: "Number",
    waiting: "Waiting for the app…",
    replaced: "A newer sign-in has replaced this request. Send it again, or use another way.",
    none: "No request is open in the app. Send one now, or use another way.",
    limited: |wait| format!("The app gets no more requests for {wait}. Until then, use another way."),
    late: "Nothing on your phone? Open the app yourself, or use another way.",
    ask_again: "Send the request again",
    code_summary: "Type a code instead",
    code_lead: "The app shows a code under “Show a code”. Type it here.",
};
