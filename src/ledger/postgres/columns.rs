//! The columns of a dispatch, each named once: its name, its type, and its value.
//!
//! A group of rows is sent as one array per column, so that one statement writes all of them.

use std::sync::LazyLock;

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};
use uuid::Uuid;

use super::error::UNKNOWN_FORM;
use crate::domain::attempt::{Attempt, Details, Outcome, Reason, ReceiptStatus};
use crate::domain::dispatch::{Dispatch, Order, Plan, Stop};
use crate::ledger::LedgerError;
use crate::ledger::items::Admission;

/// A parameter of a statement.
pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

/// Defines arrays of columns, filled row by row.
macro_rules! columns {
    ($(#[$meta:meta])* $name:ident of ($($row:ident: $row_type:ty),+) { $($column:ident: $sql:literal $type:ty = $value:expr,)+ }) => {
        $(#[$meta])*
        #[derive(Default)]
        pub(super) struct $name<'a> { $($column: Vec<$type>),+ }

        impl<'a> $name<'a> {
            /// Names and types, in the order of the parameters.
            pub(super) const COLUMNS: &'static [(&'static str, &'static str)] = &[$((stringify!($column), $sql)),+];

            pub(super) fn push(&mut self, $($row: $row_type),+) {
                $(self.$column.push($value);)+
            }

            pub(super) fn params(&self) -> Vec<Param<'_>> {
                vec![$(&self.$column),+]
            }
        }
    };
}

columns! {
    /// The columns that never change.
    OrderColumns of (job: &'a Admission, d: &'a Dispatch) {
        uid: "uuid" Uuid = d.order.uid,
        tenant: "text" &'a str = &d.order.tenant,
        id: "uuid" Uuid = d.order.id,
        content: "text" &'a str = &job.content,
        number_key: "text" &'a str = &job.number_key,
        mask: "text" &'a str = &d.order.mask,
        number: "text" &'a str = &d.order.number,
        country: "text" Option<&'a str> = d.order.country.as_deref(),
        plan: "text" String = d.order.plan.to_text(),
        expires_at: "timestamptz" Timestamp = d.order.expires_at,
        fallback_after_s: "int4" i32 = i32::try_from(d.order.fallback_after_s).unwrap_or(i32::MAX),
        template: "text" &'a str = &d.order.template,
        locale: "text" Option<&'a str> = d.order.locale.as_deref(),
        tags: "text" String = json(&d.order.tags),
        traceparent: "text" Option<&'a str> = d.order.traceparent.as_deref(),
        supersedes: "text" Option<&'a str> = job.supersedes.as_ref().map(|(key, _)| key.as_str()),
        issued_at: "timestamptz" Option<Timestamp> = job.supersedes.as_ref().map(|(_, at)| *at),
        admitted_at: "timestamptz" Timestamp = d.admitted_at,
    }
}

columns! {
    /// The columns that a decision changes.
    StateColumns of (d: &'a Dispatch) {
        version: "int8" i64 = d.version,
        state: "text" &'a str = d.state.as_str(),
        reason: "text" Option<&'a str> = d.reason.map(Reason::as_str),
        step: "int2" i16 = i16::from(d.step),
        step_at: "timestamptz" Timestamp = d.step_at,
        snoozes: "int2" i16 = small(d.snoozes),
        snoozed_until: "timestamptz" Option<Timestamp> = d.snoozed_until,
        sent_event_steps: "int2" i16 = i16::from(d.sent_event_steps),
        wake_at: "timestamptz" Option<Timestamp> = d.wake_at,
        code: "text" Option<&'a str> = d.code.as_deref(),
        holds_quota_uses: "bool" bool = d.holds_quota_uses,
    }
}

columns! {
    /// The columns that only a begin or a fact changes, in a transaction that has locked the row.
    FactColumns of (d: &'a Dispatch) {
        stop: "text" Option<&'a str> = d.stop.map(Stop::as_str),
        requested_step: "int2" Option<i16> = d.requested_step.map(i16::from),
        quota_uses: "text" String = json(&d.quota_uses),
        earlier_attempts: "text" Option<String> = earlier(&d.attempts),
    }
}

columns! {
    /// The newest attempt as it was begun. All of its columns are null if there is none.
    AttemptColumns of (a: Option<&'a Attempt>) {
        n: "int2" Option<i16> = a.map(|a| small(a.n)),
        attempt_step: "int2" Option<i16> = a.map(|a| i16::from(a.step)),
        channel: "text" Option<&'a str> = a.map(|a| a.channel.as_str()),
        carrier: "text" Option<&'a str> = a.map(|a| a.carrier.as_str()),
        claim: "uuid" Option<Uuid> = a.map(|a| a.claim),
        repeats: "int2" Option<i16> = a.and_then(|a| a.repeats).map(small),
        begun_at: "timestamptz" Option<Timestamp> = a.map(|a| a.begun_at),
        deadline: "timestamptz" Option<Timestamp> = a.map(|a| a.deadline),
    }
}

columns! {
    /// The outcome of the newest attempt.
    OutcomeColumns of (a: Option<&'a Attempt>) {
        closed_at: "timestamptz" Option<Timestamp> = a.and_then(|a| a.closed_at),
        outcome: "text" Option<&'a str> = a.and_then(|a| a.outcome).map(Outcome::word),
        detail: "text" Option<&'a str> = a.and_then(|a| a.outcome).and_then(Outcome::detail),
        retry_after_ms: "int8" Option<i64> = a.and_then(|a| a.outcome).and_then(Outcome::retry_after_ms),
        message_id: "text" Option<&'a str> = a.and_then(|a| a.details.message_id.as_deref()),
        carrier_code: "text" Option<&'a str> = a.and_then(|a| a.details.carrier_code.as_deref()),
        segments: "int2" Option<i16> = a.and_then(|a| a.details.segments).map(small),
        price: "text" Option<&'a str> = a.and_then(|a| a.details.price.as_deref()),
    }
}

columns! {
    /// The receipt of the newest attempt.
    ReceiptColumns of (a: Option<&'a Attempt>) {
        receipt: "text" Option<&'a str> = a.and_then(|a| a.receipt).map(ReceiptStatus::as_str),
        receipt_reason: "text" Option<&'a str> = a.and_then(|a| a.receipt_reason).map(Reason::as_str),
        receipt_code: "text" Option<&'a str> = a.and_then(|a| a.receipt_code.as_deref()),
        receipt_at: "timestamptz" Option<Timestamp> = a.and_then(|a| a.receipt_at),
        corrected_reason: "text" Option<&'a str> = a.and_then(|a| a.corrected_reason).map(Reason::as_str),
        corrected_code: "text" Option<&'a str> = a.and_then(|a| a.corrected_code.as_deref()),
        corrected_at: "timestamptz" Option<Timestamp> = a.and_then(|a| a.corrected_at),
    }
}

/// The changing columns of a group of dispatches: all of them, or those that a decision changes.
#[derive(Default)]
pub(super) struct ChangingColumns<'a> {
    state: StateColumns<'a>,
    outcome: OutcomeColumns<'a>,
    /// `None` if the rows are not locked.
    others: Option<(FactColumns<'a>, AttemptColumns<'a>, ReceiptColumns<'a>)>,
}

impl<'a> ChangingColumns<'a> {
    /// All changing columns. The rows are locked, or new.
    pub(super) fn of_locked() -> Self {
        Self { others: Some(Default::default()), ..Self::default() }
    }

    /// The columns that a decision changes. The rows are not locked.
    pub(super) fn of_decision() -> Self {
        Self::default()
    }

    pub(super) fn push(&mut self, d: &'a Dispatch) {
        let newest = d.attempts.last();
        self.state.push(d);
        self.outcome.push(newest);
        if let Some((facts, attempt, receipt)) = &mut self.others {
            facts.push(d);
            attempt.push(newest);
            receipt.push(newest);
        }
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let mut all = self.state.params();
        all.extend(self.outcome.params());
        if let Some((facts, attempt, receipt)) = &self.others {
            all.extend(facts.params());
            all.extend(attempt.params());
            all.extend(receipt.params());
        }
        all
    }
}

pub(super) type Column = (&'static str, &'static str);

/// The events of a changed row: the events as JSON, and the ids of their outbox rows for the broker and for a webhook.
pub(super) const EVENT_COLUMNS: &[Column] =
    &[("event", "text"), ("broker_row", "uuid"), ("webhook_row", "uuid"), ("webhook", "text")];

/// The columns that a decision changes, in the order of [`ChangingColumns::params`].
fn decided() -> impl Iterator<Item = &'static Column> + Clone {
    StateColumns::COLUMNS.iter().chain(OutcomeColumns::COLUMNS)
}

/// All changing columns, in the order of [`ChangingColumns::params`].
fn changing() -> impl Iterator<Item = &'static Column> + Clone {
    let others = FactColumns::COLUMNS.iter().chain(AttemptColumns::COLUMNS).chain(ReceiptColumns::COLUMNS);
    decided().chain(others)
}

/// All changing columns in the order of [`read`], which keeps those of the attempt together.
fn read_order() -> impl Iterator<Item = &'static Column> {
    StateColumns::COLUMNS
        .iter()
        .chain(FactColumns::COLUMNS)
        .chain(AttemptColumns::COLUMNS)
        .chain(OutcomeColumns::COLUMNS)
        .chain(ReceiptColumns::COLUMNS)
}

pub(super) fn names(columns: impl Iterator<Item = &'static Column>, prefix: &str) -> String {
    columns.map(|(name, _)| format!("{prefix}{name}")).collect::<Vec<_>>().join(", ")
}

/// `$first::type[], …`
pub(super) fn arrays(columns: impl Iterator<Item = &'static Column>, first: usize) -> String {
    let arrays = columns.enumerate().map(|(i, (_, sql))| format!("${}::{sql}[]", first + i));
    arrays.collect::<Vec<_>>().join(", ")
}

/// All columns of a row as [`read`] expects them, and the server's clock.
pub(super) static ROW: LazyLock<String> = LazyLock::new(|| {
    let read = OrderColumns::COLUMNS.iter().filter(|(name, _)| !NOT_READ.contains(name));
    format!("{}, clock_timestamp()", names(read.chain(read_order()), "d."))
});

/// Columns that are not part of a [`Dispatch`].
const NOT_READ: &[&str] = &["content", "number_key", "supersedes", "issued_at"];

/// Inserts a group: the parameters are the arrays of [`OrderColumns`] and [`ChangingColumns`].
pub(super) static INSERT: LazyLock<String> = LazyLock::new(|| {
    let all = OrderColumns::COLUMNS.iter().chain(changing());
    format!("insert into dispatch ({}) select * from unnest({})", names(all.clone(), ""), arrays(all, 1))
});

/// Updates the rows of a group that still have the expected version and newest attempt. Returns their uids and events, and the number of
/// the next parameter. The parameters are arrays: uid, expected version, claim of the newest attempt, [`ChangingColumns`],
/// [`EVENT_COLUMNS`].
pub(super) fn update(are_all: bool) -> (String, usize) {
    let columns: Vec<&Column> = if are_all { changing().collect() } else { decided().collect() };
    let set = |(name, _): &&Column| match *name {
        // A late answer adds details without raising the version. A decision that has not seen them keeps them.
        "message_id" | "segments" | "price" if !are_all => format!("{name} = coalesce(u.{name}, d.{name})"),
        name => format!("{name} = u.{name}"),
    };
    let sets: Vec<String> = columns.iter().map(set).collect();
    let all: Vec<&Column> = columns.iter().copied().chain(EVENT_COLUMNS).collect();
    let sql = format!(
        "update dispatch d set {} from unnest($1::uuid[], $2::int8[], $3::uuid[], {}) as u(uid, expected, seen_claim, {})
          where d.uid = u.uid and d.version = u.expected and d.claim is not distinct from u.seen_claim returning d.uid, {}",
        sets.join(", "),
        arrays(all.iter().copied(), 4),
        names(all.iter().copied(), ""),
        names(EVENT_COLUMNS.iter(), "u.")
    );
    (sql, 4 + all.len())
}

/// Reads the columns of a row in order.
struct Columns<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Columns<'r> {
    fn take<T: FromSql<'r>>(&mut self) -> Result<T, LedgerError> {
        self.next += 1;
        self.row.try_get(self.next - 1).map_err(|_| unknown_form())
    }

    /// A word of an enum.
    fn word<T: std::str::FromStr>(&mut self) -> Result<T, LedgerError> {
        self.take::<&str>()?.parse().map_err(|_| unknown_form())
    }

    fn maybe_word<T: std::str::FromStr>(&mut self) -> Result<Option<T>, LedgerError> {
        self.take::<Option<&str>>()?.map(|word| word.parse().map_err(|_| unknown_form())).transpose()
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, LedgerError> {
        serde_json::from_str(self.take()?).map_err(|_| unknown_form())
    }

    fn number<T: TryFrom<i16>>(&mut self) -> Result<T, LedgerError> {
        T::try_from(self.take::<i16>()?).map_err(|_| unknown_form())
    }

    fn maybe_number<T: TryFrom<i16>>(&mut self) -> Result<Option<T>, LedgerError> {
        self.take::<Option<i16>>()?.map(|n| T::try_from(n).map_err(|_| unknown_form())).transpose()
    }
}

/// A row with a word or a form that this version does not know.
fn unknown_form() -> LedgerError {
    LedgerError::Unusable(UNKNOWN_FORM.to_owned())
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
        plan: Plan::from_text(c.take()?).ok_or_else(unknown_form)?,
        expires_at: c.take()?,
        fallback_after_s: u32::try_from(c.take::<i32>()?).unwrap_or(0),
        template: c.take()?,
        locale: c.take()?,
        tags: c.json()?,
        traceparent: c.take()?,
    };
    let admitted_at = c.take()?;
    let mut d = Dispatch {
        order,
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
            Some(earlier) => serde_json::from_str(earlier).map_err(|_| unknown_form())?,
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
                reason = UNKNOWN_FORM,
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
        outcome: Outcome::from_words(c.take()?, c.take()?, c.take()?).map_err(|_| unknown_form())?,
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

/// The attempts before the newest one. `None` if there are none.
fn earlier(attempts: &[Attempt]) -> Option<String> {
    let earlier = attempts.split_last()?.1;
    (!earlier.is_empty()).then(|| json(&earlier))
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain values serialise")
}

fn small(n: u16) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}
