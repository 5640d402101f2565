//! A request to the app: "Is this you?". The sign-in page shows digits; the user types them into the app, which signs them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

/// Where a request stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// The app may answer it while its challenge is live.
    Open,
    /// The right digits were typed into the app.
    Approved,
    /// The user said "It was not me" in the app.
    Denied,
    /// A newer request took its place: an account has one open request at a time.
    Replaced,
}

/// A request to an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRequest {
    /// Our id. The digits on the page follow from it.
    pub id: Uuid,
    /// What it proves.
    pub challenge: Uuid,
    /// Whose it is.
    pub account: Uuid,
    /// Which app.
    pub method: Uuid,
    /// Where it stands.
    pub state: RequestState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether the app answered from another network than the browser's.
    pub other_network: bool,
}

impl AppRequest {
    /// A new one, which is open.
    pub fn new(id: Uuid, challenge: Uuid, account: Uuid, method: Uuid, now: Timestamp) -> Self {
        let (state, other_network) = (RequestState::Open, false);
        Self { id, challenge, account, method, state, created_at: now, other_network }
    }

    /// Whether the app may still answer it, as far as the request itself is concerned.
    pub fn is_open(&self) -> bool {
        self.state == RequestState::Open
    }
}

/// The digits that a page shows for a request, from a keyed hash of its id.
pub fn digits_of(hash: &[u8; 32], digits: u32) -> String {
    // 64 bits against at most a million values: no value is noticeably likelier than another.
    let drawn = u64::from_be_bytes(hash[..8].try_into().expect("eight bytes"));
    format!("{:0width$}", drawn % 10u64.pow(digits), width = digits as usize)
}

/// What somebody typed into the app: digits of any script, without spaces and dashes. None where it is something else.
pub fn read_digits(text: &str, digits: u32) -> Option<String> {
    let kept = crate::code::digits_in(text)?;
    (kept.len() == digits as usize).then(|| (*kept).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_of_the_wanted_length_and_keep_their_zeros() {
        assert_eq!(digits_of(&[0; 32], 6), "000000");
        assert_eq!(digits_of(&[255; 32], 2), "15");
        assert_eq!(digits_of(&[1; 32], 4).len(), 4);
    }

    #[test]
    fn typed_digits_are_read_as_codes_are() {
        assert_eq!(read_digits(" 48-15 16", 6).as_deref(), Some("481516"));
        assert_eq!(read_digits("٤٨", 2).as_deref(), Some("48"));
        for text in ["", "4815", "48151a", "4815162", "\u{0}481516"] {
            assert_eq!(read_digits(text, 6), None, "{text:?}");
        }
    }
}
