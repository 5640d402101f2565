//! Reads a dispatch from a row. The columns are those of [`columns`](super::columns).

use std::sync::LazyLock;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::columns::{
    AttemptColumns, Column, LockedColumns, OrderColumns, OutcomeColumns, ReceiptColumns, StateColumns, names,
};
use crate::domain::attempt::{Attempt, Details, Outcome};
use crate::domain::dispatch::{Dispatch, Order, Plan};
use crate::ledger::LedgerError;

/// All columns of a row as [`read`] expects them, and the server's clock.
pub(super) static ROW: LazyLock<String> = LazyLock::new(|| {
    let read = OrderColumns::COLUMNS.iter().filter(|(name, _)| !NOT_READ.contains(name));
    format!("{}, clock_timestamp()", names(read.chain(read_order()), "d."))
});

/// Columns that are not part of a [`Dispatch`].
const NOT_READ: &[&str] = &["content", "number_key", "supersedes", "issued_at"];

/// All changing columns in the order of [`read`], which keeps those of the attempt together.
fn read_order() -> impl Iterator<Item = &'static Column> {
    StateColumns::COLUMNS
        .iter()
        .chain(LockedColumns::COLUMNS)
        .chain(AttemptColumns::COLUMNS)
        .chain(OutcomeColumns::COLUMNS)
        .chain(ReceiptColumns::COLUMNS)
}

/// Reads the columns of a row in order.
struct Columns<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Columns<'r> {
    fn take<T: FromSql<'r>>(&mut self) -> Result<T, LedgerError> {
        self.next += 1;
        self.row.try_get(self.next - 1).map_err(|_| LedgerError::UnknownForm)
    }

    /// A word of an enum.
    fn word<T: std::str::FromStr>(&mut self) -> Result<T, LedgerError> {
        self.take::<&str>()?.parse().map_err(|_| LedgerError::UnknownForm)
    }

    fn maybe_word<T: std::str::FromStr>(&mut self) -> Result<Option<T>, LedgerError> {
        self.take::<Option<&str>>()?
            .map(|word| word.parse().map_err(|_| LedgerError::UnknownForm))
            .transpose()
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, LedgerError> {
        serde_json::from_str(self.take()?).map_err(|_| LedgerError::UnknownForm)
    }

    fn number<T: TryFrom<i16>>(&mut self) -> Result<T, LedgerError> {
        T::try_from(self.take::<i16>()?).map_err(|_| LedgerError::UnknownForm)
    }

    fn maybe_number<T: TryFrom<i16>>(&mut self) -> Result<Option<T>, LedgerError> {
        self.take::<Option<i16>>()?.map(|n| T::try_from(n).map_err(|_| LedgerError::UnknownForm)).transpose()
    }
}

/// Reads a dispatch from the columns [`ROW`], beginning at index `first`.
pub(super) fn read(row: &Row, first: usize) -> Result<Dispatch, LedgerError> {
    let mut c = Columns { row, next: first };
    let order = Order {
        uid: c.take()?,
        tenant: c.take()?,
        id: c.take()?,
        mask: c.take()?,
        number: c.take()?,
        country: c.take()?,
        plan: Plan::from_text(c.take()?).ok_or(LedgerError::UnknownForm)?,
        expires_at: c.take()?,
        fallback_after_s: u32::try_from(c.take::<i32>()?).unwrap_or(0),
        template: c.take()?,
        locale: c.take()?,
        tags: c.json()?,
        traceparent: c.take()?,
    };
    let admitted_at = c.take()?;
    let mut d = Dispatch {
        order: order.into(),
        admitted_at,
        version: c.take()?,
        state: c.word()?,
        reason: c.maybe_word()?,
        step: c.number()?,
        step_at: c.take()?,
        snoozes: c.number()?,
        snoozed_until: c.take()?,
        sent_event_steps: c.number()?,
        wake_at: c.take()?,
        code: c.take()?,
        holds_quota_uses: c.take()?,
        stop: c.maybe_word()?,
        requested_step: c.maybe_number()?,
        quota_uses: c.json()?,
        attempts: match c.take::<Option<&str>>()? {
            Some(earlier) => serde_json::from_str(earlier).map_err(|_| LedgerError::UnknownForm)?,
            None => vec![],
        },
        now: admitted_at,
    };
    d.attempts.extend(read_attempt(&mut c)?);
    d.now = c.take()?;
    Ok(d)
}

/// The rows that this version can read, from the columns beginning at index `first`. Another version may have written a word that this
/// one does not know: its processes take that row, and the other rows go on.
pub(super) fn readable(rows: &[Row], first: usize) -> Vec<(&Row, Dispatch)> {
    let read = |row| {
        let d = read(row, first);
        if d.is_err() {
            let uid: Option<Uuid> = row.try_get(first).ok();
            tracing::error!(
                dispatch.uid = uid.map(tracing::field::display),
                reason = %LedgerError::UnknownForm,
                "a dispatch cannot be read"
            );
        }
        Some((row, d.ok()?))
    };
    rows.iter().filter_map(read).collect()
}

fn read_attempt(c: &mut Columns<'_>) -> Result<Option<Attempt>, LedgerError> {
    let Some(n) = c.maybe_number()? else {
        let attempt = [AttemptColumns::COLUMNS, OutcomeColumns::COLUMNS, ReceiptColumns::COLUMNS];
        c.next += attempt.map(<[Column]>::len).iter().sum::<usize>() - 1;
        return Ok(None);
    };
    Ok(Some(Attempt {
        n,
        step: c.number()?,
        channel: c.word()?,
        carrier: c.take()?,
        claim: c.take()?,
        repeats: c.maybe_number()?,
        begun_at: c.take()?,
        deadline: c.take()?,
        closed_at: c.take()?,
        outcome: Outcome::from_words(c.take()?, c.take()?, c.take()?)
            .map_err(|_| LedgerError::UnknownForm)?,
        details: Details {
            message_id: c.take()?,
            carrier_code: c.take()?,
            segments: c.maybe_number()?,
            price: c.take()?,
        },
        receipt: c.maybe_word()?,
        receipt_reason: c.maybe_word()?,
        receipt_code: c.take()?,
        receipt_at: c.take()?,
        corrected_reason: c.maybe_word()?,
        corrected_code: c.take()?,
        corrected_at: c.take()?,
    }))
}
