//! Loads what an admission needs, and stores what it decides.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::{Fault, load_quotas, outbox, save, save_quotas, unreadable};
use crate::ledger::decide::{self, AdmissionDecision, KnownRow, MAX_SAME_SIGN_IN, SameSignIn};
use crate::ledger::items::{Admission, AdmissionResult, EventBatch};
use crate::ledger::sqlite::row::{insert, load};

pub(in crate::ledger::sqlite) fn admit(
    db: &Connection, job: &Admission, now: Timestamp, batches: &mut Vec<EventBatch>,
) -> Result<AdmissionResult, Fault> {
    if let Some(known) = known_row(db, job)? {
        return Ok(decide::answer_known(job, &known));
    }
    let mut quotas = load_quotas(db, job.limits.iter().chain(&job.channel_limit).map(|l| l.key.as_str()))?;
    let mut same_sign_in = load_same_sign_in(db, job, now)?;
    let before = same_sign_in.older.clone();
    let AdmissionDecision { result, row, events } = decide::admit(job, &mut same_sign_in, &mut quotas, now);
    save_quotas(db, &quotas)?;
    for (before, older) in before.iter().zip(&same_sign_in.older) {
        save(db, before, older)?;
    }
    if let Some(row) = row {
        insert(db, job, &row)?;
    }
    batches.extend(outbox::insert(db, &job.order, &events, job.destinations, now)?);
    Ok(result)
}

fn known_row(db: &Connection, job: &Admission) -> Result<Option<KnownRow>, Fault> {
    let sql = "select uid, content, state, version,
                      (select claim from attempt a where a.uid = dispatch.uid and a.outcome is null)
                 from dispatch where tenant = ?1 and id = ?2";
    let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?));
    let found: Option<(String, String, String, i64, Option<String>)> =
        db.prepare_cached(sql)?.query_row((&job.order.tenant, job.order.id.to_string()), row).optional()?;
    let Some((uid, content, state, version, claim)) = found else { return Ok(None) };
    let uid = uid.parse().map_err(|_| Fault::UnknownForm)?;
    let open_claim = claim.and_then(|claim| claim.parse().ok());
    Ok(Some(KnownRow { uid, content, state: state.parse().ok(), version, open_claim }))
}

fn load_same_sign_in(db: &Connection, job: &Admission, now: Timestamp) -> Result<SameSignIn, Fault> {
    let Some((key, at)) = &job.supersedes else { return Ok(SameSignIn::default()) };
    let rows: Vec<(String, i64)> = db
        .prepare_cached(
            "select uid, issued_at from dispatch where supersedes = ?1 and (version > 1 or wake_at is not null)
              order by issued_at desc, id desc limit ?2",
        )?
        .query_map((key, MAX_SAME_SIGN_IN as i64), |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut loaded = vec![];
    for (uid, issued_at) in rows {
        let issued_at = Timestamp::from_microsecond(issued_at).map_err(|_| Fault::UnknownForm)?;
        match load(db, uid.parse().map_err(|_| Fault::UnknownForm)?, now) {
            // The others count.
            Err(Fault::UnknownForm) => unreadable(&uid),
            found => loaded.extend(found?.map(|d| (issued_at, d))),
        }
    }
    Ok(SameSignIn::of((*at, job.order.id), loaded.iter().map(|(issued_at, d)| (*issued_at, d))))
}
