//! Evaluates the current step: begin a request, wait, move on to the next step, or end the plan.

use jiff::Timestamp;

use super::{
    Begin, Candidate, LAST_CHANCE_MARGIN, MAX_ATTEMPTS_PER_DISPATCH, MAX_ATTEMPTS_PER_STEP, NoRoom, Policy,
    UnknownPolicy, WAIT_FROM_BEGIN, WAIT_FROM_CLOSE,
};
use crate::domain::attempt::{Attempt, Outcome, Reason, RefusalScope};
use crate::domain::backoff::{backoff, snooze_length};
use crate::domain::clock::{after, between};
use crate::domain::dispatch::Dispatch;

/// The result of evaluating the plan.
pub(super) enum StepResult {
    /// Begin a request.
    Begin(Begin),
    /// Wait until this time.
    WaitUntil(Timestamp),
    /// No further request may begin.
    End(PlanEnd),
}

/// Why no further request may begin.
#[derive(Clone, Copy)]
pub(super) enum PlanEnd {
    /// The remaining life of the code is too short, or zero.
    Life,
    /// The last step failed, for this reason.
    Exhausted(Reason),
    /// The voice quota refused the last step.
    Limited {
        /// Seconds until the voice quota admits the next call.
        retry_after_s: u64,
    },
    /// No step is left to try, the dispatch was stopped, or it had the maximum number of requests.
    NothingLeft,
}

/// The state of the current step, without regard to later steps.
enum StepState {
    /// These carriers may be tried, in this order.
    Ready { carriers: Vec<String>, repeats: Option<u16>, query_status_of: Option<u16> },
    /// The step waits until this time.
    WaitUntil(Timestamp),
    /// Attempt n was accepted, and its receipt is awaited.
    AwaitingReceipt(u16),
    /// The step failed, for this reason.
    Failed(Reason),
}

/// Evaluates the plan, assuming that the carriers have room.
pub(super) fn step_result(d: &Dispatch, now: Timestamp, policy: &Policy) -> StepResult {
    if d.stop.is_some() || d.step >= d.order.plan.end_step() {
        return StepResult::End(PlanEnd::NothingLeft);
    }
    if d.attempts.len() >= MAX_ATTEMPTS_PER_DISPATCH {
        return StepResult::End(PlanEnd::NothingLeft);
    }
    let step_state = step_state(d, now, policy);
    let step_failed = matches!(step_state, StepState::Failed(_));
    if let Some(begin) = requested_begin(d, now, policy).filter(|_| !step_failed) {
        return StepResult::Begin(begin);
    }
    if let Some(begin) = fallback_begin(d, now, policy).filter(|_| !step_failed) {
        let query_status_of = match step_state {
            StepState::AwaitingReceipt(n) => Some(n),
            StepState::Ready { query_status_of, .. } => query_status_of,
            _ => None,
        };
        return StepResult::Begin(Begin { query_status_of, ..begin });
    }
    match step_state {
        StepState::Ready { carriers, repeats, query_status_of } => begin_with_life(d, now, policy, &carriers)
            .map_or_else(
                || leave_step(d, Reason::Life, now, policy),
                |begin| StepResult::Begin(Begin { repeats, query_status_of, ..begin }),
            ),
        StepState::WaitUntil(until) => {
            let fallback = fallback_wake(d, policy).filter(|at| *at > now);
            StepResult::WaitUntil(until.min(fallback.unwrap_or(until)))
        }
        StepState::AwaitingReceipt(_) => fallback_wake(d, policy)
            .filter(|at| *at > now)
            .map_or(StepResult::WaitUntil(d.order.expires_at), StepResult::WaitUntil),
        StepState::Failed(reason) => leave_step(d, reason, now, policy),
    }
}

/// Evaluates the plan after no carrier had room for the current step.
pub(super) fn snooze_step(d: &mut Dispatch, no_room: NoRoom, now: Timestamp, policy: &Policy) -> StepResult {
    let last_chance =
        last_chance(d, policy.candidates(d.channel(d.step).expect("the step that was to begin")));
    if now >= last_chance {
        return leave_step(d, Reason::Life, now, policy);
    }
    if no_room == NoRoom::Closed
        && let Some(begin) = next_begin(d, now, policy).0
    {
        return StepResult::Begin(begin);
    }
    d.snoozes += 1;
    let wait = match no_room {
        NoRoom::Turn(wait) => wait,
        NoRoom::Busy | NoRoom::Closed => snooze_length(u32::from(d.snoozes)),
    };
    let until = after(now, wait).min(last_chance);
    d.snoozed_until = Some(until);
    StepResult::WaitUntil(until.min(fallback_wake(d, policy).filter(|at| *at > now).unwrap_or(until)))
}

fn step_state(d: &Dispatch, now: Timestamp, policy: &Policy) -> StepState {
    let candidates = d.channel(d.step).map_or(&[][..], |c| policy.candidates(c));
    if candidates.is_empty() {
        return StepState::Failed(Reason::NoRoute);
    }
    let tries: Vec<&Attempt> = d.attempts_of(d.step).collect();
    let step_state = match tries.last() {
        None => StepState::Ready { carriers: names(candidates), repeats: None, query_status_of: None },
        Some(last) => after_tries(d, now, candidates, &tries, last),
    };
    if matches!(step_state, StepState::WaitUntil(_) | StepState::Ready { .. })
        && let Some(reason) = hopeless(d, now, candidates, &tries, policy)
    {
        return StepState::Failed(reason);
    }
    // An early wake-up must not change the end of the snooze.
    match (step_state, d.snoozed_until) {
        (StepState::Ready { .. }, Some(until)) if until > now => StepState::WaitUntil(until),
        (step_state, _) => step_state,
    }
}

/// Returns the reason of a step that is left early: each of its carriers refuses the account or the sender, and a later step has a
/// carrier that may accept. Returns `None` for other steps.
fn hopeless(
    d: &Dispatch, now: Timestamp, candidates: &[Candidate], tries: &[&Attempt], policy: &Policy,
) -> Option<Reason> {
    if tries.iter().any(|a| a.is_unknown()) {
        return None;
    }
    let last_of = |c: &Candidate| tries.iter().rev().find(|a| a.carrier == c.carrier);
    let outcomes: Vec<(&Attempt, Outcome)> =
        candidates.iter().map(|c| last_of(c).and_then(|a| Some((*a, a.outcome?)))).collect::<Option<_>>()?;
    let refuses = |(_, outcome): &(&Attempt, Outcome)| matches!(outcome, Outcome::Misconfigured(_));
    let refuses_account = |carrier: &str| {
        outcomes.iter().any(|(a, outcome)| {
            a.carrier == carrier && *outcome == Outcome::Misconfigured(RefusalScope::Account)
        })
    };
    let has_other = || {
        next_begin(d, now, policy).0.is_some_and(|begin| begin.carriers.iter().any(|c| !refuses_account(c)))
    };
    let (_, last) = outcomes.last()?;
    (outcomes.iter().all(refuses) && has_other()).then(|| last.reason())
}

fn after_tries(
    d: &Dispatch, now: Timestamp, candidates: &[Candidate], tries: &[&Attempt], last: &Attempt,
) -> StepState {
    if let Some(a) = tries.iter().rev().find(|a| a.is_accepted() && !a.is_bad()) {
        return StepState::AwaitingReceipt(a.n);
    }
    if let Some(a) = tries.iter().rev().find(|a| a.is_bad()) {
        return StepState::Failed(a.receipt_reason.unwrap_or(Reason::Unexplained));
    }
    let unknown: Vec<&Attempt> = tries.iter().copied().filter(|a| a.is_unknown()).collect();
    let repeats = unknown.first().map(|a| a.n);
    match last.outcome {
        Some(Outcome::Unknown) if unknown.len() > 1 => StepState::Failed(Reason::Unknown),
        Some(Outcome::Unknown) => after_unknown(last, now, candidates),
        Some(Outcome::Rejected(reason)) if reason != Reason::Request => StepState::Failed(reason),
        _ => {
            let all = |candidates| after_failure(d, now, candidates, tries, last, repeats);
            let Some((own, query_status_of, wait_end)) =
                repeat_carrier(unknown.first().copied(), now, candidates)
            else {
                return all(candidates);
            };
            match all(std::slice::from_ref(own)) {
                StepState::WaitUntil(until) => StepState::WaitUntil(until.min(wait_end)),
                StepState::Ready { carriers, repeats, .. } => {
                    StepState::Ready { carriers, repeats, query_status_of }
                }
                _ => all(candidates),
            }
        }
    }
}

/// Until the wait for a receipt ends, a repeat goes only to the carrier of the unknown attempt, because that carrier recognises and
/// drops a duplicate. Returns the carrier, the attempt to query, and the end of the wait.
fn repeat_carrier<'a>(
    unknown: Option<&Attempt>, now: Timestamp, candidates: &'a [Candidate],
) -> Option<(&'a Candidate, Option<u16>, Timestamp)> {
    let unknown = unknown?;
    let own = candidates.iter().find(|c| c.carrier == unknown.carrier)?;
    let query_status_of = match own.unknown {
        UnknownPolicy::Lookup => Some(unknown.n),
        UnknownPolicy::Idempotent => None,
        UnknownPolicy::Wait | UnknownPolicy::Never => return None,
    };
    let wait_end = wait_end(unknown, now);
    (now < wait_end).then_some((own, query_status_of, wait_end))
}

/// Returns until when a receipt for an unknown attempt is awaited.
fn wait_end(unknown: &Attempt, now: Timestamp) -> Timestamp {
    let closed = unknown.closed_at.unwrap_or(now);
    after(unknown.begun_at, WAIT_FROM_BEGIN).max(after(closed, WAIT_FROM_CLOSE))
}

fn after_unknown(last: &Attempt, now: Timestamp, candidates: &[Candidate]) -> StepState {
    let wait_end = wait_end(last, now);
    let policy =
        candidates.iter().find(|c| c.carrier == last.carrier).map_or(UnknownPolicy::Wait, |c| c.unknown);
    let (same, others): (Vec<_>, Vec<_>) = names(candidates).into_iter().partition(|c| *c == last.carrier);
    let waited = now >= wait_end;
    let carriers = match policy {
        // Other carriers are added only after the wait, in case the same carrier is still unavailable.
        UnknownPolicy::Lookup | UnknownPolicy::Idempotent if waited => [same, others].concat(),
        UnknownPolicy::Lookup | UnknownPolicy::Idempotent => same,
        _ if !waited => return StepState::WaitUntil(wait_end),
        UnknownPolicy::Never => return StepState::Failed(Reason::Unknown),
        UnknownPolicy::Wait => [others, same].concat(),
    };
    let query_status_of = (policy == UnknownPolicy::Lookup).then_some(last.n);
    StepState::Ready { carriers, repeats: Some(last.n), query_status_of }
}

/// Decides after an attempt that was not accepted: the next carrier is tried at once. After all carriers were tried, the step waits
/// for a back-off or snooze and starts again with the first.
fn after_failure(
    d: &Dispatch, now: Timestamp, candidates: &[Candidate], tries: &[&Attempt], last: &Attempt,
    repeats: Option<u16>,
) -> StepState {
    let reason = last.outcome.map_or(Reason::Unknown, Outcome::reason);
    if tries.iter().filter(|a| a.outcome.is_some_and(Outcome::counts)).count() >= MAX_ATTEMPTS_PER_STEP {
        return StepState::Failed(reason);
    }
    let refused = |c: &Candidate| {
        tries.iter().any(|a| a.carrier == c.carrier && a.outcome == Some(Outcome::Rejected(Reason::Request)))
    };
    let usable: Vec<&Candidate> = candidates.iter().filter(|c| !refused(c)).collect();
    if usable.is_empty() {
        return StepState::Failed(reason);
    }
    let (mut round, mut full_rounds, mut closed): (Vec<&Attempt>, u32, Vec<&Attempt>) = (vec![], 0, vec![]);
    for a in tries {
        round.push(a);
        if usable.iter().all(|c| round.iter().any(|a| a.carrier == c.carrier)) {
            full_rounds += 1;
            closed = std::mem::take(&mut round);
        }
    }
    if !round.is_empty() {
        let untried = usable.iter().filter(|c| round.iter().all(|a| a.carrier != c.carrier));
        let carriers = untried.map(|c| c.carrier.clone()).collect();
        return StepState::Ready { carriers, repeats, query_status_of: None };
    }
    let last_closed = last.closed_at.unwrap_or(now);
    let last_chance = last_chance(d, candidates);
    if last_chance <= last_closed {
        return StepState::Failed(Reason::Life);
    }
    let backoff_end = after(last_closed, backoff(d.order.uid, last.n, full_rounds));
    let ready_again = |a: &Attempt| asked_to_wait_until(a, full_rounds).unwrap_or(backoff_end);
    let until = closed.iter().map(|a| ready_again(a)).min().unwrap_or(backoff_end).min(last_chance);
    if now < until {
        return StepState::WaitUntil(until);
    }
    // A carrier that is still throttling comes last.
    let waits = |c: &&Candidate| closed.iter().any(|a| a.carrier == c.carrier && ready_again(a) > now);
    let (waiting, ready): (Vec<&Candidate>, Vec<&Candidate>) = usable.into_iter().partition(waits);
    StepState::Ready {
        carriers: ready.into_iter().chain(waiting).map(|c| c.carrier.clone()).collect(),
        repeats,
        query_status_of: None,
    }
}

/// Returns until when a carrier that throttled the attempt must not be tried again. A misconfigured account pauses for the same
/// time.
fn asked_to_wait_until(a: &Attempt, round: u32) -> Option<Timestamp> {
    let pause = match a.outcome {
        // `Retry-After: 0` is not trusted: the pause lasts at least one snooze.
        Some(Outcome::Throttled { retry_after: Some(asked) }) => asked.max(snooze_length(round)),
        Some(Outcome::Throttled { .. } | Outcome::Misconfigured(_)) => snooze_length(round),
        _ => return None,
    };
    Some(after(a.closed_at?, pause))
}

/// Leaves the step: returns a begin of the next step that can serve, or ends the plan.
fn leave_step(d: &Dispatch, reason: Reason, now: Timestamp, policy: &Policy) -> StepResult {
    let end = if reason == Reason::Life { PlanEnd::Life } else { PlanEnd::Exhausted(reason) };
    if reason.ends_plan() {
        return StepResult::End(end);
    }
    let (begin, short_of_life) = next_begin(d, now, policy);
    match begin {
        Some(begin) => StepResult::Begin(begin),
        None if short_of_life => StepResult::End(PlanEnd::Life),
        None => StepResult::End(end),
    }
}

/// Returns a begin of the first later step that can serve. If there is none, the flag says whether a longer remaining life of the
/// code would have allowed one.
fn next_begin(d: &Dispatch, now: Timestamp, policy: &Policy) -> (Option<Begin>, bool) {
    let mut short_of_life = false;
    for step in d.step + 1..d.order.plan.end_step() {
        let Some(channel) = d.channel(step) else { break };
        let barred = |r: Reason| r.bars_channel();
        let closed_off = d.attempts.iter().filter(|a| a.channel == channel).any(|a| {
            matches!(a.outcome, Some(Outcome::Rejected(r)) if barred(r))
                || a.receipt_reason.is_some_and(barred)
        });
        let carriers = names(policy.candidates(channel));
        if closed_off || carriers.is_empty() {
            continue;
        }
        match with_enough_life(d, now, policy.candidates(channel), &carriers) {
            carriers if carriers.is_empty() => short_of_life = true,
            carriers => {
                return (
                    Some(Begin { step, channel, carriers, repeats: None, query_status_of: None }),
                    false,
                );
            }
        }
    }
    (None, short_of_life)
}

/// Returns a begin of the next step if the sender requested it. Such a begin does not wait for anything.
fn requested_begin(d: &Dispatch, now: Timestamp, policy: &Policy) -> Option<Begin> {
    let requested = d.requested_step.is_some_and(|step| step > d.step);
    if requested { next_begin(d, now, policy).0 } else { None }
}

/// Returns a begin of the next step if the fallback time of the current step has passed.
fn fallback_begin(d: &Dispatch, now: Timestamp, policy: &Policy) -> Option<Begin> {
    // The fallback time does not apply to a step that was neither tried nor snoozed.
    let tried = d.snoozes > 0 || d.attempts_of(d.step).next().is_some();
    let passed = d.fallback_at().is_some_and(|at| at <= now);
    if tried && passed { next_begin(d, now, policy).0 } else { None }
}

/// Returns the fallback time of the current step, if a later step could begin then.
fn fallback_wake(d: &Dispatch, policy: &Policy) -> Option<Timestamp> {
    d.fallback_at().filter(|at| next_begin(d, *at, policy).0.is_some())
}

fn begin_with_life(d: &Dispatch, now: Timestamp, policy: &Policy, carriers: &[String]) -> Option<Begin> {
    let channel = d.channel(d.step)?;
    let carriers = with_enough_life(d, now, policy.candidates(channel), carriers);
    let any = !carriers.is_empty();
    any.then_some(Begin { step: d.step, channel, carriers, repeats: None, query_status_of: None })
}

/// Returns the carriers for which the remaining life of the code is sufficient.
fn with_enough_life(
    d: &Dispatch, now: Timestamp, candidates: &[Candidate], carriers: &[String],
) -> Vec<String> {
    let life = between(now, d.order.expires_at);
    let enough =
        |name: &&String| candidates.iter().find(|c| c.carrier == **name).is_some_and(|c| life >= c.min_life);
    carriers.iter().filter(enough).cloned().collect()
}

/// Returns the latest time at which a pause may end.
fn last_chance(d: &Dispatch, candidates: &[Candidate]) -> Timestamp {
    let min_life = candidates.iter().map(|c| c.min_life).min().unwrap_or(super::MIN_LIFE);
    let margin = min_life + LAST_CHANCE_MARGIN;
    d.order.expires_at.checked_sub(margin).unwrap_or(Timestamp::MIN)
}

fn names(candidates: &[Candidate]) -> Vec<String> {
    candidates.iter().map(|c| c.carrier.clone()).collect()
}
