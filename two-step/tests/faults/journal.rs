//! Records what the clients of a scenario sent and received. The checker compares it with the databases.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value as Json;
use uuid::Uuid;

/// The answer to an entry, as the client received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObservedResult {
    /// The code was right.
    Verified,
    /// The code was wrong, and counted.
    Wrong,
    /// The challenge is locked, or its account is paused.
    Locked,
    /// The entry was not checked: the challenge had ended, or the service was unreachable.
    Refused,
    /// No answer, or one that does not say whether the entry counted.
    Unknown,
}

/// An entered code.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) challenge: Uuid,
    /// Whether it was the right code.
    pub(crate) right: bool,
    pub(crate) observed: ObservedResult,
}

/// A result that a product received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) challenge: Uuid,
    pub(crate) jti: Uuid,
}

/// All records.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Secrets with their names. They may exist only at their owner.
    pub(crate) secrets: Vec<(&'static str, String)>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) results: Vec<Proven>,
    /// Tickets of return URLs, with their challenges.
    pub(crate) tickets: Vec<(Uuid, String)>,
    /// Deliveries that the API reported, by challenge.
    pub(crate) deliveries: Vec<(Uuid, String)>,
    /// Users of the product, with the numbers of their phones.
    pub(crate) users: Vec<(String, String)>,
    /// Faults that the scenario injected.
    pub(crate) faults: u32,
    /// Whether otpost was killed. Receipts during that time are lost, and dispatches may stay `sent` until their codes
    /// expire.
    pub(crate) receipts_are_lost: bool,
}

/// The shared records. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Notes>>);

impl Journal {
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn secret(&self, what: &'static str, text: &str) {
        let mut notes = self.notes();
        if !text.is_empty() && !notes.secrets.iter().any(|(_, known)| known == text) {
            notes.secrets.push((what, text.to_owned()));
        }
    }

    pub(crate) fn entry(&self, challenge: Uuid, right: bool, observed: ObservedResult) {
        self.notes().entries.push(Entry { challenge, right, observed });
    }

    pub(crate) fn ticket(&self, challenge: Uuid, ticket: &str) {
        self.secret("ticket", ticket);
        self.notes().tickets.push((challenge, ticket.to_owned()));
    }

    /// Reads a signed result. `result::tests` check signatures.
    pub(crate) fn result(&self, result: &str) -> Proven {
        let claims = result.split('.').nth(1).expect("a JWT has three parts");
        let claims: Json = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let id = |name: &str| claims[name].as_str().unwrap().parse().unwrap();
        let proven = Proven { challenge: id("challenge"), jti: id("jti") };
        self.secret("result", result);
        self.notes().results.push(proven.clone());
        proven
    }

    pub(crate) fn fault(&self) {
        self.notes().faults += 1;
    }
}
