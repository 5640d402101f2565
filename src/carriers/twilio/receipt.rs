//! Delivery receipts: the statuses of texts and calls, from callbacks and from answers to status requests.

use super::codes::reason_of;
use crate::carriers::kept;
use crate::domain::attempt::{Reason, Receipt, ReceiptStatus};

/// SIP response codes for a number that does not exist.
const NO_SUCH_NUMBER: [&str; 3] = ["404", "484", "604"];

/// The receipt of a text's status. `None` for a status that is not known.
pub(super) fn message_receipt(status: &str, code: Option<i64>, sid: Option<&str>) -> Option<Receipt> {
    let (status, reason) = match status {
        "queued" | "sending" | "sent" | "accepted" | "scheduled" => (ReceiptStatus::Interim, None),
        "delivered" | "read" => (ReceiptStatus::Delivered, None),
        "undelivered" | "failed" | "canceled" => {
            (ReceiptStatus::Bad, Some(code.map_or(Reason::Unexplained, reason_of)))
        }
        // Twilio may add statuses without notice.
        _ => return None,
    };
    Some(Receipt {
        status,
        reason,
        carrier_code: code.map(|c| c.to_string()),
        message_id: sid.and_then(kept),
    })
}

/// What Twilio reports of a call.
pub(super) struct CallReport<'a> {
    pub(super) status: &'a str,
    /// Whether the recipient has just pressed a key.
    pub(super) key: bool,
    /// Whether the call speaks only after a key was pressed.
    pub(super) is_after_key: bool,
    pub(super) answered_by: Option<&'a str>,
    pub(super) sip: Option<&'a str>,
    pub(super) sid: Option<&'a str>,
}

impl CallReport<'_> {
    pub(super) fn receipt(&self) -> Option<Receipt> {
        let machine = self.answered_by.is_some_and(|who| who.starts_with("machine") || who == "fax");
        let (status, reason) = match self.status {
            "in-progress" if self.key => (ReceiptStatus::Delivered, None),
            "queued" | "initiated" | "ringing" | "in-progress" => (ReceiptStatus::Interim, None),
            "completed" if machine => (ReceiptStatus::Bad, Some(Reason::Machine)),
            // The report of a pressed key has come before, or corrects this one.
            "completed" if self.is_after_key => (ReceiptStatus::Bad, Some(Reason::NoKey)),
            "completed" => (ReceiptStatus::Delivered, None),
            "busy" => (ReceiptStatus::Bad, Some(Reason::Busy)),
            "no-answer" => (ReceiptStatus::Bad, Some(Reason::NoAnswer)),
            "failed" if self.sip.is_some_and(|s| NO_SUCH_NUMBER.contains(&s)) => {
                (ReceiptStatus::Bad, Some(Reason::InvalidNumber))
            }
            "failed" | "canceled" => (ReceiptStatus::Bad, Some(Reason::Unreachable)),
            _ => return None,
        };
        let (carrier_code, message_id) = (self.sip.and_then(kept), self.sid.and_then(kept));
        Some(Receipt { status, reason, carrier_code, message_id })
    }
}
