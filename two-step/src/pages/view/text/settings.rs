//! The sentences of the settings and of the stop page.

use super::{Text, WithNumber, WithWord};

/// The first page of the settings.
pub(crate) struct Settings {
    pub(crate) title: Text,
    pub(crate) lead: WithWord,
    pub(crate) on: Text,
    pub(crate) off: Text,
    pub(crate) off_due: WithWord,
    pub(crate) only_recovery: Text,
    pub(crate) methods: Text,
    pub(crate) preferred: Text,
    pub(crate) notices_only: Text,
    pub(crate) paused: Text,
    pub(crate) added: WithWord,
    pub(crate) last_used: WithWord,
    pub(crate) never_used: Text,
    pub(crate) add_app: WithWord,
    pub(crate) add_authenticator: Text,
    pub(crate) add_phone: Text,
    pub(crate) add_email: Text,
    pub(crate) backup: Text,
    pub(crate) account: Text,
    pub(crate) history: Text,
    pub(crate) history_detail: Text,
    pub(crate) turn_off: Text,
    pub(crate) back: Text,
}

/// The last action.
pub(crate) struct Notices {
    pub(crate) added: Text,
    pub(crate) app_added: Text,
    pub(crate) authenticator_added: Text,
    pub(crate) removed: Text,
    pub(crate) saved: Text,
    pub(crate) test_sent: Text,
    pub(crate) device_revoked: Text,
    pub(crate) all_devices_revoked: Text,
    pub(crate) turned_off: Text,
    pub(crate) last_method: Text,
    pub(crate) test_limited: Text,
    pub(crate) too_many_authenticators: Text,
    pub(crate) too_many_apps: Text,
}

/// One method.
pub(crate) struct MethodPage {
    pub(crate) paused: Text,
    pub(crate) name: Text,
    pub(crate) name_hint: Text,
    pub(crate) name_error: WithNumber,
    pub(crate) save: Text,
    pub(crate) prefer: Text,
    pub(crate) is_preferred: Text,
    pub(crate) not_preferred: Text,
    pub(crate) channel: Text,
    pub(crate) channel_sms: Text,
    pub(crate) channel_voice: Text,
    pub(crate) use_calls: Text,
    pub(crate) use_texts: Text,
    pub(crate) no_texts: Text,
    pub(crate) fallback: Text,
    pub(crate) fallback_on: Text,
    pub(crate) fallback_off: Text,
    pub(crate) switch_on: Text,
    pub(crate) switch_off: Text,
    pub(crate) test: Text,
    pub(crate) test_detail: Text,
    pub(crate) test_send: Text,
    pub(crate) prove: Text,
    pub(crate) prove_detail: Text,
    pub(crate) prove_send: Text,
    pub(crate) remove: Text,
    pub(crate) may_not_remove: Text,
}

/// The confirmation before a method is removed.
pub(crate) struct Remove {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) told: Text,
    pub(crate) submit: Text,
    pub(crate) keep: Text,
}

/// Trusted devices.
pub(crate) struct Devices {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) count: WithNumber,
    pub(crate) none: Text,
    pub(crate) unknown: Text,
    pub(crate) this: Text,
    pub(crate) used: WithWord,
    pub(crate) until: WithWord,
    pub(crate) until_sign_out: Text,
    pub(crate) revoke: Text,
    pub(crate) revoke_named: WithWord,
    pub(crate) revoke_all: Text,
}

/// History.
pub(crate) struct History {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) empty: Text,
    pub(crate) by_you: Text,
    pub(crate) by_product: WithWord,
    pub(crate) by_support: Text,
    pub(crate) by_service: Text,
    pub(crate) older: Text,
    pub(crate) other_network: Text,
    pub(crate) look: Text,
}

/// The account events.
pub(crate) struct Changes {
    pub(crate) method_added: Text,
    pub(crate) method_removed: Text,
    pub(crate) method_paused: Text,
    pub(crate) method_resumed: Text,
    pub(crate) method_key_changed: Text,
    pub(crate) account_on: Text,
    pub(crate) account_off: Text,
    pub(crate) account_paused: Text,
    pub(crate) account_alarm: Text,
    pub(crate) challenge_verified: Text,
    pub(crate) challenge_locked: Text,
    pub(crate) challenge_denied: Text,
    pub(crate) device_trusted: Text,
    pub(crate) device_revoked: Text,
    pub(crate) device_replayed: Text,
    pub(crate) recovery_used: Text,
    pub(crate) recovery_renewed: Text,
    pub(crate) support_asked: Text,
    pub(crate) support_approved: Text,
    pub(crate) support_stopped: Text,
    pub(crate) support_done: Text,
}

/// The pages that turn two-step verification off and on again.
pub(crate) struct Off {
    pub(crate) title: Text,
    pub(crate) lead: WithWord,
    pub(crate) erased: Text,
    pub(crate) phones: Text,
    pub(crate) keep: Text,
    pub(crate) keep_detail: Text,
    pub(crate) erase: Text,
    pub(crate) erase_detail: Text,
    pub(crate) not_chosen: Text,
    pub(crate) address_stays: WithWord,
    pub(crate) submit: Text,
    pub(crate) stay_on: Text,
    pub(crate) again_title: Text,
    pub(crate) again_lead: WithWord,
    pub(crate) kept: Text,
    pub(crate) others: Text,
}

/// The page of a new e-mail address.
pub(crate) struct Email {
    pub(crate) title: Text,
    pub(crate) lead_second_step: Text,
    pub(crate) lead_notices: Text,
    pub(crate) label: Text,
    pub(crate) send: Text,
    pub(crate) change: Text,
    pub(crate) missing: Text,
    pub(crate) invalid: Text,
    pub(crate) known: Text,
    pub(crate) limited: WithWord,
}

/// The page that requests a proof before the settings.
pub(crate) struct Proof {
    pub(crate) title: Text,
    pub(crate) lead: Text,
    pub(crate) lead_expired: Text,
    pub(crate) submit: Text,
}

/// The stop page of a notice.
pub(crate) struct Stop {
    pub(crate) title: Text,
    pub(crate) account: WithWord,
    pub(crate) was_you: Text,
    pub(crate) was_not_you: Text,
    pub(crate) effects: [Text; 3],
    pub(crate) submit: Text,
    pub(crate) stopped: (Text, Text),
    pub(crate) stopped_before: (Text, Text),
    pub(crate) too_late: (Text, Text),
    pub(crate) next: Text,
    pub(crate) step_any_password: Text,
    pub(crate) step_password: WithWord,
    pub(crate) step_methods: Text,
    pub(crate) step_support: Text,
}
