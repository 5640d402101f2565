//! The pages of a challenge: the code field, other methods, and the page after a recovery code.

mod ask_app;
mod delivery;
mod enter_code;
mod entry_error;
mod lost_phone;
mod offer;
mod ways;

pub use ask_app::{AskApp, Asking};
pub use delivery::{Delivery, Tone};
pub use enter_code::{EnterCode, Purpose};
pub use entry_error::EntryError;
pub use lost_phone::LostPhone;
pub(crate) use offer::SendButton;
pub use offer::{Offer, Sends, Trust};
pub use ways::{SendProblem, Way, Ways};
