//! The sentences of the set-up pages.

use super::{Text, WithNumber, WithWord};

/// The page that offers the first method.
pub(crate) struct Choose {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) recommended: Text,
    pub(crate) app: WithWord,
    pub(crate) authenticator: Text,
    pub(crate) phone: Text,
    pub(crate) email: Text,
    pub(crate) later: Text,
}

/// The page that offers a backup.
pub(crate) struct Backup {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) ready: Text,
    pub(crate) recovery: Text,
    pub(crate) recovery_detail: Text,
    pub(crate) phone: Text,
    pub(crate) phone_detail: Text,
    pub(crate) authenticator: Text,
    pub(crate) authenticator_detail: Text,
}

/// The page of a new authenticator app.
pub(crate) struct Authenticator {
    pub(crate) title: Text,
    pub(crate) step_app: Text,
    pub(crate) step_scan: Text,
    pub(crate) step_code: Text,
    pub(crate) apps: Text,
    pub(crate) qr: WithWord,
    pub(crate) open_app: Text,
    pub(crate) cannot_scan: Text,
    pub(crate) key_lead: Text,
    pub(crate) account: Text,
    pub(crate) key: Text,
    pub(crate) kind: Text,
    pub(crate) key_kind: Text,
    pub(crate) first_code: Text,
    pub(crate) submit: Text,
}

/// The page of a new phone.
pub(crate) struct Phone {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) note: Text,
    pub(crate) country: Text,
    pub(crate) number: Text,
    pub(crate) number_hint: Text,
    pub(crate) send_sms: Text,
    pub(crate) call_me: Text,
    pub(crate) sent: (Text, Text),
    pub(crate) calling: (Text, Text),
    pub(crate) sends_used_up: Text,
    pub(crate) change: Text,
    pub(crate) submit: Text,
}

/// Why a number is refused.
pub(crate) struct PhoneErrors {
    pub(crate) missing: Text,
    pub(crate) invalid: Text,
    pub(crate) country: Text,
    pub(crate) kind: Text,
    pub(crate) refused: Text,
    pub(crate) too_many_accounts: Text,
    pub(crate) known: Text,
    pub(crate) limited: WithWord,
}

/// Recovery codes.
pub(crate) struct Recovery {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) none: Text,
    pub(crate) left: WithNumber,
    pub(crate) made: WithWord,
    pub(crate) make: Text,
    pub(crate) make_new: Text,
    pub(crate) replaces: Text,
    pub(crate) new_title: Text,
    pub(crate) new_lead: Text,
    pub(crate) once: Text,
    pub(crate) title_for: WithWord,
    pub(crate) download: Text,
    pub(crate) print_hint: Text,
    pub(crate) file: Text,
    pub(crate) saved: Text,
    pub(crate) submit: Text,
    pub(crate) low: Text,
}

/// The last step of the wizard.
pub(crate) struct TurnOn {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) unconfirmed: Text,
    pub(crate) unconfirmed_lead: Text,
    pub(crate) submit: Text,
}

/// The end of the wizard.
pub(crate) struct Done {
    pub(crate) title: Text,
    pub(crate) lead: WithWord,
    pub(crate) trusted: Text,
    pub(crate) not_trusted: Text,
    pub(crate) settings: Text,
}

/// The page of a new app of the product.
pub(crate) struct AddApp {
    pub(crate) title: WithWord,
    pub(crate) step_install: Text,
    pub(crate) install: Text,
    pub(crate) qr: WithWord,
    pub(crate) here: Text,
    pub(crate) step_code: Text,
    pub(crate) code: Text,
    pub(crate) until: WithWord,
    pub(crate) taken: Text,
    pub(crate) step_digits: Text,
    pub(crate) digits: Text,
    pub(crate) submit: Text,
    pub(crate) new_code: Text,
    pub(crate) needs_script: Text,
}
