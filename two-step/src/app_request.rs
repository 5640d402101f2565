//! A request to the app: "Is this you?". The sign-in page shows digits; the user types them into the app, which signs them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

/// The state of a request.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, Serialize, Deserialize, ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// Open: the app may answer it while its challenge is live.
    Open,
    /// Approved: the right digits were typed into the app.
    Approved,
    /// Denied: the user chose "It was not me" in the app.
    Denied,
    /// A newer request replaced it. An account has one open request at a time.
    Replaced,
}

/// A request to an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRequest {
    /// The id. The digits on the page are derived from it.
    pub id: Uuid,
    /// The challenge.
    pub challenge: Uuid,
    /// The account.
    pub account: Uuid,
    /// The app's method.
    pub method: Uuid,
    /// The state.
    pub state: RequestState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether the app answered from another network than the browser's.
    pub other_network: bool,
}

impl AppRequest {
    /// Creates an open request.
    pub fn new(id: Uuid, challenge: Uuid, account: Uuid, method: Uuid, now: Timestamp) -> Self {
        let (state, other_network) = (RequestState::Open, false);
        Self { id, challenge, account, method, state, created_at: now, other_network }
    }

    /// Returns whether the request itself still accepts an answer.
    pub fn is_open(&self) -> bool {
        self.state == RequestState::Open
    }
}

/// Derives the digits that a page shows for a request, from a keyed hash of its id.
pub fn digits_of(hash: &[u8; 32], digits: u32) -> String {
    // The bias is negligible: 64 bits are reduced to at most a million values.
    let drawn = u64::from_be_bytes(hash[..8].try_into().expect("eight bytes"));
    format!("{:0width$}", drawn % 10u64.pow(digits), width = digits as usize)
}

/// Reads digits that were typed into the app: of any script, with or without spaces and dashes. Returns `None` for anything
/// else.
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
