//! Running dispatches: from a job at the broker, or from a row that is due, to what becomes of it.

mod acts;
mod begin;
mod disposition;
mod job;
mod messages;
mod sending;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::carriers::Request;
use crate::config::live::Live;
use crate::delivery::routing::{Account, Ready, Routes};
use crate::delivery::wake::Waker;
use crate::domain::attempt::{Attempt, AttemptId, Reason, State};
use crate::domain::clock::{after, between};
use crate::domain::decide::{Begin, Decision, Policy, next};
use crate::domain::dispatch::{Dispatch, Event};
use crate::intake::admission::Admitter;
use crate::ledger::health::LedgerHealth;
use crate::ledger::{Concluded, DecisionWrite, Ledger, PendingEvents, Recording};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::Metrics;
use crate::outbox::publisher::EventPublisher;
use crate::seal::Keys;

/// New work within this time counts as waiting: retries then leave room for more of it.
const FRESH_WINDOW: Duration = Duration::from_secs(5);
/// What is to be tried again within this time is called for by name.
const WAKE_BY_NAME_WITHIN: Duration = Duration::from_secs(16);
/// No carrier took what was due within this time: more of it will find none.
const NO_CARRIER_WINDOW: Duration = Duration::from_secs(1);

/// What every part of a worker needs.
pub struct WorkerDeps {
    /// The memory.
    pub ledger: Ledger,
    /// Reading and opening.
    pub admitter: Live<Admitter>,
    /// Who carries.
    pub routes: Live<Routes>,
    /// Tokens of callbacks.
    pub keys: Live<Keys>,
    /// Where carriers report.
    pub public_url: String,
    /// Events out.
    pub publisher: EventPublisher,
    /// For dead letters.
    pub broker: Option<Broker>,
    /// For dispatches that became due by what this worker wrote.
    pub waker: Waker,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Requests under way at once.
    pub slots: usize,
    /// When to stop.
    pub shutdown: CancellationToken,
}

/// A worker of this process.
pub struct Worker {
    deps: WorkerDeps,
    /// One for each request under way.
    pub slots: Arc<Semaphore>,
    /// Boot time at which new work was last seen, in ms.
    fresh_at: AtomicU64,
    /// Boot time at which something due last found no carrier that takes anything, in ms.
    nobody_at: AtomicU64,
    /// Due dispatches under way that had begun before.
    retries: AtomicUsize,
    /// What is being set aside.
    moving: disposition::Moving,
    /// Whether the ledger answers.
    pub ledger_health: LedgerHealth,
    /// What is under way.
    pub tasks: TaskTracker,
}

/// A dispatch with the moment of its reading: the ledger's clock goes on from there.
pub(crate) struct Snapshot {
    d: Dispatch,
    read_at: Instant,
}

impl Snapshot {
    fn new(d: Dispatch) -> Self {
        Self { d, read_at: Instant::now() }
    }

    /// The ledger's time now, as far as this process knows.
    fn now(&self) -> Timestamp {
        crate::domain::clock::whole_micros(after(self.d.now, self.read_at.elapsed()))
    }
}

/// A due dispatch under way that had begun before: counted until it ends, however it ends.
struct Retry(Arc<Worker>);

impl Retry {
    fn begins(worker: &Arc<Worker>) -> Self {
        worker.retries.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(worker))
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        self.0.retries.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a carrier said of an attempt that it was asked about.
enum StatusAnswer {
    /// Something new, which the ledger has now.
    News,
    /// Nothing, or nothing new.
    Nothing,
    /// Something that could not be written.
    Unwritten,
}

/// What is to be done with a dispatch.
enum Action {
    /// Look at it: something about it is due.
    Look(Snapshot),
    /// Begin a request.
    Begin(Snapshot, Begin),
    /// Nothing: it waits, has ended, or is in other hands.
    Nothing,
}

impl Worker {
    /// A worker that is not running yet.
    pub fn new(deps: WorkerDeps) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(deps.slots));
        Arc::new(Self {
            slots,
            fresh_at: AtomicU64::new(0),
            nobody_at: AtomicU64::new(0),
            retries: AtomicUsize::new(0),
            moving: disposition::Moving::new(),
            ledger_health: LedgerHealth::new(),
            tasks: TaskTracker::new(),
            deps,
        })
    }

    /// The memory.
    pub fn ledger(&self) -> &Ledger {
        &self.deps.ledger
    }

    /// How many dispatches that were never begun may be taken now. A few wait in line even where no slot is free, so that a
    /// backlog at the broker cannot shut them out.
    pub fn room_for_fresh(&self) -> usize {
        self.slots.available_permits().max(self.deps.slots / 8).max(1)
    }

    /// How many due dispatches that had begun before may be taken now: while new jobs come in, at most a quarter of all;
    /// never all, so that the next new job finds a slot.
    pub fn room_for_retries(&self) -> usize {
        let most = if since(&self.fresh_at) < FRESH_WINDOW {
            self.deps.slots / 4
        } else {
            self.deps.slots - self.deps.slots / 4
        };
        most.max(1).saturating_sub(self.retries.load(Ordering::Relaxed))
    }

    /// Something new came in.
    pub fn saw_fresh_work(&self) {
        now_at(&self.fresh_at);
    }

    /// Whether what was due lately found no carrier that takes anything.
    pub fn finds_nobody(&self) -> bool {
        since(&self.nobody_at) < NO_CARRIER_WINDOW
    }

    /// Runs a dispatch that was taken, until it waits for something or has ended.
    pub async fn run(&self, taken: Dispatch) {
        crash::at(Point::DueTaken);
        self.go_on(Action::Look(Snapshot::new(taken))).await;
    }

    /// Runs a dispatch that was due, as soon as there is a slot. It counts as a retry from now on, if it is one.
    pub fn run_due(self: &Arc<Self>, taken: Dispatch) {
        let worker = Arc::clone(self);
        let retry = (!taken.attempts.is_empty()).then(|| Retry::begins(self));
        self.tasks.spawn(async move {
            if let Ok(_slot) = Arc::clone(&worker.slots).acquire_owned().await {
                worker.run(taken).await;
            }
            drop(retry);
        });
    }

    /// Does what is to be done with a dispatch, again and again, until it waits for something or is in other hands.
    async fn go_on(&self, mut action: Action) {
        // The carrier is asked once what became of an attempt.
        let mut asked = None;
        loop {
            action = match action {
                Action::Look(seen) => {
                    let decision = next(&seen.d, seen.now(), &self.policy(&seen.d));
                    self.call_for(&seen, &decision);
                    self.write(seen, decision).await
                }
                Action::Begin(seen, begin) => match begin.ask.filter(|n| asked.replace(*n) != Some(*n)) {
                    Some(n) => match self.ask(&seen.d, n).await {
                        StatusAnswer::News => self.read_again(&seen).await,
                        StatusAnswer::Nothing => self.begin(seen, begin).await,
                        StatusAnswer::Unwritten => Action::Nothing,
                    },
                    None => self.begin(seen, begin).await,
                },
                Action::Nothing => return,
            }
        }
    }

    /// Writes a conclusion, unless the begin that it asks for says all of it.
    async fn write(&self, mut seen: Snapshot, decision: Decision) -> Action {
        if !decision.begins_only(&seen.d) {
            let destinations = self.deps.admitter.now().destinations(&seen.d.order.tenant);
            let write = DecisionWrite::decide(&seen.d, decision.transition.clone(), destinations);
            match self.deps.ledger.conclude(write).await {
                Ok(Concluded::Written) => {
                    crash::at(Point::DueDecided);
                    seen = self.stands(seen, &decision);
                }
                Ok(Concluded::VersionConflict(row)) => return Self::if_due(row),
                Ok(_) => return Action::Nothing,
                Err(e) => {
                    self.ledger_health.begins(&e);
                    return Action::Nothing;
                }
            }
        }
        decision.begin.map_or(Action::Nothing, |begin| Action::Begin(seen, begin))
    }

    /// Calls for the moment at which something that was not accepted yet is to be tried again. What waits for a carrier that
    /// takes nothing is left to the scan.
    fn call_for(&self, seen: &Snapshot, decision: &Decision) {
        let c = &decision.transition;
        let again = decision.begin.is_none() && matches!(c.state, State::Queued | State::Sending);
        let wait = c.wake_at.filter(|_| again).map(|at| between(seen.now(), at));
        if let Some(wait) = wait.filter(|wait| *wait < WAKE_BY_NAME_WITHIN) {
            self.deps.waker.wake_after(seen.d.order.uid, wait);
        }
    }

    /// The dispatch after a conclusion that was written; its events are handed over.
    fn stands(&self, mut seen: Snapshot, decision: &Decision) -> Snapshot {
        decision.transition.apply(&mut seen.d);
        self.publish(&seen.d, decision.transition.events.clone());
        seen
    }

    fn publish(&self, d: &Dispatch, events: Vec<Event>) {
        self.deps.metrics.reached(&events);
        for event in &events {
            tracing::info!(
                dispatch.id = %d.order.id, dispatch.tenant = d.order.tenant, state = %event.state, step = event.step,
                attempt = event.attempt, carrier = event.carrier, reason = event.reason.map(Reason::as_str),
                to = d.order.mask, "a dispatch changed its state"
            );
        }
        self.deps.publisher.publish(PendingEvents::of(&d.order, events));
    }

    /// Who loses looks again only where something is due; what others hold is theirs.
    fn if_due(row: Option<Box<Dispatch>>) -> Action {
        let due = row.filter(|d| d.wake_at.is_some_and(|at| at <= d.now));
        due.map_or(Action::Nothing, |d| Action::Look(Snapshot::new(*d)))
    }

    async fn read_again(&self, seen: &Snapshot) -> Action {
        match self.deps.ledger.read(seen.d.order.uid).await {
            Ok(row) => row.map_or(Action::Nothing, |d| Action::Look(Snapshot::new(d))),
            Err(e) => {
                self.ledger_health.begins(&e);
                Action::Nothing
            }
        }
    }

    /// Asks the carrier once what became of an attempt: of one that nothing was heard of by the carrier's reference, of one
    /// that nobody knows to be accepted by ours. Where as many requests as may be are under way, it is not asked: it hangs, and
    /// what comes next does not wait for it.
    async fn ask(&self, d: &Dispatch, n: u16) -> StatusAnswer {
        let Some((account, attempt, request)) = self.question(d, n) else {
            return StatusAnswer::Nothing;
        };
        let Some(slot) = account.slot() else { return StatusAnswer::Nothing };
        let answer = account.client.send(&request, sending::STATUS_TIME_OUT).await;
        drop(slot);
        let Some(receipt) =
            answer.ok().and_then(|answer| account.carrier.parse_status(attempt.channel, &answer))
        else {
            return StatusAnswer::Nothing;
        };
        let recording = Recording { uid: d.order.uid, n, carrier: account.name.clone(), receipt };
        match self.deps.ledger.record(recording).await {
            Ok(crate::ledger::Recorded::Recorded) => StatusAnswer::News,
            Ok(_) => StatusAnswer::Nothing,
            // What is known to be taken is not repeated for that: the lease brings it back.
            Err(e) => {
                self.ledger_health.begins(&e);
                StatusAnswer::Unwritten
            }
        }
    }

    /// Who is to be asked what became of an attempt, and how. None: nobody could answer.
    fn question<'d>(&self, d: &'d Dispatch, n: u16) -> Option<(Arc<Account>, &'d Attempt, Request)> {
        let attempt = d.attempts.iter().find(|a| a.n == n)?;
        let account = Arc::clone(self.deps.routes.now().account(&attempt.carrier)?);
        let ours = d.reference_of(attempt);
        let theirs = attempt.details.reference.as_deref();
        let keeps = account.carrier.keeps_references(attempt.channel);
        let request = account.carrier.status_request(attempt.channel, theirs.or(keeps.then_some(&ours))?)?;
        Some((account, attempt, request))
    }

    fn policy(&self, d: &Dispatch) -> Arc<Policy> {
        self.deps.routes.now().policy(d.order.country.as_deref())
    }

    /// Where a carrier is to report on an attempt.
    fn callback(&self, ready: &Ready, attempt: AttemptId) -> String {
        let carrier = &ready.account.name;
        let token = self.deps.keys.now().callback_token(carrier, attempt);
        format!("{}/v1/receipts/{carrier}/{attempt}/{token}", self.deps.public_url.trim_end_matches('/'))
    }
}

/// Sets a moment to now, by boot time.
fn now_at(moment: &AtomicU64) {
    moment.store(crate::domain::clock::boot().as_millis() as u64, Ordering::Relaxed);
}

/// How long ago a moment was.
fn since(moment: &AtomicU64) -> Duration {
    crate::domain::clock::boot().saturating_sub(Duration::from_millis(moment.load(Ordering::Relaxed)))
}
