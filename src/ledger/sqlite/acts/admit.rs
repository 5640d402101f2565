//! Admits a job. The job is known, refused, or inserted with its quota uses.

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use uuid::Uuid;

use super::facts::mark;
use super::{Fault, quota_uses, take_quota_uses, uid_of, webhooks};
use crate::domain::attempt::{Reason, State};
use crate::domain::clock::after;
use crate::domain::dispatch::{Dispatch, Event, Stop};
use crate::domain::quota;
use crate::ledger::items::{Admission, AdmissionResult, Destinations, Limit};
use crate::ledger::sqlite::REPUBLISH_AFTER;
use crate::ledger::sqlite::row::{insert, load, time};

pub(in crate::ledger::sqlite) fn admit(
    db: &Connection, job: &Admission, now: Timestamp,
) -> Result<AdmissionResult, Fault> {
    if let Some((uid, content)) = uid_of(db, &job.order.tenant, job.order.id)? {
        if content != job.content {
            return Ok(AdmissionResult::Conflict);
        }
        let Some(d) = load(db, uid, now)? else {
            return Ok(AdmissionResult::Conflict);
        };
        let has_our_claim =
            job.attempt.as_ref().is_some_and(|a| d.open_attempt().is_some_and(|open| open.claim == a.claim));
        return Ok(AdmissionResult::Known { uid, state: d.state, version: d.version, has_our_claim });
    }
    let mut d = job.clone().into_queued(now);
    let (mut retry_after_s, mut events) = (None, vec![]);
    if let Some(refusal) = job.refusal {
        (d.state, d.reason) = (refusal.state, Some(refusal.reason));
    } else if newer_exists(db, job)? {
        (d.state, d.reason) = (State::Superseded, Some(Reason::Newer));
    } else {
        take_quotas(db, job, &mut d, &mut retry_after_s, now)?;
    }
    let refused = d.state.is_final();
    if refused {
        d.wake_at = None;
        d.code = None;
        if !job.keep_refusal {
            let reason = d.reason.unwrap_or(Reason::Quota);
            return Ok(AdmissionResult::Refused { state: d.state, reason, retry_after_s });
        }
        if job.destinations != Destinations::default() {
            events.push(Event {
                version: 1,
                state: d.state,
                at: now,
                step: d.step.min(d.order.plan.len() as u8),
                attempt: None,
                channel: None,
                carrier: None,
                reason: d.reason,
                retry_after_s,
            });
        }
    }
    if job.destinations.broker {
        d.pending_events.clone_from(&events);
    }
    let superseded = if refused { vec![] } else { stop_older(db, job, now)? };
    let republish_at = (!d.pending_events.is_empty()).then(|| after(now, REPUBLISH_AFTER));
    let text = |t: &str| Sql::Text(t.to_owned());
    let (key, issued_at) = job.supersedes.as_ref().map_or((Sql::Null, None), |(k, at)| (text(k), Some(*at)));
    let extra = [
        ("content", text(&job.content)),
        ("number_key", text(&job.number_key)),
        ("supersedes", key),
        ("issued_at", time(issued_at)),
        ("tell_at", time(republish_at)),
    ];
    insert(db, &d, &extra)?;
    if job.destinations.webhook {
        webhooks::insert_pending(db, &d, &events, now)?;
    }
    Ok(AdmissionResult::Inserted {
        state: d.state,
        reason: d.reason,
        quota_uses: d.quota_uses,
        now,
        retry_after_s,
        superseded,
    })
}

/// Records the quota uses and sets the state of the new row: `sending`, `queued` or `limited`.
fn take_quotas(
    db: &Connection, job: &Admission, d: &mut Dispatch, retry_after_s: &mut Option<u64>, now: Timestamp,
) -> Result<(), Fault> {
    let limits: Vec<&Limit> = job.limits.iter().collect();
    let channel_wait = match &job.channel_limit {
        Some(limit) => quota::free_at(&quota_uses(db, &limit.key)?, &limit.rules, now),
        None => None,
    };
    let skip_to = job.skip_to();
    let number_has_room = {
        let mut room = true;
        for limit in &limits {
            room &= quota::free_at(&quota_uses(db, &limit.key)?, &limit.rules, now).is_none();
        }
        room
    };
    if let Some(until) = channel_wait.filter(|_| number_has_room && skip_to >= job.order.plan.end_step()) {
        (d.state, d.reason, d.step) = (State::Limited, Some(Reason::VoiceQuota), skip_to);
        *retry_after_s = Some(quota::retry_after_s(now, until));
        return Ok(());
    }
    let with_channel = job.channel_limit.iter().filter(|_| channel_wait.is_none());
    match take_quota_uses(db, &limits.into_iter().chain(with_channel).collect::<Vec<_>>(), now)? {
        Err(wait) => {
            (d.state, d.reason) = (State::Limited, Some(Reason::Quota));
            *retry_after_s = Some(wait);
        }
        Ok(taken) => {
            d.quota_uses = taken;
            d.holds_quota_uses = !d.quota_uses.is_empty();
            match &job.attempt {
                Some(attempt) if channel_wait.is_none() => {
                    let attempt = attempt.begun(1, 1, now);
                    (d.state, d.wake_at) = (State::Sending, Some(attempt.deadline));
                    d.attempts.push(attempt);
                }
                _ if channel_wait.is_some() => d.step = skip_to,
                _ => {}
            }
        }
    }
    Ok(())
}

fn newer_exists(db: &Connection, job: &Admission) -> Result<bool, Fault> {
    let Some((key, at)) = &job.supersedes else {
        return Ok(false);
    };
    Ok(db
        .prepare_cached(
            "select exists (select 1 from dispatch where supersedes = ?1
                and slots <> '[]' and (issued_at, id) > (?2, ?3))",
        )?
        .query_row((key, at.as_microsecond(), job.order.id.to_string()), |r| r.get(0))?)
}

fn stop_older(db: &Connection, job: &Admission, now: Timestamp) -> Result<Vec<Uuid>, Fault> {
    let Some((key, at)) = &job.supersedes else {
        return Ok(vec![]);
    };
    let older: Vec<String> = db
        .prepare_cached(
            "select uid from dispatch where supersedes = ?1 and stop is null
                and state in ('queued', 'sending', 'sent') and (issued_at, id) < (?2, ?3)",
        )?
        .query_map((key, at.as_microsecond(), job.order.id.to_string()), |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    let older: Vec<Uuid> = older.iter().filter_map(|u| u.parse().ok()).collect();
    for uid in &older {
        mark(db, *uid, Stop::Superseded, now)?;
    }
    Ok(older)
}

impl Admission {
    /// The new dispatch in state `queued`, without an attempt.
    fn into_queued(self, now: Timestamp) -> Dispatch {
        let snoozed_until = self.snooze.map(|s| after(now, s));
        Dispatch {
            order: self.order,
            version: 1,
            state: State::Queued,
            reason: None,
            step: 1,
            step_at: now,
            snoozes: u16::from(snoozed_until.is_some()),
            snoozed_until,
            sent_event_steps: 0,
            stop: None,
            requested_step: None,
            wake_at: Some(snoozed_until.unwrap_or(now)),
            code: Some(self.code),
            quota_uses: vec![],
            holds_quota_uses: false,
            admitted_at: now,
            pending_events: vec![],
            attempts: vec![],
            now,
        }
    }
}
