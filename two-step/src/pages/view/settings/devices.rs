//! The trusted devices.

use askama::Template;

use super::super::{Page, when};
use super::Notice;

/// A trusted device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Browser and system, such as "Firefox on Windows"; may be empty.
    pub label: String,
    /// Whether it is the current browser.
    pub is_this: bool,
    /// The last sign-in, in Unix seconds.
    pub used_at: i64,
    /// When the trust ends, in Unix seconds; `None` if it ends at sign-out.
    pub until: Option<i64>,
}

/// `/settings/devices`: the trusted devices.
///
/// Forms: POST `/settings/devices`: `csrf` and `device` (an id), or `csrf` and `all` (`yes`). Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/devices.html")]
pub struct Devices {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The last action.
    pub notice: Option<Notice>,
    /// The devices, newest use first.
    pub devices: Vec<Device>,
}

impl Devices {
    fn name<'a>(&'a self, device: &'a Device) -> &'a str {
        if device.label.is_empty() { self.page.t().devices.unknown } else { &device.label }
    }

    fn used(&self, device: &Device) -> String {
        (self.page.t().devices.used)(&when::date_time(self.page.lang, device.used_at))
    }

    fn until(&self, device: &Device) -> String {
        let texts = &self.page.t().devices;
        device.until.map_or_else(
            || texts.until_sign_out.to_owned(),
            |at| (texts.until)(&when::date(self.page.lang, at)),
        )
    }

    fn stop_trusting(&self, device: &Device) -> String {
        (self.page.t().devices.revoke_named)(self.name(device))
    }
}
