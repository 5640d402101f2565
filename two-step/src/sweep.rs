//! Deletes expired rows.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::before;
use crate::flow::{Core, FlowError};
use crate::method::{Method, PENDING_LIFE};
use crate::store::Value;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86400);

/// Maximum number of rows that one statement deletes.
const ROWS_PER_DELETE: u64 = 1000;

/// A table, its key, a condition with the time before which rows are deleted, and how long rows are kept.
type Rule = (&'static str, &'static str, &'static str, Duration);

/// The rows to delete.
const RULES: [Rule; 17] = [
    ("code", "id", "expires_at < $1", MINUTE),
    ("session", "id", "expires_at < $1", DAY),
    ("challenge", "id", "created_at < $1", Duration::from_secs(30 * 86400)),
    ("dispatch", "id", "issued_at < $1", Duration::from_secs(30 * 86400)),
    ("method", "id", "state = 'pending' and verified_at is null and created_at < $1", PENDING_LIFE),
    ("method", "id", "removed_at < $1", Duration::from_secs(30 * 86400)),
    ("trust", "id", "expires_at < $1", Duration::ZERO),
    (
        "device",
        "id",
        "seen_at < $1 and not exists (select 1 from trust where trust.device = device.id)",
        Duration::from_secs(30 * 86400),
    ),
    ("counter", "key_hash", "expires_at < $1", Duration::ZERO),
    ("notice", "token_hash", "until < $1", Duration::ZERO),
    ("event", "id", "at < $1", Duration::from_secs(400 * 86400)),
    ("support_case", "id", "asked_at < $1", Duration::from_secs(400 * 86400)),
    ("signing_key", "id", "retired_at < $1", Duration::from_secs(30 * 86400)),
    ("idempotency", "key_hash", "expires_at < $1", Duration::ZERO),
    ("app_nonce", "key_hash", "expires_at < $1", Duration::ZERO),
    ("app_request", "id", "created_at < $1", Duration::from_secs(30 * 86400)),
    // Unfinished set-ups whose methods are deleted.
    (
        "app_key",
        "method",
        "setup_until < $1 and not exists (select 1 from method where method.id = app_key.method)",
        Duration::ZERO,
    ),
];

/// Carries out due support cases, and deletes expired rows. Returns the number of deleted rows.
pub async fn sweep(core: &Core) -> Result<u64, FlowError> {
    core.carry_out_due_cases().await?;
    core.remove_idle_apps();
    let mut deleted = sweep_unsaved_sets(core).await?;
    for rule in RULES {
        match sweep_rows(core, rule).await {
            Ok(rows) => deleted += rows,
            // A failing table must not block the others.
            Err(e) => {
                tracing::warn!(table = rule.0, reason = %e, "expired rows were not deleted; the next run tries again");
            }
        }
    }
    core.resume_apps().await?;
    core.number_events().await?;
    core.rotate_signing_keys(false).await?;
    Ok(deleted)
}

/// Deletes sets of recovery codes that the user did not save, with their codes.
async fn sweep_unsaved_sets(core: &Core) -> Result<u64, FlowError> {
    let mut tx = core.store.begin().await?;
    let since = Value::Int(before(tx.now().await?, PENDING_LIFE).as_millisecond());
    let lock = tx.locks("for update skip locked");
    let unsaved = format!(
        "where kind = 'recovery' and state = 'pending' and verified_at is null and created_at < $1 {lock}"
    );
    let sets = tx.select::<Method>(&unsaved, &[since]).await?;
    for set in &sets {
        core.delete_pending(&mut tx, set).await?;
    }
    tx.commit().await?;
    Ok(sets.len() as u64)
}

/// Deletes the rows of one rule in groups, so that no statement runs long or holds locks for long.
async fn sweep_rows(core: &Core, (table, key, over, kept): Rule) -> Result<u64, FlowError> {
    let mut deleted = 0;
    loop {
        let mut tx = core.store.begin().await?;
        let now: Timestamp = tx.now().await?;
        // Rows that a flow has locked are skipped. Waiting for them in another lock order could deadlock.
        let lock = tx.locks("for update skip locked");
        let sql = format!(
            "delete from {table} where {key} in (select {key} from {table} where {over} limit {ROWS_PER_DELETE} {lock})"
        );
        let rows = tx.execute(&sql, &[Value::Int(before(now, kept).as_millisecond())]).await?;
        tx.commit().await?;
        deleted += rows;
        if rows < ROWS_PER_DELETE {
            return Ok(deleted);
        }
    }
}
