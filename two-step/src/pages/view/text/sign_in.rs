//! The sentences of the sign-in pages and of the pages without a form.

use super::{Text, WithNumber, WithWord};

/// The page with the code field.
pub(crate) struct SignIn {
    pub(crate) title_sms: Text,
    pub(crate) title_voice: Text,
    pub(crate) title_totp: Text,
    pub(crate) title_email: Text,
    pub(crate) title_app: Text,
    pub(crate) title_recovery: Text,
    pub(crate) lead_sms: WithWord,
    pub(crate) lead_voice: WithWord,
    pub(crate) lead_totp: WithWord,
    pub(crate) lead_email: WithWord,
    pub(crate) lead_recovery: Text,
    pub(crate) number: WithWord,
    pub(crate) new_device: Text,
    pub(crate) label_digits: Text,
    pub(crate) label_recovery: Text,
    pub(crate) hint_recovery: Text,
    pub(crate) trust_days: WithNumber,
    pub(crate) trust_until_sign_out: Text,
    pub(crate) trust_hint: Text,
    pub(crate) verify: Text,
    pub(crate) send_first: Text,
    pub(crate) send_again: Text,
    pub(crate) call_again: Text,
    pub(crate) call_instead: Text,
    pub(crate) text_instead: Text,
    pub(crate) ask_again_in: WithWord,
    pub(crate) sends_used_up: Text,
    pub(crate) other_way: Text,
    pub(crate) check_again: Text,
    pub(crate) cancel: Text,
}

/// The delivery state of a code.
pub(crate) struct Deliveries {
    pub(crate) sms_sending: Text,
    pub(crate) sms_on_its_way: Text,
    pub(crate) sms_delivered: Text,
    pub(crate) sms_failed: Text,
    pub(crate) voice_sending: Text,
    pub(crate) voice_on_its_way: Text,
    pub(crate) voice_delivered: Text,
    pub(crate) voice_failed: Text,
    pub(crate) email_sending: Text,
    pub(crate) email_on_its_way: Text,
    pub(crate) email_delivered: Text,
    pub(crate) email_failed: Text,
    pub(crate) landline: Text,
    pub(crate) opted_out: Text,
    pub(crate) refused: Text,
    pub(crate) limited: Text,
    pub(crate) limited_until: WithWord,
    pub(crate) not_sent: Text,
    pub(crate) slow: Text,
    pub(crate) expired: Text,
}

/// Why an entry was refused.
pub(crate) struct EntryErrors {
    pub(crate) wrong: Text,
    pub(crate) tries_left: WithNumber,
    pub(crate) expired: Text,
    pub(crate) not_six_digits: Text,
    pub(crate) not_recovery_code: Text,
    pub(crate) paused: WithWord,
    pub(crate) clock_behind: WithNumber,
    pub(crate) clock_ahead: WithNumber,
}

/// The list of methods.
pub(crate) struct Ways {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) codes_work: Text,
    pub(crate) sms: Text,
    pub(crate) voice: Text,
    pub(crate) totp: Text,
    pub(crate) email: Text,
    pub(crate) app: Text,
    pub(crate) recovery: Text,
    pub(crate) to_number: WithWord,
    pub(crate) possible_in: WithWord,
    pub(crate) telephone_note: Text,
    pub(crate) back_to_code: Text,
    pub(crate) limited: WithWord,
    pub(crate) used_up: Text,
    pub(crate) not_possible: Text,
}

/// The page after a recovery code.
pub(crate) struct Lost {
    pub(crate) title: Text,
    pub(crate) question: Text,
    pub(crate) question_of_many: Text,
    pub(crate) phone: WithWord,
    pub(crate) explain: Text,
    pub(crate) remove: Text,
    pub(crate) keep: Text,
    pub(crate) keep_all: Text,
    pub(crate) go_on: Text,
    pub(crate) new_code_title: Text,
    pub(crate) new_code_lead: Text,
}

/// The title, the cause, and the next step.
pub(crate) struct EndText {
    pub(crate) title: Text,
    pub(crate) happened: Text,
    pub(crate) next: Text,
}

/// The pages without a form.
pub(crate) struct Ended {
    pub(crate) expired: EndText,
    pub(crate) locked: EndText,
    pub(crate) paused: EndText,
    pub(crate) cancelled: EndText,
    pub(crate) denied: EndText,
    pub(crate) used: EndText,
    pub(crate) other_browser: EndText,
    pub(crate) no_cookies: EndText,
    pub(crate) cookie_steps: [Text; 3],
    pub(crate) not_found: EndText,
    pub(crate) session_expired: EndText,
    pub(crate) unavailable: EndText,
    pub(crate) too_big: EndText,
    pub(crate) forbidden: EndText,
    pub(crate) rate_limited: EndText,
    pub(crate) bad_request: EndText,
    pub(crate) sign_in_again_in: WithWord,
    pub(crate) try_again_in: WithWord,
}

/// The page of a request to the app.
pub(crate) struct AskApp {
    pub(crate) lead: fn(&str, &str) -> String,
    pub(crate) not_asked: WithWord,
    pub(crate) number: Text,
    pub(crate) waiting: Text,
    pub(crate) replaced: Text,
    pub(crate) none: Text,
    pub(crate) limited: WithWord,
    pub(crate) late: Text,
    pub(crate) ask_again: Text,
    pub(crate) code_summary: Text,
    pub(crate) code_lead: Text,
}
