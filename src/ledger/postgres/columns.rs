//! The columns of a dispatch, each named once: its name, its type, and its value. `reading` reads them.
//!
//! A group of rows is sent as one array per column, so that one statement writes all of them.

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::domain::attempt::{Attempt, Outcome, Reason, ReceiptStatus};
use crate::domain::dispatch::{Dispatch, Stop};
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
    /// The columns that only a transaction changes that has locked the row.
    LockedColumns of (d: &'a Dispatch) {
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
    others: Option<(LockedColumns<'a>, AttemptColumns<'a>, ReceiptColumns<'a>)>,
}

impl<'a> ChangingColumns<'a> {
    /// All changing columns. The rows are locked.
    pub(super) fn of_locked() -> Self {
        Self { others: Some(Default::default()), ..Self::default() }
    }

    /// The columns that a decision changes. The rows are not locked.
    pub(super) fn of_unlocked() -> Self {
        Self::default()
    }

    pub(super) fn push(&mut self, d: &'a Dispatch) {
        let newest = d.attempts.last();
        self.state.push(d);
        self.outcome.push(newest);
        if let Some((locked, attempt, receipt)) = &mut self.others {
            locked.push(d);
            attempt.push(newest);
            receipt.push(newest);
        }
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let mut all = self.state.params();
        all.extend(self.outcome.params());
        if let Some((locked, attempt, receipt)) = &self.others {
            all.extend(locked.params());
            all.extend(attempt.params());
            all.extend(receipt.params());
        }
        all
    }
}

pub(super) type Column = (&'static str, &'static str);

/// The events of a changed row: the events as JSON, the ids of their outbox rows for the broker and for a webhook, and the webhook.
pub(super) const EVENT_COLUMNS: &[Column] =
    &[("event", "text"), ("broker_row", "uuid"), ("webhook_row", "uuid"), ("webhook", "text")];

/// The columns that a decision changes, in the order of [`ChangingColumns::params`].
fn decided() -> impl Iterator<Item = &'static Column> + Clone {
    StateColumns::COLUMNS.iter().chain(OutcomeColumns::COLUMNS)
}

/// All changing columns, in the order of [`ChangingColumns::params`].
fn changing() -> impl Iterator<Item = &'static Column> + Clone {
    let others = LockedColumns::COLUMNS.iter().chain(AttemptColumns::COLUMNS).chain(ReceiptColumns::COLUMNS);
    decided().chain(others)
}

pub(super) fn names(columns: impl Iterator<Item = &'static Column>, prefix: &str) -> String {
    columns.map(|(name, _)| format!("{prefix}{name}")).collect::<Vec<_>>().join(", ")
}

/// `$first::type[], …`
pub(super) fn arrays(columns: impl Iterator<Item = &'static Column>, first: usize) -> String {
    let arrays = columns.enumerate().map(|(i, (_, sql))| format!("${}::{sql}[]", first + i));
    arrays.collect::<Vec<_>>().join(", ")
}

/// The columns of new dispatches. An attempt among them is still open, so the columns of its outcome and its receipt are null.
#[derive(Default)]
pub(super) struct NewColumns<'a> {
    order: OrderColumns<'a>,
    state: StateColumns<'a>,
    locked: LockedColumns<'a>,
    attempt: AttemptColumns<'a>,
}

impl<'a> NewColumns<'a> {
    pub(super) fn push(&mut self, job: &'a Admission, d: &'a Dispatch) {
        self.order.push(job, d);
        self.state.push(d);
        self.locked.push(d);
        self.attempt.push(d.attempts.last());
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        [self.order.params(), self.state.params(), self.locked.params(), self.attempt.params()].concat()
    }
}

/// Inserts new dispatches. The parameters are the arrays of [`NewColumns`], from `$first`. Returns the number of the next parameter too.
pub(super) fn insert(first: usize) -> (String, usize) {
    let columns = OrderColumns::COLUMNS.iter().chain(StateColumns::COLUMNS);
    let all: Vec<&Column> = columns.chain(LockedColumns::COLUMNS).chain(AttemptColumns::COLUMNS).collect();
    let names = names(all.iter().copied(), "");
    let arrays = arrays(all.iter().copied(), first);
    (format!("insert into dispatch ({names}) select * from unnest({arrays})"), first + all.len())
}

/// Updates the rows of a group that still have the expected version and newest attempt. Returns their uids and events, and the number of
/// the next parameter. The parameters are arrays: uid, expected version, claim of the newest attempt, [`ChangingColumns`],
/// [`EVENT_COLUMNS`].
pub(super) fn update(is_locked: bool) -> (String, usize) {
    let columns: Vec<&Column> = if is_locked { changing().collect() } else { decided().collect() };
    let set = |(name, _): &&Column| match *name {
        // A late answer adds details without raising the version. A decision that has not seen them keeps them.
        "message_id" | "segments" | "price" if !is_locked => format!("{name} = coalesce(u.{name}, d.{name})"),
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
