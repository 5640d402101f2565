//! What the ledger does, in plain Rust over one file: the same decisions that `PostgreSQL`'s functions make.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::row::{insert, load, put_attempt, time, update};
use super::{Fault, TELL_AGAIN};
use crate::attempt::{Outcome, Reason, State};
use crate::clock::after;
use crate::dispatch::{Dispatch, Event, Slot};
use crate::ledger::items::{
    Admission, Admitted, Beginning, Begun, Closing, Concluded, Deciding, Limit, Marked, Marking, Recorded,
    Recording,
};
use crate::next::{LEASE, Slots};
use crate::quota;

fn uid_of(db: &Connection, tenant: &str, id: Uuid) -> Result<Option<(Uuid, String)>, Fault> {
    let found: Option<(String, String)> = db
        .prepare_cached("select uid, content from dispatch where tenant = ?1 and id = ?2")?
        .query_row((tenant, id.to_string()), |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    Ok(found.and_then(|(uid, content)| Some((uid.parse().ok()?, content))))
}

pub(super) fn find(
    db: &Connection, tenant: &str, id: Uuid, now: Timestamp,
) -> Result<Option<Dispatch>, Fault> {
    match uid_of(db, tenant, id)? {
        Some((uid, _)) => load(db, uid, now),
        None => Ok(None),
    }
}

fn slots(db: &Connection, key: &str) -> Result<Vec<Timestamp>, Fault> {
    let text: Option<String> = db
        .prepare_cached("select slots from quota where key = ?1")?
        .query_row([key], |r| r.get(0))
        .optional()?;
    let micros: Vec<i64> = text.map(|t| serde_json::from_str(&t)).transpose()?.unwrap_or_default();
    Ok(micros.into_iter().filter_map(|us| Timestamp::from_microsecond(us).ok()).collect())
}

fn put_slots(db: &Connection, key: &str, slots: &[Timestamp]) -> Result<(), Fault> {
    let micros: Vec<i64> = slots.iter().map(|t| t.as_microsecond()).collect();
    db.prepare_cached("insert or replace into quota values (?1, ?2)")?
        .execute((key, serde_json::to_string(&micros)?))?;
    Ok(())
}

/// Takes a slot under each limit, or none at all; refused: seconds until there is room.
fn take_slots(db: &Connection, limits: &[&Limit], now: Timestamp) -> Result<Result<Vec<Slot>, u64>, Fault> {
    let (mut taken, mut waits) = (vec![], vec![]);
    for limit in limits {
        let mut kept = slots(db, &limit.key)?;
        match quota::take(&mut kept, &limit.rules, now) {
            Ok(at) => taken.push((&limit.key, kept, at)),
            Err(until) => waits.push(quota::retry_after_s(now, until)),
        }
    }
    if let Some(wait) = waits.into_iter().max() {
        return Ok(Err(wait));
    }
    for (key, kept, _) in &taken {
        put_slots(db, key, kept)?;
    }
    Ok(Ok(taken.into_iter().map(|(key, _, at)| Slot { key: key.clone(), at }).collect()))
}

pub(super) fn admit(db: &Connection, job: &Admission, now: Timestamp) -> Result<Admitted, Fault> {
    if let Some((uid, content)) = uid_of(db, &job.order.tenant, job.order.id)? {
        if content != job.content {
            return Ok(Admitted::Conflict);
        }
        let Some(d) = load(db, uid, now)? else {
            return Ok(Admitted::Conflict);
        };
        let mine = job.attempt.as_ref().is_some_and(|a| d.open().is_some_and(|open| open.claim == a.claim));
        return Ok(Admitted::Known { uid, state: d.state, version: d.version, mine });
    }
    let mut d = job.clone().into_queued(now);
    let mut retry_after_s = None;
    if let Some(refusal) = job.refusal {
        (d.state, d.reason) = (refusal.state, Some(refusal.reason));
    } else if newer_exists(db, job)? {
        (d.state, d.reason) = (State::Superseded, Some(Reason::Newer));
    } else {
        place(db, job, &mut d, &mut retry_after_s, now)?;
    }
    let refused = d.state.is_final();
    if refused {
        d.wake_at = None;
        d.code = None;
        if !job.keep_refusal {
            let reason = d.reason.unwrap_or(Reason::Quota);
            return Ok(Admitted::Refused { state: d.state, reason, retry_after_s });
        }
        if job.owes {
            d.owed.push(Event {
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
    let superseded = if refused { vec![] } else { stop_older(db, job, now)? };
    let tell_at = (!d.owed.is_empty()).then(|| after(now, TELL_AGAIN));
    let text = |t: &str| Sql::Text(t.to_owned());
    let (key, issued_at) = job.supersedes.as_ref().map_or((Sql::Null, None), |(k, at)| (text(k), Some(*at)));
    let extra = [
        ("content", text(&job.content)),
        ("number_key", text(&job.number_key)),
        ("supersedes", key),
        ("issued_at", time(issued_at)),
        ("tell_at", time(tell_at)),
    ];
    insert(db, &d, &extra)?;
    Ok(Admitted::Born { state: d.state, reason: d.reason, slots: d.slots, now, retry_after_s, superseded })
}

/// Takes the slots and gives the row its place: `sending`, `queued`, or `limited`.
fn place(
    db: &Connection, job: &Admission, d: &mut Dispatch, retry_after_s: &mut Option<u64>, now: Timestamp,
) -> Result<(), Fault> {
    let limits: Vec<&Limit> = job.limits.iter().collect();
    let voice_wait = match &job.voice {
        Some(voice) => quota::free_at(&slots(db, &voice.key)?, &voice.rules, now),
        None => None,
    };
    let skip_to = job.skip_to();
    let number_has_room = {
        let mut room = true;
        for limit in &limits {
            room &= quota::free_at(&slots(db, &limit.key)?, &limit.rules, now).is_none();
        }
        room
    };
    if let Some(until) = voice_wait.filter(|_| number_has_room && skip_to >= job.order.plan.over()) {
        (d.state, d.reason, d.step) = (State::Limited, Some(Reason::VoiceQuota), skip_to);
        *retry_after_s = Some(quota::retry_after_s(now, until));
        return Ok(());
    }
    let with_voice = job.voice.iter().filter(|_| voice_wait.is_none());
    match take_slots(db, &limits.into_iter().chain(with_voice).collect::<Vec<_>>(), now)? {
        Err(wait) => {
            (d.state, d.reason) = (State::Limited, Some(Reason::Quota));
            *retry_after_s = Some(wait);
        }
        Ok(taken) => {
            d.slots = taken;
            d.slots_held = !d.slots.is_empty();
            match &job.attempt {
                Some(attempt) if voice_wait.is_none() => {
                    let attempt = attempt.begun(1, 1, now);
                    (d.state, d.wake_at) = (State::Sending, Some(attempt.deadline));
                    d.attempts.push(attempt);
                }
                _ if voice_wait.is_some() => d.step = skip_to,
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
                and state not in ('limited', 'refused', 'expired') and (issued_at, id) > (?2, ?3))",
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
        mark(db, *uid, crate::dispatch::Stop::Superseded, now)?;
    }
    Ok(older)
}

pub(super) fn begin(db: &Connection, b: &Beginning, now: Timestamp) -> Result<Begun, Fault> {
    let Some(mut d) = load(db, b.uid, now)? else {
        return Ok(Begun::Lost(None));
    };
    if d.open().is_some_and(|open| open.claim == b.attempt.claim) {
        return Ok(Begun::Begun(Box::new(d)));
    }
    if d.version != b.seen || d.open().is_some() || d.code.is_none() {
        return Ok(Begun::Lost(Some(Box::new(d))));
    }
    if let Some(voice) = &b.voice {
        match take_slots(db, &[voice], now)? {
            Ok(slots) => d.slots.extend(slots),
            Err(retry_after_s) => return Ok(Begun::VoiceRefused { retry_after_s, now }),
        }
    }
    if d.step != b.step {
        (d.step, d.step_at, d.snoozes) = (b.step, now, 0);
    }
    d.snoozed_until = None;
    d.version += 1;
    if d.state == State::Queued {
        d.state = State::Sending;
    }
    let attempt = b.attempt.begun(d.attempts.len() as u16 + 1, b.step, now);
    d.wake_at = Some(attempt.deadline);
    put_attempt(db, b.uid, &attempt)?;
    d.attempts.push(attempt);
    save(db, &d)?;
    Ok(Begun::Begun(Box::new(d)))
}

pub(super) fn conclude(db: &Connection, it: &Deciding, now: Timestamp) -> Result<Concluded, Fault> {
    let Some(mut d) = load(db, it.uid, now)? else {
        return Ok(Concluded::Lost(None));
    };
    let unseen = d.version != it.seen;
    let Some(closing) = &it.outcome else {
        if unseen {
            return Ok(Concluded::Lost(Some(Box::new(d))));
        }
        return write_conclusion(db, it, &mut d, now);
    };
    let Some(i) = d.attempts.iter().position(|a| a.n == closing.n && a.claim == closing.claim) else {
        return Ok(Concluded::Late { fact: false });
    };
    if d.attempts[i].outcome.is_some() {
        return late(db, closing, i, &mut d, now);
    }
    let a = &mut d.attempts[i];
    a.outcome = Some(closing.judgement.outcome);
    a.closed_at = Some(closing.at);
    a.details = closing.judgement.details.clone();
    put_attempt(db, it.uid, a)?;
    if unseen || it.conclusion.is_none() {
        d.version += 1;
        d.wake_at = Some(after(now, LEASE));
        save(db, &d)?;
        return Ok(Concluded::OutcomeOnly(Box::new(d)));
    }
    write_conclusion(db, it, &mut d, now)
}

fn write_conclusion(
    db: &Connection, it: &Deciding, d: &mut Dispatch, now: Timestamp,
) -> Result<Concluded, Fault> {
    let Some(conclusion) = &it.conclusion else {
        return Ok(Concluded::Lost(None));
    };
    conclusion.apply(d);
    if let Some(a) = conclusion.close.and_then(|n| d.attempts.iter().find(|a| a.n == n)) {
        put_attempt(db, it.uid, a)?;
    }
    for slot in d.slots.iter().filter(|_| conclusion.slots != Slots::Keep) {
        let mut kept = slots(db, &slot.key)?;
        kept.retain(|at| *at != slot.at);
        if conclusion.slots == Slots::TakeAgain {
            kept.push(slot.at);
            kept.sort();
        }
        put_slots(db, &slot.key, &kept)?;
    }
    let mut tell_at = tell_at(db, it.uid)?;
    if !conclusion.events.is_empty() {
        d.owed.extend(conclusion.events.iter().cloned());
        tell_at = Some(after(now, TELL_AGAIN));
    }
    update(db, d, tell_at)?;
    Ok(Concluded::Written)
}

/// Somebody else closed it, or this very finish came through before: add what the answer said, begin nothing.
fn late(
    db: &Connection, closing: &Closing, i: usize, d: &mut Dispatch, now: Timestamp,
) -> Result<Concluded, Fault> {
    let uid = d.order.uid;
    let a = &mut d.attempts[i];
    let known = matches!(a.outcome, Some(Outcome::Unknown | Outcome::Accepted));
    if closing.judgement.outcome != Outcome::Accepted || !known {
        return Ok(Concluded::Late { fact: false });
    }
    let fact = a.outcome == Some(Outcome::Unknown);
    a.outcome = Some(Outcome::Accepted);
    let said = closing.judgement.details.clone();
    a.details.reference = a.details.reference.take().or(said.reference);
    a.details.segments = a.details.segments.or(said.segments);
    a.details.price = a.details.price.take().or(said.price);
    put_attempt(db, uid, a)?;
    if fact {
        d.version += 1;
        d.wake_at = Some(now);
        save(db, d)?;
    }
    Ok(Concluded::Late { fact })
}

pub(super) fn record(db: &Connection, it: &Recording, now: Timestamp) -> Result<Recorded, Fault> {
    let found = load(db, it.uid, now)?;
    let attempt = found.and_then(|mut d: Dispatch| {
        let i = d.attempts.iter().position(|a| a.n == it.n && a.carrier == it.carrier)?;
        let a = d.attempts.swap_remove(i);
        Some((d, a))
    });
    let Some((mut d, mut a)) = attempt else {
        db.prepare_cached("insert or ignore into stray_receipt values (?1, ?2, ?3, ?4, ?5)")?.execute((
            it.uid.to_string(),
            it.n,
            &it.carrier,
            serde_json::to_string(&it.receipt)?,
            now.as_microsecond(),
        ))?;
        return Ok(Recorded::Stray);
    };
    if !a.learns_from(&it.receipt) {
        return Ok(Recorded::NothingNew);
    }
    a.learn(&it.receipt, now);
    put_attempt(db, it.uid, &a)?;
    d.version += 1;
    d.wake_at = Some(now);
    save(db, &d)?;
    Ok(Recorded::Recorded)
}

pub(super) fn stop(db: &Connection, it: &Marking, now: Timestamp) -> Result<Marked, Fault> {
    let Some(d) = find(db, &it.tenant, it.id, now)? else {
        return Ok(Marked::Unknown);
    };
    if d.state.is_final() {
        return Ok(Marked::Final { state: d.state });
    }
    if let Some(stop) = d.stop {
        return Ok(Marked::MarkedBefore { state: d.state, stop });
    }
    mark(db, d.order.uid, it.stop, now)?;
    Ok(Marked::Marked { uid: d.order.uid, state: d.state })
}

fn mark(db: &Connection, uid: Uuid, stop: crate::dispatch::Stop, now: Timestamp) -> Result<(), Fault> {
    let Some(mut d) = load(db, uid, now)? else {
        return Ok(());
    };
    d.stop = Some(stop);
    d.version += 1;
    if d.open().is_none() {
        d.wake_at = Some(now);
    }
    save(db, &d)
}

fn tell_at(db: &Connection, uid: Uuid) -> Result<Option<Timestamp>, Fault> {
    let us: Option<i64> = db
        .prepare_cached("select tell_at from dispatch where uid = ?1")?
        .query_row([uid.to_string()], |r| r.get(0))?;
    Ok(us.and_then(|us| Timestamp::from_microsecond(us).ok()))
}

/// Writes what changed of a dispatch; what it owes keeps its deadline.
fn save(db: &Connection, d: &Dispatch) -> Result<(), Fault> {
    update(db, d, tell_at(db, d.order.uid)?)
}

/// Takes a dispatch for a lease, if it is due.
pub(super) fn take(db: &Connection, uid: Uuid, now: Timestamp) -> Result<Option<Dispatch>, Fault> {
    let lease = after(now, LEASE).as_microsecond();
    let taken = db
        .prepare_cached("update dispatch set wake_at = ?2 where uid = ?1 and wake_at <= ?3")?
        .execute((uid.to_string(), lease, now.as_microsecond()))?;
    if taken == 0 { Ok(None) } else { load(db, uid, now) }
}

/// Takes what is due, the longest due first.
pub(super) fn take_due(
    db: &Connection, fresh: usize, begun: usize, now: Timestamp,
) -> Result<Vec<Dispatch>, Fault> {
    let mut taken = vec![];
    for (which, most) in [("state = 'queued'", fresh), ("state <> 'queued'", begun)] {
        let sql =
            format!("select uid from dispatch where wake_at <= ?1 and {which} order by wake_at limit ?2");
        let due: Vec<String> = db
            .prepare_cached(&sql)?
            .query_map((now.as_microsecond(), i64::try_from(most).unwrap_or(i64::MAX)), |r| r.get(0))?
            .collect::<Result<_, _>>()?;
        for uid in due.iter().filter_map(|u| u.parse().ok()) {
            taken.extend(take(db, uid, now)?);
        }
    }
    Ok(taken)
}

impl Admission {
    /// The dispatch as it is born when nothing is begun with it.
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
            told_steps: 0,
            stop: None,
            wake_at: Some(snoozed_until.unwrap_or(after(now, Duration::ZERO))),
            code: Some(self.code),
            slots: vec![],
            slots_held: false,
            born_at: now,
            owed: vec![],
            attempts: vec![],
            now,
        }
    }
}
