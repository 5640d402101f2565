//! Maps rows to domain types through serde, by column name. Both ledgers thus store the same names and values.

use jiff::Timestamp;
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Fault;
use crate::domain::attempt::Attempt;
use crate::domain::dispatch::Dispatch;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Time,
    Bool,
    Json,
}
use Kind::{Bool, Json, Plain, Time};

const DISPATCH: &[(&str, Kind)] = &[
    ("uid", Plain),
    ("tenant", Plain),
    ("id", Plain),
    ("content", Plain),
    ("number_key", Plain),
    ("mask", Plain),
    ("number", Plain),
    ("country", Plain),
    ("plan", Json),
    ("expires_at", Time),
    ("fallback_after_s", Plain),
    ("template", Plain),
    ("locale", Plain),
    ("tags", Json),
    ("traceparent", Plain),
    ("supersedes", Plain),
    ("issued_at", Time),
    ("admitted_at", Time),
    ("version", Plain),
    ("state", Plain),
    ("reason", Plain),
    ("step", Plain),
    ("step_at", Time),
    ("snoozes", Plain),
    ("snoozed_until", Time),
    ("sent_event_steps", Plain),
    ("stop", Plain),
    ("requested_step", Plain),
    ("wake_at", Time),
    ("code", Plain),
    ("quota_uses", Json),
    ("holds_quota_uses", Bool),
];

const ATTEMPT: &[(&str, Kind)] = &[
    ("n", Plain),
    ("step", Plain),
    ("channel", Plain),
    ("carrier", Plain),
    ("claim", Plain),
    ("repeats", Plain),
    ("begun_at", Time),
    ("deadline", Time),
    ("closed_at", Time),
    ("outcome", Plain),
    ("detail", Plain),
    ("retry_after_ms", Plain),
    ("message_id", Plain),
    ("carrier_code", Plain),
    ("segments", Plain),
    ("price", Plain),
    ("receipt", Plain),
    ("receipt_reason", Plain),
    ("receipt_code", Plain),
    ("receipt_at", Time),
    ("corrected_reason", Plain),
    ("corrected_code", Plain),
    ("corrected_at", Time),
];

/// Reads a dispatch with all its attempts.
pub(super) fn load(db: &Connection, uid: Uuid, now: Timestamp) -> Result<Option<Dispatch>, Fault> {
    let uid = uid.to_string();
    let mut statement = db.prepare_cached("select * from dispatch where uid = ?1")?;
    let Some(mut row) = statement.query_row([&uid], |r| object(r, DISPATCH)).optional()? else {
        return Ok(None);
    };
    let mut statement = db.prepare_cached("select * from attempt where uid = ?1 order by n")?;
    let attempts: Vec<Value> =
        statement.query_map([&uid], |r| object(r, ATTEMPT).map(Value::Object))?.collect::<Result<_, _>>()?;
    row.insert("attempts".to_owned(), Value::Array(attempts));
    row.insert("now".to_owned(), Value::String(now.to_string()));
    Ok(Some(serde_json::from_value(Value::Object(row))?))
}

/// Inserts a new dispatch. `extra` holds the columns that the domain type does not have.
pub(super) fn insert(db: &Connection, d: &Dispatch, extra: &[(&str, Sql)]) -> Result<(), Fault> {
    let marks: Vec<String> = (1..=DISPATCH.len()).map(|i| format!("?{i}")).collect();
    let names: Vec<&str> = DISPATCH.iter().map(|(name, _)| *name).collect();
    let sql = format!("insert into dispatch ({}) values ({})", names.join(", "), marks.join(", "));
    let row = serde_json::to_value(d)?;
    let values = DISPATCH.iter().map(|(name, kind)| {
        let given = extra.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        given.unwrap_or_else(|| sql_value(&row[*name], *kind))
    });
    db.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    for a in &d.attempts {
        put_attempt(db, d.order.uid, a)?;
    }
    Ok(())
}

/// Updates the mutable columns of a dispatch. Attempts are written separately by [`put_attempt`].
pub(super) fn update(db: &Connection, d: &Dispatch) -> Result<(), Fault> {
    let changing = &DISPATCH[DISPATCH.iter().position(|(n, _)| *n == "version").unwrap_or(0)..];
    let sets: Vec<String> =
        changing.iter().enumerate().map(|(i, (name, _))| format!("{name} = ?{}", i + 2)).collect();
    let sql = format!("update dispatch set {} where uid = ?1", sets.join(", "));
    let row = serde_json::to_value(d)?;
    let values = std::iter::once(Sql::Text(d.order.uid.to_string()))
        .chain(changing.iter().map(|(name, kind)| sql_value(&row[*name], *kind)));
    db.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(())
}

/// Inserts or replaces one attempt.
pub(super) fn put_attempt(db: &Connection, uid: Uuid, a: &Attempt) -> Result<(), Fault> {
    let marks: Vec<String> = (2..=ATTEMPT.len() + 1).map(|i| format!("?{i}")).collect();
    let names: Vec<&str> = ATTEMPT.iter().map(|(name, _)| *name).collect();
    let sql = format!(
        "insert or replace into attempt (uid, {}) values (?1, {})",
        names.join(", "),
        marks.join(", ")
    );
    let row = serde_json::to_value(a)?;
    let values = ATTEMPT.iter().map(|(name, kind)| sql_value(&row[*name], *kind));
    db.prepare_cached(&sql)?
        .execute(params_from_iter(std::iter::once(Sql::Text(uid.to_string())).chain(values)))?;
    Ok(())
}

pub(super) fn time(t: Option<Timestamp>) -> Sql {
    t.map_or(Sql::Null, |t| Sql::Integer(t.as_microsecond()))
}

fn sql_value(value: &Value, kind: Kind) -> Sql {
    match (kind, value) {
        (_, Value::Null) => Sql::Null,
        (Json, value) => Sql::Text(value.to_string()),
        (Time, value) => time(value.as_str().and_then(|t| t.parse().ok())),
        (_, Value::Bool(b)) => Sql::Integer(i64::from(*b)),
        (_, Value::Number(n)) => Sql::Integer(n.as_i64().unwrap_or(i64::MAX)),
        (_, Value::String(s)) => Sql::Text(s.clone()),
        (_, value) => Sql::Text(value.to_string()),
    }
}

fn object(row: &Row<'_>, columns: &[(&str, Kind)]) -> rusqlite::Result<Map<String, Value>> {
    columns
        .iter()
        .map(|(name, kind)| {
            let value = match (kind, row.get_ref(*name)?) {
                (Time, ValueRef::Integer(us)) => {
                    Timestamp::from_microsecond(us).map_or(Value::Null, |t| Value::String(t.to_string()))
                }
                (Bool, ValueRef::Integer(b)) => Value::Bool(b != 0),
                (Json, ValueRef::Text(t)) => serde_json::from_slice(t).unwrap_or(Value::Null),
                (_, ValueRef::Integer(i)) => Value::from(i),
                (_, ValueRef::Text(t)) => Value::String(String::from_utf8_lossy(t).into_owned()),
                _ => Value::Null,
            };
            Ok(((*name).to_owned(), value))
        })
        .collect()
}
