//! Deletes what is over.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::before;
use crate::flow::{Core, FlowError};
use crate::store::Value;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86400);

/// What is deleted: a condition with the time before which a row is over, and how long rows are kept.
const RULES: [(&str, Duration); 13] = [
    ("delete from code where expires_at < $1", MINUTE),
    ("delete from session where expires_at < $1", DAY),
    ("delete from challenge where created_at < $1", Duration::from_secs(30 * 86400)),
    ("delete from dispatch where issued_at < $1", Duration::from_secs(30 * 86400)),
    (
        "delete from method where state = 'pending' and verified_at is null and created_at < $1",
        Duration::from_secs(30 * 60),
    ),
    ("delete from method where state = 'removed' and created_at < $1", Duration::from_secs(60 * 86400)),
    ("delete from trust where expires_at < $1", Duration::ZERO),
    (
        "delete from device where seen_at < $1 and id not in (select device from trust)",
        Duration::from_secs(30 * 86400),
    ),
    ("delete from counter where expires_at < $1", Duration::ZERO),
    ("delete from notice where until < $1", Duration::ZERO),
    ("delete from event where at < $1", Duration::from_secs(400 * 86400)),
    ("delete from support_case where asked_at < $1", Duration::from_secs(400 * 86400)),
    ("delete from idempotency where expires_at < $1", Duration::ZERO),
];

/// Deletes what is over. Returns how many rows went.
pub async fn sweep(core: &Core) -> Result<u64, FlowError> {
    let mut deleted = 0;
    for (sql, kept) in RULES {
        // A transaction each: none holds locks for long.
        let mut tx = core.store.begin().await?;
        let now: Timestamp = tx.now().await?;
        deleted += tx.execute(sql, &[Value::Int(before(now, kept).as_millisecond())]).await?;
        tx.commit().await?;
    }
    core.rotate_signing_keys(false).await?;
    Ok(deleted)
}
