//! Reads and writes the rows of dispatches and attempts. Both ledgers store the same names and values.

use std::str::FromStr;
use std::sync::LazyLock;

use jiff::Timestamp;
use rusqlite::types::{FromSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use uuid::Uuid;

use super::Fault;
use crate::domain::attempt::{Attempt, Details, Outcome, Reason, ReceiptStatus};
use crate::domain::dispatch::{Dispatch, Order, Plan, Stop};
use crate::ledger::items::Admission;

/// The columns that never change and are no part of a [`Dispatch`].
const LOOK_UPS: &[&str] = &["content", "number_key", "supersedes", "issued_at"];

/// The columns that never change, in the order of [`order_values`].
const ORDER: &[&str] = &[
    "uid",
    "tenant",
    "id",
    "mask",
    "number",
    "country",
    "plan",
    "expires_at",
    "fallback_after_s",
    "template",
    "locale",
    "tags",
    "traceparent",
    "admitted_at",
];

/// The columns that change, in the order of [`state_values`].
const STATE: &[&str] = &[
    "version",
    "state",
    "reason",
    "step",
    "step_at",
    "snoozes",
    "snoozed_until",
    "sent_event_steps",
    "stop",
    "requested_step",
    "wake_at",
    "code",
    "quota_uses",
    "holds_quota_uses",
];

/// The columns of an attempt, in the order of [`attempt_values`].
const ATTEMPT: &[&str] = &[
    "n",
    "step",
    "channel",
    "carrier",
    "claim",
    "repeats",
    "begun_at",
    "deadline",
    "closed_at",
    "outcome",
    "detail",
    "retry_after_ms",
    "message_id",
    "carrier_code",
    "segments",
    "price",
    "receipt",
    "receipt_reason",
    "receipt_code",
    "receipt_at",
    "corrected_reason",
    "corrected_code",
    "corrected_at",
];

static LOAD: LazyLock<String> =
    LazyLock::new(|| format!("select {} from dispatch where uid = ?1", [ORDER, STATE].concat().join(", ")));
static LOAD_ATTEMPTS: LazyLock<String> =
    LazyLock::new(|| format!("select {} from attempt where uid = ?1 order by n", ATTEMPT.join(", ")));
static INSERT: LazyLock<String> =
    LazyLock::new(|| insert_into("insert into dispatch", &[LOOK_UPS, ORDER, STATE].concat()));
static PUT_ATTEMPT: LazyLock<String> =
    LazyLock::new(|| insert_into("insert or replace into attempt", &[&["uid"], ATTEMPT].concat()));
static UPDATE: LazyLock<String> = LazyLock::new(|| {
    let sets: Vec<String> =
        STATE.iter().enumerate().map(|(i, name)| format!("{name} = ?{}", i + 2)).collect();
    format!("update dispatch set {} where uid = ?1", sets.join(", "))
});

fn insert_into(insert: &str, columns: &[&str]) -> String {
    let marks: Vec<String> = (1..=columns.len()).map(|i| format!("?{i}")).collect();
    format!("{insert} ({}) values ({})", columns.join(", "), marks.join(", "))
}

/// Reads a dispatch with all its attempts.
pub(super) fn load(db: &Connection, uid: Uuid, now: Timestamp) -> Result<Option<Dispatch>, Fault> {
    let mut statement = db.prepare_cached(&LOAD)?;
    let mut rows = statement.query([uid.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut d = read(&mut Columns { row, next: 0 }, now)?;
    let mut statement = db.prepare_cached(&LOAD_ATTEMPTS)?;
    let mut rows = statement.query([uid.to_string()])?;
    while let Some(row) = rows.next()? {
        d.attempts.push(read_attempt(&mut Columns { row, next: 0 })?);
    }
    Ok(Some(d))
}

/// Inserts a new dispatch with its attempts.
pub(super) fn insert(db: &Connection, job: &Admission, d: &Dispatch) -> Result<(), Fault> {
    let (supersedes, issued_at) = job.supersedes.as_ref().map(|(key, at)| (key.as_str(), *at)).unzip();
    let mut values =
        vec![text(&job.content), text(&job.number_key), maybe_text(supersedes), maybe_time(issued_at)];
    values.extend(order_values(d)?);
    values.extend(state_values(d)?);
    db.prepare_cached(&INSERT)?.execute(params_from_iter(values))?;
    d.attempts.iter().try_for_each(|a| put_attempt(db, d.order.uid, a))
}

/// Updates the columns of a dispatch that change. Attempts are written separately by [`put_attempt`].
pub(super) fn update(db: &Connection, d: &Dispatch) -> Result<(), Fault> {
    let mut values = vec![owned(d.order.uid.to_string())];
    values.extend(state_values(d)?);
    db.prepare_cached(&UPDATE)?.execute(params_from_iter(values))?;
    Ok(())
}

/// Inserts or replaces one attempt.
pub(super) fn put_attempt(db: &Connection, uid: Uuid, a: &Attempt) -> Result<(), Fault> {
    let mut values = vec![owned(uid.to_string())];
    values.extend(attempt_values(a));
    db.prepare_cached(&PUT_ATTEMPT)?.execute(params_from_iter(values))?;
    Ok(())
}

type Sql<'a> = ToSqlOutput<'a>;

fn text(text: &str) -> Sql<'_> {
    Sql::Borrowed(ValueRef::Text(text.as_bytes()))
}

fn maybe_text(value: Option<&str>) -> Sql<'_> {
    value.map_or(Sql::Owned(Value::Null), text)
}

fn owned(text: String) -> Sql<'static> {
    Sql::Owned(Value::Text(text))
}

fn json<T: serde::Serialize>(value: &T) -> Result<Sql<'static>, Fault> {
    Ok(owned(serde_json::to_string(value)?))
}

fn integer(n: impl Into<i64>) -> Sql<'static> {
    Sql::Owned(Value::Integer(n.into()))
}

fn maybe_integer(n: Option<impl Into<i64>>) -> Sql<'static> {
    n.map_or(Sql::Owned(Value::Null), integer)
}

fn maybe_time(t: Option<Timestamp>) -> Sql<'static> {
    Sql::Owned(time(t))
}

/// A time as it is stored: microseconds since 1970.
pub(super) fn time(t: Option<Timestamp>) -> Value {
    t.map_or(Value::Null, |t| Value::Integer(t.as_microsecond()))
}

fn order_values(d: &Dispatch) -> Result<[Sql<'_>; ORDER.len()], Fault> {
    let o = &d.order;
    Ok([
        owned(o.uid.to_string()),
        text(&o.tenant),
        owned(o.id.to_string()),
        text(&o.mask),
        text(&o.number),
        maybe_text(o.country.as_deref()),
        owned(o.plan.to_text()),
        integer(o.expires_at.as_microsecond()),
        integer(o.fallback_after_s),
        text(&o.template),
        maybe_text(o.locale.as_deref()),
        json(&o.tags)?,
        maybe_text(o.traceparent.as_deref()),
        integer(d.admitted_at.as_microsecond()),
    ])
}

fn state_values(d: &Dispatch) -> Result<[Sql<'_>; STATE.len()], Fault> {
    Ok([
        integer(d.version),
        text(d.state.as_str()),
        maybe_text(d.reason.map(Reason::as_str)),
        integer(d.step),
        integer(d.step_at.as_microsecond()),
        integer(d.snoozes),
        maybe_time(d.snoozed_until),
        integer(d.sent_event_steps),
        maybe_text(d.stop.map(Stop::as_str)),
        maybe_integer(d.requested_step),
        maybe_time(d.wake_at),
        maybe_text(d.code.as_deref()),
        json(&d.quota_uses)?,
        integer(d.holds_quota_uses),
    ])
}

fn attempt_values(a: &Attempt) -> [Sql<'_>; ATTEMPT.len()] {
    [
        integer(a.n),
        integer(a.step),
        text(a.channel.as_str()),
        text(&a.carrier),
        owned(a.claim.to_string()),
        maybe_integer(a.repeats),
        integer(a.begun_at.as_microsecond()),
        integer(a.deadline.as_microsecond()),
        maybe_time(a.closed_at),
        maybe_text(a.outcome.map(Outcome::word)),
        maybe_text(a.outcome.and_then(Outcome::detail)),
        maybe_integer(a.outcome.and_then(Outcome::retry_after_ms)),
        maybe_text(a.details.message_id.as_deref()),
        maybe_text(a.details.carrier_code.as_deref()),
        maybe_integer(a.details.segments),
        maybe_text(a.details.price.as_deref()),
        maybe_text(a.receipt.map(ReceiptStatus::as_str)),
        maybe_text(a.receipt_reason.map(Reason::as_str)),
        maybe_text(a.receipt_code.as_deref()),
        maybe_time(a.receipt_at),
        maybe_text(a.corrected_reason.map(Reason::as_str)),
        maybe_text(a.corrected_code.as_deref()),
        maybe_time(a.corrected_at),
    ]
}

/// Reads the columns of a row in order.
struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl Columns<'_> {
    fn take<T: FromSql>(&mut self) -> Result<T, Fault> {
        self.next += 1;
        Ok(self.row.get(self.next - 1)?)
    }

    fn text(&mut self) -> Result<Option<&str>, Fault> {
        self.next += 1;
        self.row.get_ref(self.next - 1)?.as_str_or_null().map_err(|_| Fault::UnknownForm)
    }

    /// A text of another type: a word, or an id.
    fn parsed<T: FromStr>(&mut self) -> Result<T, Fault> {
        self.maybe_parsed()?.ok_or(Fault::UnknownForm)
    }

    fn maybe_parsed<T: FromStr>(&mut self) -> Result<Option<T>, Fault> {
        self.text()?.map(|text| text.parse().map_err(|_| Fault::UnknownForm)).transpose()
    }

    fn time(&mut self) -> Result<Timestamp, Fault> {
        self.maybe_time()?.ok_or(Fault::UnknownForm)
    }

    fn maybe_time(&mut self) -> Result<Option<Timestamp>, Fault> {
        let at = |us| Timestamp::from_microsecond(us).map_err(|_| Fault::UnknownForm);
        self.take::<Option<i64>>()?.map(at).transpose()
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Fault> {
        Ok(serde_json::from_str(self.text()?.unwrap_or_default())?)
    }
}

/// Reads the columns [`ORDER`] and [`STATE`].
fn read(c: &mut Columns<'_>, now: Timestamp) -> Result<Dispatch, Fault> {
    let order = Order {
        uid: c.parsed()?,
        tenant: c.take()?,
        id: c.parsed()?,
        mask: c.take()?,
        number: c.take()?,
        country: c.take()?,
        plan: c.text()?.and_then(Plan::from_text).ok_or(Fault::UnknownForm)?,
        expires_at: c.time()?,
        fallback_after_s: c.take()?,
        template: c.take()?,
        locale: c.take()?,
        tags: c.json()?,
        traceparent: c.take()?,
    };
    Ok(Dispatch {
        order: order.into(),
        admitted_at: c.time()?,
        version: c.take()?,
        state: c.parsed()?,
        reason: c.maybe_parsed()?,
        step: c.take()?,
        step_at: c.time()?,
        snoozes: c.take()?,
        snoozed_until: c.maybe_time()?,
        sent_event_steps: c.take()?,
        stop: c.maybe_parsed()?,
        requested_step: c.take()?,
        wake_at: c.maybe_time()?,
        code: c.take()?,
        quota_uses: c.json()?,
        holds_quota_uses: c.take()?,
        attempts: vec![],
        now,
    })
}

/// Reads the columns [`ATTEMPT`].
fn read_attempt(c: &mut Columns<'_>) -> Result<Attempt, Fault> {
    let (n, step, channel, carrier, claim) = (c.take()?, c.take()?, c.parsed()?, c.take()?, c.parsed()?);
    let (repeats, begun_at, deadline, closed_at) = (c.take()?, c.time()?, c.time()?, c.maybe_time()?);
    let (word, detail): (Option<String>, Option<String>) = (c.take()?, c.take()?);
    let outcome =
        Outcome::from_words(word.as_deref(), detail.as_deref(), c.take()?).map_err(|_| Fault::UnknownForm)?;
    Ok(Attempt {
        n,
        step,
        channel,
        carrier,
        claim,
        repeats,
        begun_at,
        deadline,
        closed_at,
        outcome,
        details: Details {
            message_id: c.take()?,
            carrier_code: c.take()?,
            segments: c.take()?,
            price: c.take()?,
        },
        receipt: c.maybe_parsed()?,
        receipt_reason: c.maybe_parsed()?,
        receipt_code: c.take()?,
        receipt_at: c.maybe_time()?,
        corrected_reason: c.maybe_parsed()?,
        corrected_code: c.take()?,
        corrected_at: c.maybe_time()?,
    })
}
