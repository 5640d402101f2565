//! Kinds of account events, for the history and the stop page.

use super::super::Lang;

/// A kind of account event. The names are the event types of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `method.added`
    MethodAdded,
    /// `method.removed`
    MethodRemoved,
    /// `method.paused`
    MethodPaused,
    /// `method.resumed`
    MethodResumed,
    /// `method.key_changed`
    MethodKeyChanged,
    /// `account.on`
    AccountOn,
    /// `account.off`
    AccountOff,
    /// `account.paused`
    AccountPaused,
    /// `account.alarm`
    AccountAlarm,
    /// `challenge.verified`
    ChallengeVerified,
    /// `challenge.locked`
    ChallengeLocked,
    /// `challenge.denied`
    ChallengeDenied,
    /// `device.trusted`
    DeviceTrusted,
    /// `device.revoked`
    DeviceRevoked,
    /// `device.replayed`
    DeviceReplayed,
    /// `recovery.used`
    RecoveryUsed,
    /// `recovery.renewed`
    RecoveryRenewed,
    /// `support.asked`
    SupportAsked,
    /// `support.approved`
    SupportApproved,
    /// `support.stopped`
    SupportStopped,
    /// `support.done`
    SupportDone,
}

impl Change {
    /// All kinds.
    pub const ALL: [Change; 21] = [
        Self::MethodAdded,
        Self::MethodRemoved,
        Self::MethodPaused,
        Self::MethodResumed,
        Self::MethodKeyChanged,
        Self::AccountOn,
        Self::AccountOff,
        Self::AccountPaused,
        Self::AccountAlarm,
        Self::ChallengeVerified,
        Self::ChallengeLocked,
        Self::ChallengeDenied,
        Self::DeviceTrusted,
        Self::DeviceRevoked,
        Self::DeviceReplayed,
        Self::RecoveryUsed,
        Self::RecoveryRenewed,
        Self::SupportAsked,
        Self::SupportApproved,
        Self::SupportStopped,
        Self::SupportDone,
    ];

    /// The event type of the API.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::MethodAdded => "method.added",
            Self::MethodRemoved => "method.removed",
            Self::MethodPaused => "method.paused",
            Self::MethodResumed => "method.resumed",
            Self::MethodKeyChanged => "method.key_changed",
            Self::AccountOn => "account.on",
            Self::AccountOff => "account.off",
            Self::AccountPaused => "account.paused",
            Self::AccountAlarm => "account.alarm",
            Self::ChallengeVerified => "challenge.verified",
            Self::ChallengeLocked => "challenge.locked",
            Self::ChallengeDenied => "challenge.denied",
            Self::DeviceTrusted => "device.trusted",
            Self::DeviceRevoked => "device.revoked",
            Self::DeviceReplayed => "device.replayed",
            Self::RecoveryUsed => "recovery.used",
            Self::RecoveryRenewed => "recovery.renewed",
            Self::SupportAsked => "support.asked",
            Self::SupportApproved => "support.approved",
            Self::SupportStopped => "support.stopped",
            Self::SupportDone => "support.done",
        }
    }

    /// Reads an event type of the API.
    pub fn from_event_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.event_type() == text)
    }

    /// Describes the event in one sentence.
    pub fn text(self, lang: Lang) -> &'static str {
        let texts = &lang.texts().changes;
        match self {
            Self::MethodAdded => texts.method_added,
            Self::MethodRemoved => texts.method_removed,
            Self::MethodPaused => texts.method_paused,
            Self::MethodResumed => texts.method_resumed,
            Self::MethodKeyChanged => texts.method_key_changed,
            Self::AccountOn => texts.account_on,
            Self::AccountOff => texts.account_off,
            Self::AccountPaused => texts.account_paused,
            Self::AccountAlarm => texts.account_alarm,
            Self::ChallengeVerified => texts.challenge_verified,
            Self::ChallengeLocked => texts.challenge_locked,
            Self::ChallengeDenied => texts.challenge_denied,
            Self::DeviceTrusted => texts.device_trusted,
            Self::DeviceRevoked => texts.device_revoked,
            Self::DeviceReplayed => texts.device_replayed,
            Self::RecoveryUsed => texts.recovery_used,
            Self::RecoveryRenewed => texts.recovery_renewed,
            Self::SupportAsked => texts.support_asked,
            Self::SupportApproved => texts.support_approved,
            Self::SupportStopped => texts.support_stopped,
            Self::SupportDone => texts.support_done,
        }
    }

    /// Whether the line is marked for the user's attention.
    pub(crate) const fn is_alarming(self) -> bool {
        matches!(
            self,
            Self::AccountAlarm
                | Self::AccountPaused
                | Self::ChallengeLocked
                | Self::ChallengeDenied
                | Self::DeviceReplayed
                | Self::MethodPaused
        )
    }
}
