//! The start page of the settings.

use askama::Template;

use super::super::{MethodKind, Page, when};
use super::Device;

/// A method on the list. Recovery codes have their own line.
#[derive(Debug, Clone)]
pub struct MethodRow {
    /// The method's id.
    pub id: String,
    /// Its kind.
    pub kind: MethodKind,
    /// The user's name for it.
    pub name: Option<String>,
    /// The last two digits, or the masked address; may be empty.
    pub hint: String,
    /// Whether it is preferred.
    pub preferred: bool,
    /// Whether it gets only notices and no codes.
    pub notices_only: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// When it was added, in Unix seconds.
    pub added_at: i64,
    /// When it was last used for a proof, in Unix seconds.
    pub used_at: Option<i64>,
}

impl MethodRow {
    /// The user's name for it, else the kind.
    pub(crate) fn title(&self, page: &Page) -> String {
        self.name.clone().unwrap_or_else(|| self.kind.name(page.lang).to_owned())
    }

    pub(crate) fn describe(&self, page: &Page) -> String {
        let place = self.kind.place(page.lang, &self.hint);
        let kind = self.name.as_ref().map(|_| self.kind.name(page.lang).to_owned());
        let parts = [kind, Some(place).filter(|p| !p.is_empty())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }

    pub(crate) fn dates(&self, page: &Page) -> String {
        let texts = &page.t().settings;
        let added = (texts.added)(&when::date(page.lang, self.added_at));
        let used = self
            .used_at
            .map_or_else(|| texts.never_used.to_owned(), |at| (texts.last_used)(&when::date(page.lang, at)));
        format!("{added} · {used}")
    }
}

/// The last action, for a line at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The first code of a method was verified.
    Added,
    /// The product's app was verified, and is preferred.
    AppAdded,
    /// An authenticator was verified, and is preferred.
    AuthenticatorAdded,
    /// A method was removed.
    Removed,
    /// A name or a setting was saved.
    Saved,
    /// A test code was sent.
    TestSent,
    /// The trust of one device ended.
    DeviceRevoked,
    /// The trust of all devices ended.
    AllDevicesRevoked,
    /// Two-step verification was turned off.
    TurnedOff,
    /// The last method or the last backup cannot be removed.
    LastMethod,
    /// No test code can be sent for now.
    TestLimited,
    /// The account has the maximum number of authenticator apps.
    TooManyAuthenticators,
    /// The account has the maximum number of the product's apps.
    TooManyApps,
}

impl Notice {
    pub(crate) fn text(self, page: &Page) -> &'static str {
        let texts = &page.t().notices;
        match self {
            Self::Added => texts.added,
            Self::AppAdded => texts.app_added,
            Self::AuthenticatorAdded => texts.authenticator_added,
            Self::Removed => texts.removed,
            Self::Saved => texts.saved,
            Self::TestSent => texts.test_sent,
            Self::DeviceRevoked => texts.device_revoked,
            Self::AllDevicesRevoked => texts.all_devices_revoked,
            Self::TurnedOff => texts.turned_off,
            Self::LastMethod => texts.last_method,
            Self::TestLimited => texts.test_limited,
            Self::TooManyAuthenticators => texts.too_many_authenticators,
            Self::TooManyApps => texts.too_many_apps,
        }
    }

    pub(crate) const fn is_problem(self) -> bool {
        matches!(self, Self::LastMethod | Self::TestLimited | Self::TooManyAuthenticators | Self::TooManyApps)
    }
}

/// `/settings` of an account that is on.
///
/// Form: POST `/settings/leave`: `csrf`. Links: `/settings/methods/{id}`, `/settings/authenticator`,
/// `/settings/phone`, `/settings/email`, `/settings/recovery-codes`, `/settings/devices`, `/settings/history`,
/// `/settings/off`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/home.html")]
pub struct SettingsHome {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The last action.
    pub notice: Option<Notice>,
    /// When support will turn it off, in Unix seconds, if such a case is waiting.
    pub off_due_at: Option<i64>,
    /// The methods, the preferred one first, without recovery codes.
    pub methods: Vec<MethodRow>,
    /// The number of recovery codes left; `None` without a set.
    pub recovery_left: Option<u32>,
    /// The trusted devices.
    pub devices: Vec<Device>,
    /// The name of the product's app, if another one may be added.
    pub add_app: Option<String>,
    /// Whether another authenticator app may be added.
    pub add_authenticator: bool,
    /// Whether another phone may be added.
    pub add_phone: bool,
    /// Whether an e-mail address may be added.
    pub add_email: bool,
}

impl SettingsHome {
    /// Whether the user can sign in only with recovery codes.
    fn only_recovery(&self) -> bool {
        self.methods.iter().all(|m| m.notices_only || m.paused)
    }

    fn lead(&self) -> String {
        (self.page.t().settings.lead)(&self.page.product)
    }

    fn off_due(&self) -> Option<String> {
        self.off_due_at.map(|at| (self.page.t().settings.off_due)(&when::date_time(self.page.lang, at)))
    }

    fn add_app_text(&self, app: &str) -> String {
        (self.page.t().settings.add_app)(app)
    }

    fn recovery_text(&self) -> String {
        let texts = &self.page.t().recovery;
        self.recovery_left.map_or_else(|| texts.none.to_owned(), |left| (texts.left)(left))
    }

    fn recovery_is_low(&self) -> bool {
        self.recovery_left.is_some_and(|left| left <= 2)
    }

    fn devices_text(&self) -> String {
        (self.page.t().devices.count)(u32::try_from(self.devices.len()).unwrap_or(u32::MAX))
    }
}
