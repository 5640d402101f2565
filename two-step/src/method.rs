//! A method: a way for a user to prove their identity.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

/// The kind of a method.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A telephone that receives codes by text or by call.
    Phone,
    /// An authenticator app (RFC 6238).
    Totp,
    /// A mailbox that receives codes.
    Email,
    /// The product's own app.
    App,
    /// A set of ten recovery codes.
    Recovery,
}

/// How a code is sent to a phone.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Display,
    EnumString,
    IntoStaticStr,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// By text message.
    Sms,
    /// By voice call.
    Voice,
}

/// The state of a method.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum MethodState {
    /// Added, and its first code is not verified yet.
    Pending,
    /// Usable.
    Active,
    /// Not usable until another method's proof, a first code or support resumes it.
    Paused,
    /// Removed, and its secrets are erased.
    Removed,
}

/// Wrong codes in a row that pause a method (NIST SP 800-63B, 3.2.2).
pub const MAX_WRONG_IN_A_ROW: u32 = 100;
/// Pause reason: too many wrong codes.
pub const WRONG_CODES: &str = "wrong_codes";
/// Pause reason: the user stopped the method on a notice's stop page, because somebody else added it.
pub const STOPPED: &str = "stopped";
/// Pause reason of an app: the user denied two requests. The app gets requests again after an hour.
pub const DENIED: &str = "denied";
/// Pause reason of an app that deleted its key while the account needs the method.
pub const UNREGISTERED: &str = "unregistered";
/// Maximum time that a method may be pending.
pub const PENDING_LIFE: Duration = Duration::from_secs(30 * 60);
/// Maximum number of authenticators of one account.
pub const MAX_AUTHENTICATORS: usize = 3;

/// A way for a user to prove their identity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are columns")]
pub struct Method {
    /// The id.
    pub id: Uuid,
    /// The account.
    pub account: Uuid,
    /// The kind.
    pub kind: Kind,
    /// The state.
    pub state: MethodState,
    /// Why it is paused or removed: a constant of this module, or otpost's reason.
    pub reason: Option<String>,
    /// The user's own name for it.
    pub label: Option<String>,
    /// Whether it is the preferred method.
    pub preferred: bool,
    /// How codes are sent to a phone.
    pub channel: Option<Channel>,
    /// Whether a call follows a text that failed.
    pub fallback: bool,
    /// Whether the number cannot receive texts, such as a landline.
    pub no_texts: bool,
    /// Keyed hash of the number or address.
    pub target_hash: Option<String>,
    /// The number or address, sealed.
    pub target_sealed: Option<String>,
    /// The masked target for pages: the last two digits of a number, or the first letter and the domain of an address.
    pub hint: String,
    /// The key of an authenticator, sealed.
    pub secret_sealed: Option<String>,
    /// The last 30-second step whose code was accepted.
    pub totp_step: Option<i64>,
    /// Number of wrong codes in a row.
    pub wrong: u32,
    /// When it was added.
    pub created_at: Timestamp,
    /// When its first code was verified.
    pub verified_at: Option<Timestamp>,
    /// When it was last used for a proof.
    pub used_at: Option<Timestamp>,
    /// The settings session in which it was proved, or in which the recovery codes were saved.
    pub proved_in: Option<Uuid>,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
    /// Whether the product validated the address. Otherwise the user verified it with a code.
    pub from_product: bool,
}

impl Method {
    /// Creates a pending method.
    pub fn new(id: Uuid, account: Uuid, kind: Kind, now: Timestamp) -> Self {
        Self {
            id,
            account,
            kind,
            state: MethodState::Pending,
            reason: None,
            label: None,
            preferred: false,
            channel: None,
            fallback: true,
            no_texts: false,
            target_hash: None,
            target_sealed: None,
            hint: String::new(),
            secret_sealed: None,
            totp_step: None,
            wrong: 0,
            created_at: now,
            verified_at: None,
            used_at: None,
            proved_in: None,
            removed_at: None,
            from_product: false,
        }
    }

    /// Returns whether a challenge may use it.
    pub fn is_active(&self) -> bool {
        self.state == MethodState::Active
    }

    /// Returns whether it was proved once and not removed since.
    pub fn is_kept(&self) -> bool {
        matches!(self.state, MethodState::Active | MethodState::Paused)
    }

    /// Returns whether it is active and was proved in this settings session.
    pub fn is_proved_in(&self, visit: Uuid) -> bool {
        self.is_active() && self.proved_in == Some(visit)
    }

    /// Activates it.
    pub fn activate(&mut self, now: Timestamp) {
        self.state = MethodState::Active;
        self.reason = None;
        self.wrong = 0;
        self.verified_at.get_or_insert(now);
    }

    /// Counts a wrong code. Returns whether this code paused the method.
    pub fn count_wrong(&mut self) -> bool {
        self.wrong = self.wrong.saturating_add(1);
        let pauses = self.state == MethodState::Active && self.wrong >= MAX_WRONG_IN_A_ROW;
        if pauses {
            self.pause(WRONG_CODES);
        }
        pauses
    }

    /// Resets the count of wrong codes after a right one.
    pub fn count_right(&mut self, now: Timestamp) {
        self.wrong = 0;
        self.used_at = Some(now);
    }

    /// Pauses it.
    pub fn pause(&mut self, reason: &str) {
        self.state = MethodState::Paused;
        self.reason = Some(reason.to_owned());
    }

    /// Returns whether it is paused for this reason.
    pub fn is_paused_for(&self, reason: &str) -> bool {
        self.state == MethodState::Paused && self.reason.as_deref() == Some(reason)
    }

    /// Erases its secrets. The row stays for a while, because the history names it.
    pub fn remove(&mut self, reason: &str, now: Timestamp) {
        self.state = MethodState::Removed;
        self.reason = Some(reason.to_owned());
        self.preferred = false;
        self.removed_at = Some(now);
        (self.target_hash, self.target_sealed, self.secret_sealed) = (None, None, None);
    }
}

/// Returns whether this kind of method suffices as a second step. Recovery codes are a backup only. E-mail suffices if
/// the configuration allows it.
pub fn is_primary(kind: Kind, email_second_step: bool) -> bool {
    match kind {
        Kind::Phone | Kind::Totp | Kind::App => true,
        Kind::Email => email_second_step,
        Kind::Recovery => false,
    }
}

/// Returns whether two-step verification may be on with these methods: one that suffices, and a backup.
pub fn may_be_on(active: &[Kind], email_second_step: bool) -> bool {
    let primaries = active.iter().filter(|k| is_primary(**k, email_second_step)).count();
    primaries >= 1 && (primaries >= 2 || active.contains(&Kind::Recovery))
}

/// Returns whether the user could still sign in without this method: by another one or by a recovery code.
pub fn signs_in_without(methods: &[Method], id: Uuid, email_second_step: bool) -> bool {
    let proves = |m: &&Method| is_primary(m.kind, email_second_step) || m.kind == Kind::Recovery;
    methods.iter().filter(|m| m.id != id && m.is_active()).any(|m| proves(&m))
}

/// Returns the method that a challenge starts with: the preferred one, else an authenticator, a phone or an e-mail address.
pub fn first<'a>(methods: &'a [Method], email_second_step: bool) -> Option<&'a Method> {
    let usable = || methods.iter().filter(|m| m.is_active() && is_primary(m.kind, email_second_step));
    let rank = |m: &&&'a Method| match m.kind {
        Kind::App => 0,
        Kind::Totp => 1,
        Kind::Phone => 2,
        Kind::Email => 3,
        Kind::Recovery => 4,
    };
    let preferred = usable().find(|m| m.preferred);
    let usable: Vec<&Method> = usable().collect();
    preferred.or_else(|| usable.iter().min_by_key(rank).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_step_needs_a_method_and_a_backup() {
        use Kind::{Email, Phone, Recovery, Totp};
        assert!(!may_be_on(&[], true) && !may_be_on(&[Phone], false) && !may_be_on(&[Recovery], false));
        assert!(may_be_on(&[Phone, Recovery], false) && may_be_on(&[Phone, Phone], false));
        assert!(may_be_on(&[Totp, Phone], false));
        assert!(!may_be_on(&[Phone, Email], false), "e-mail is a factor only if the configuration allows it");
        assert!(may_be_on(&[Phone, Email], true));
    }

    #[test]
    fn the_hundredth_wrong_code_in_a_row_pauses_a_method() {
        let mut method = Method::new(Uuid::nil(), Uuid::nil(), Kind::Totp, Timestamp::UNIX_EPOCH);
        method.activate(Timestamp::UNIX_EPOCH);
        assert_eq!((1..=101).position(|_| method.count_wrong()), Some(99));
        assert_eq!(method.state, MethodState::Paused);
    }

    #[test]
    fn the_preferred_method_comes_first_and_a_paused_one_never() {
        let new = |kind, preferred| {
            let mut m = Method::new(Uuid::now_v7(), Uuid::nil(), kind, Timestamp::UNIX_EPOCH);
            m.activate(Timestamp::UNIX_EPOCH);
            m.preferred = preferred;
            m
        };
        let mut methods = vec![new(Kind::Totp, false), new(Kind::Phone, true), new(Kind::Recovery, false)];
        assert_eq!(first(&methods, false).map(|m| m.kind), Some(Kind::Phone));
        methods[1].pause("opted_out");
        assert_eq!(first(&methods, false).map(|m| m.kind), Some(Kind::Totp));
        methods[0].remove("user", Timestamp::UNIX_EPOCH);
        assert_eq!(first(&methods, false), None);
    }
}
