//! The worker: processes jobs from the broker and rows that are due, until they wait or are final.

mod acts;
mod begin;
mod breakers;
mod consume;
mod counting;
mod disposition;
mod give_back;
mod job;
mod lost_commit;
mod returned;
mod sending;
mod status_query;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::broker::Broker;
use crate::broker::topology::RECEIPTS;
use crate::config::live::Live;
use crate::delivery::routing::Account;
use crate::delivery::rules::Rules;
use crate::delivery::wake::DispatchWaker;
use crate::domain::attempt::{Attempt, AttemptId, Reason, State};
use crate::domain::clock::{after, between};
use crate::domain::decide::{Begin, Decision, Policy, decide};
use crate::domain::dispatch::Dispatch;
use crate::ledger::health::LedgerHealth;
use crate::ledger::{DecisionWrite, Ledger, WriteResult};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::Metrics;
use status_query::StatusAnswer;

/// For this long after the last new job, retries use at most a quarter of the permits.
const FRESH_WORK_WINDOW: Duration = Duration::from_secs(5);
/// A retry within this time is scheduled by uid. Later ones are left to the due scan.
const MAX_WAKE_DELAY: Duration = Duration::from_secs(16);
/// For this long after the start, or after an outage of the ledger, a dispatch without a receipt waits while `otpost.receipts` is not
/// empty.
const QUEUED_RECEIPT_HOLD: Duration = Duration::from_secs(60);
/// The lengths of the queues are read every 15 s. So for this long after an outage the known length may be older than its last receipts.
const QUEUE_LENGTH_AGE: Duration = Duration::from_secs(16);
/// For this long after a dispatch found no carrier with room, a scan takes fewer rows.
const NO_CARRIER_WINDOW: Duration = Duration::from_secs(1);

/// The dependencies of a worker.
pub struct WorkerDeps {
    /// The ledger.
    pub ledger: Ledger,
    /// Whether the ledger answers. All parts of the process share it.
    pub ledger_health: Arc<LedgerHealth>,
    /// The rules in force.
    pub rules: Live<Rules>,
    /// Base URL of the callbacks of carriers.
    pub public_url: String,
    /// The broker for quarantine and dead letters; `None` without a broker.
    pub broker: Option<Broker>,
    /// Wakes a worker for dispatches that became due by a write of this worker.
    pub waker: DispatchWaker,
    /// Metrics of this process.
    pub metrics: Arc<Metrics>,
    /// Maximum number of jobs and dispatches that are processed at the same time.
    pub permits: usize,
    /// Cancelled on shutdown.
    pub shutdown: CancellationToken,
}

/// The worker of this process.
pub struct Worker {
    deps: WorkerDeps,
    /// Permits: one for each job or dispatch that is being processed.
    pub permits: Arc<Semaphore>,
    /// When new work was last received: ms since boot.
    fresh_at: AtomicU64,
    /// When a due dispatch last found no carrier with room: ms since boot.
    no_carrier_at: AtomicU64,
    /// Number of due dispatches under way that already have an attempt.
    retries: AtomicUsize,
    /// For acts that wait until their job is known.
    waiting_acts: Semaphore,
    /// Messages that are being moved to quarantine or dead letters.
    moving: disposition::MoveCounter,
    /// Whether the ledger answers.
    pub ledger_health: Arc<LedgerHealth>,
    /// The tasks under way.
    pub tasks: TaskTracker,
}

/// A dispatch with the time at which it was read, from which the ledger's current time is computed.
pub(crate) struct Snapshot {
    d: Dispatch,
    read_at: Instant,
    /// The rules that hold for it to the end of the task.
    rules: Arc<Rules>,
}

impl Snapshot {
    fn new(d: Dispatch, rules: &Arc<Rules>) -> Self {
        Self { d, read_at: Instant::now(), rules: Arc::clone(rules) }
    }

    /// Returns the policy for its country.
    fn policy(&self) -> Arc<Policy> {
        self.rules.routes.policy(self.d.order.country.as_deref())
    }

    /// Returns the ledger's current time, as estimated by this process.
    fn now(&self) -> Timestamp {
        crate::domain::clock::whole_micros(after(self.d.now, self.read_at.elapsed()))
    }
}

/// Counts a retry under way until it is dropped.
struct Retry(Arc<Worker>);

impl Retry {
    fn start(worker: &Arc<Worker>) -> Self {
        worker.retries.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(worker))
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        self.0.retries.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The next action for a dispatch.
enum Action {
    /// Make a decision, because something is due.
    Decide(Snapshot),
    /// Begin a request.
    Begin(Snapshot, Begin),
    /// Do nothing: the dispatch waits, is final, or is processed by another worker.
    Nothing,
}

impl Worker {
    /// Creates a worker that is not running yet.
    pub fn new(deps: WorkerDeps) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(deps.permits));
        Arc::new(Self {
            permits,
            fresh_at: AtomicU64::new(0),
            no_carrier_at: AtomicU64::new(0),
            retries: AtomicUsize::new(0),
            moving: disposition::MoveCounter::new(),
            waiting_acts: Semaphore::new(acts::MAX_WAITING_ACTS),
            tasks: TaskTracker::new(),
            ledger_health: Arc::clone(&deps.ledger_health),
            deps,
        })
    }

    /// Returns the ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.deps.ledger
    }

    /// Takes a dispatch if it is due, and processes it.
    pub async fn take_and_run(&self, uid: Uuid) {
        match self.deps.ledger.take(uid).await {
            Ok(Some(d)) => self.run(d).await,
            Ok(None) => {}
            Err(e) => self.ledger_health.report_failure(&e),
        }
    }

    /// Returns how many dispatches without an attempt may be taken now. A few may wait even if no permit is free, so that a backlog
    /// at the broker does not block them.
    pub fn room_for_fresh(&self) -> usize {
        self.permits.available_permits().max(self.deps.permits / 8).max(1)
    }

    /// Returns how many retries may be taken now: at most a quarter of all permits while new jobs arrive, otherwise at most three
    /// quarters. A permit therefore stays available for the next new job.
    pub fn room_for_retries(&self) -> usize {
        let most = if since(&self.fresh_at) < FRESH_WORK_WINDOW {
            self.deps.permits / 4
        } else {
            self.deps.permits - self.deps.permits / 4
        };
        most.max(1).saturating_sub(self.retries.load(Ordering::Relaxed))
    }

    /// Records that new work was received.
    pub fn record_fresh_work(&self) {
        set_to_now(&self.fresh_at);
    }

    /// Returns whether a due dispatch recently found no carrier with room.
    pub fn finds_no_carrier(&self) -> bool {
        since(&self.no_carrier_at) < NO_CARRIER_WINDOW
    }

    /// Processes a taken dispatch until it waits or is final.
    pub async fn run(&self, taken: Dispatch) {
        crash::at(Point::DueTaken);
        if self.may_have_queued_receipt(&taken) {
            return; // The dispatch is due again when its lease ends.
        }
        self.run_actions(Action::Decide(Snapshot::new(taken, &self.deps.rules.current()))).await;
    }

    /// Returns whether a receipt of this dispatch may be in `otpost.receipts`, because the ledger did not answer when the receipt arrived.
    /// Without that receipt a call could follow a text that was delivered.
    fn may_have_queued_receipt(&self, d: &Dispatch) -> bool {
        let Some(broker) = &self.deps.broker else { return false };
        if d.stop.is_some() || d.requested_step.is_some_and(|step| step > d.step) {
            return false;
        }
        let health = &self.ledger_health;
        let lacks_receipt = |a: &Attempt| a.is_accepted() && !a.is_delivered() && !a.is_bad();
        if health.has_ended_outage_within(QUEUE_LENGTH_AGE) && d.attempts.iter().any(lacks_receipt) {
            return true;
        }
        health.has_recovered_within(QUEUED_RECEIPT_HOLD)
            && d.attempts.iter().any(|a| lacks_receipt(a) || a.is_unknown())
            && broker.queue_lengths().borrow().get(RECEIPTS).is_some_and(|queue| queue.messages > 0)
    }

    /// Processes a due dispatch as soon as a permit is free. If it has attempts, it counts as a retry from now on.
    pub fn run_due(self: &Arc<Self>, taken: Dispatch) {
        let worker = Arc::clone(self);
        let retry = (!taken.attempts.is_empty()).then(|| Retry::start(self));
        self.tasks.spawn(async move {
            if let Ok(_permit) = Arc::clone(&worker.permits).acquire_owned().await {
                worker.run(taken).await;
            }
            drop(retry);
        });
    }

    /// Repeats the next action until the dispatch waits, is final, or is processed by another worker.
    async fn run_actions(&self, mut action: Action) {
        // The status of each attempt is queried once.
        let mut queried = None;
        loop {
            action = match action {
                Action::Decide(snapshot) => {
                    let decision = decide(&snapshot.d, snapshot.now(), &snapshot.policy());
                    self.write(snapshot, decision, true).await
                }
                Action::Begin(snapshot, begin) => {
                    match begin.query_status_of.filter(|n| queried.replace(*n) != Some(*n)) {
                        Some(n) => match self.query_status(&snapshot, n).await {
                            StatusAnswer::NewReceipt => self.read_again(&snapshot).await,
                            StatusAnswer::Nothing => self.begin(snapshot, begin).await,
                            StatusAnswer::Unwritten => Action::Nothing,
                        },
                        None => self.begin(snapshot, begin).await,
                    }
                }
                Action::Nothing => return,
            }
        }
    }

    /// Writes a decision, unless its begin writes everything. With `is_woken` it then schedules the wake-up. Before the write a wake-up would
    /// find that the dispatch is not due, and be lost.
    async fn write(&self, mut snapshot: Snapshot, decision: Decision, is_woken: bool) -> Action {
        if !decision.begins_only(&snapshot.d) {
            let destinations = snapshot.rules.admitter.destinations(&snapshot.d.order.tenant);
            let write =
                DecisionWrite::transition_only(snapshot.d.clone(), decision.transition.clone(), destinations);
            match self.deps.ledger.write_decision(write).await {
                Ok(WriteResult::Written) => {
                    crash::at(Point::DueDecided);
                    snapshot = self.apply_written(snapshot, &decision);
                    if is_woken {
                        self.schedule_wake(&snapshot, &decision);
                    }
                }
                Ok(WriteResult::VersionConflict(row)) => return Self::if_due(*row, &snapshot.rules),
                Ok(WriteResult::CommitLost(lost)) => {
                    self.report_lost_commit(&snapshot.d, lost);
                    return Action::Nothing;
                }
                Ok(_) => return Action::Nothing,
                Err(e) => {
                    self.ledger_health.report_failure(&e);
                    return Action::Nothing;
                }
            }
        }
        decision.begin.map_or(Action::Nothing, |begin| Action::Begin(snapshot, begin))
    }

    /// Schedules a wake-up for a `queued` or `sending` dispatch whose `wake_at` is less than 16 s away ([`MAX_WAKE_DELAY`]).
    /// Later ones are left to the scan.
    fn schedule_wake(&self, snapshot: &Snapshot, decision: &Decision) {
        let c = &decision.transition;
        let again = decision.begin.is_none() && matches!(c.state, State::Queued | State::Sending);
        let wait = c.wake_at.filter(|_| again).map(|at| between(snapshot.now(), at));
        if let Some(wait) = wait.filter(|wait| *wait < MAX_WAKE_DELAY) {
            self.deps.waker.wake_after(snapshot.d.order.uid, wait);
        }
    }

    /// Applies a written decision to the snapshot.
    fn apply_written(&self, mut snapshot: Snapshot, decision: &Decision) -> Snapshot {
        let mut before = snapshot.d.state;
        decision.transition.apply(&mut snapshot.d);
        let d = &snapshot.d;
        self.count_passed_deadline(d, decision);
        for event in &decision.transition.events {
            self.count_event(d, std::mem::replace(&mut before, event.state), event);
            tracing::info!(
                dispatch.uid = %d.order.uid, dispatch.id = %d.order.id, dispatch.tenant = d.order.tenant,
                state = %event.state, step = event.step, attempt = event.attempt, carrier = event.carrier,
                reason = event.reason.map(Reason::as_str), to = d.order.mask, trace_id = d.order.trace_id(),
                "dispatch state changed"
            );
        }
        snapshot
    }

    /// After a version conflict, the dispatch is processed again only if it is due. Otherwise another worker holds it.
    fn if_due(row: Dispatch, rules: &Arc<Rules>) -> Action {
        let is_due = row.wake_at.is_some_and(|at| at <= row.now);
        if is_due { Action::Decide(Snapshot::new(row, rules)) } else { Action::Nothing }
    }

    async fn read_again(&self, snapshot: &Snapshot) -> Action {
        match self.deps.ledger.read(snapshot.d.order.uid).await {
            Ok(row) => row.map_or(Action::Nothing, |d| Action::Decide(Snapshot::new(d, &snapshot.rules))),
            Err(e) => {
                self.ledger_health.report_failure(&e);
                Action::Nothing
            }
        }
    }

    /// Returns the callback URL of an attempt.
    fn callback_url(&self, rules: &Rules, account: &Account, attempt: AttemptId) -> String {
        let (base, carrier) = (self.deps.public_url.trim_end_matches('/'), &account.name);
        let token = rules.keys.callback_token(carrier, attempt);
        format!("{base}/v1/receipts/{carrier}/{attempt}/{token}")
    }
}

/// Sets a time to now: ms since boot.
fn set_to_now(moment: &AtomicU64) {
    moment.store(crate::domain::clock::boot().as_millis() as u64, Ordering::Relaxed);
}

/// Returns the time since `moment`.
fn since(moment: &AtomicU64) -> Duration {
    crate::domain::clock::boot().saturating_sub(Duration::from_millis(moment.load(Ordering::Relaxed)))
}
