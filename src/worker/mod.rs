//! Running dispatches: from a job at the broker, or from a row that is due, to what becomes of it.

mod flight;
mod job;
mod outage;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admit::{Admitter, Contents};
use crate::attempt::{AttemptId, Reason, Receipt};
use crate::broker::Broker;
use crate::carrier::Request;
use crate::clock::{after, between};
use crate::dispatch::{Channel, Dispatch, Event};
use crate::ledger::{
    Beginning, Begun, Concluded, Deciding, Ledger, LedgerError, NewAttempt, Owed, Recording,
};
use crate::metrics::Metrics;
use crate::next::{Begin, Next, Policy, give_up, next, skip_step, snooze};
use crate::route::{Ready, Routes};
use crate::seal::Keys;
use crate::tell::Teller;
use crate::wake::Waker;
pub use outage::Outage;

/// What every part of a worker needs.
pub struct Parts {
    /// The memory.
    pub ledger: Ledger,
    /// Reading and opening.
    pub admitter: Arc<Admitter>,
    /// Who carries.
    pub routes: Arc<Routes>,
    /// Tokens of callbacks.
    pub keys: Keys,
    /// Where carriers report.
    pub public_url: String,
    /// Events out.
    pub teller: Teller,
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
    parts: Parts,
    /// One for each request under way.
    pub slots: Arc<Semaphore>,
    /// Jobs that wait at the broker's side of this process.
    jobs_waiting: AtomicUsize,
    /// Due dispatches under way that had begun before.
    retries: AtomicUsize,
    /// Whether the ledger answers.
    pub outage: Outage,
    /// What is under way.
    pub tasks: TaskTracker,
}

/// A dispatch with the moment of its reading: the ledger's clock goes on from there.
pub(crate) struct Seen {
    d: Dispatch,
    read_at: Instant,
}

impl Seen {
    fn new(d: Dispatch) -> Self {
        Self { d, read_at: Instant::now() }
    }

    /// The ledger's time now, as far as this process knows.
    fn now(&self) -> Timestamp {
        crate::clock::whole_micros(after(self.d.now, self.read_at.elapsed()))
    }
}

/// What a written conclusion leaves to do.
enum Written {
    /// It stands; here is the dispatch after it.
    Stands(Box<Seen>),
    /// Somebody else was there first; here is what they made of it, when it is due.
    Changed(Box<Seen>),
    /// Nothing for us.
    Dropped,
}

impl Worker {
    /// A worker that is not running yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(parts.slots));
        Arc::new(Self {
            slots,
            jobs_waiting: AtomicUsize::new(0),
            retries: AtomicUsize::new(0),
            outage: Outage::new(),
            tasks: TaskTracker::new(),
            parts,
        })
    }

    /// The memory.
    pub fn ledger(&self) -> &Ledger {
        &self.parts.ledger
    }

    /// How many due dispatches that had begun before may be taken now: while new jobs wait, at most a quarter of all.
    pub fn room_for_retries(&self) -> usize {
        let free = self.slots.available_permits();
        if self.jobs_waiting.load(Ordering::Relaxed) == 0 {
            return free;
        }
        (self.parts.slots / 4).saturating_sub(self.retries.load(Ordering::Relaxed)).min(free)
    }

    /// Runs a dispatch that was taken, until it waits for something or has ended.
    pub async fn run(self: &Arc<Self>, taken: Dispatch) {
        let retry = !taken.attempts.is_empty();
        self.retries.fetch_add(usize::from(retry), Ordering::Relaxed);
        self.follow(Seen::new(taken), false).await;
        self.retries.fetch_sub(usize::from(retry), Ordering::Relaxed);
    }

    /// Does what follows, again and again. `asked`: the carrier was asked what became of a silent attempt.
    async fn follow(&self, mut seen: Seen, mut asked: bool) {
        loop {
            let policy = self.policy(&seen.d);
            let follows = next(&seen.d, seen.now(), &policy);
            let Some(goes_on) = self.act(seen, follows, &policy, &mut asked).await else {
                return;
            };
            seen = goes_on;
        }
    }

    /// Writes a conclusion, and begins what it asks for. Answers the dispatch when it must be looked at again.
    async fn act(&self, seen: Seen, follows: Next, policy: &Policy, asked: &mut bool) -> Option<Seen> {
        let seen = if follows.begins_only(&seen.d) {
            seen
        } else {
            match self.decide(seen, &follows).await {
                Written::Stands(seen) => *seen,
                Written::Changed(seen) => return Some(*seen),
                Written::Dropped => return None,
            }
        };
        let begin = follows.begin?;
        if let Some(n) = begin.silent.filter(|_| !*asked) {
            *asked = true;
            if self.ask(&seen.d, n).await {
                return self.read_again(&seen).await;
            }
        }
        self.begin(seen, begin, policy).await
    }

    /// Finds a carrier, commits the attempt, sends it.
    async fn begin(&self, seen: Seen, begin: Begin, policy: &Policy) -> Option<Seen> {
        let (d, now) = (&seen.d, seen.now());
        let country = d.order.country.as_deref();
        let life = between(now, d.order.expires_at);
        let Ok(contents) = self.parts.admitter.open(d) else {
            tracing::error!(dispatch.uid = %d.order.uid, "a code cannot be opened: is a key missing in keys.previous?");
            let follows = give_up(d, Reason::Template, now, policy);
            return self.conclude_only(seen, follows).await;
        };
        let Ok(words) =
            self.parts.admitter.render(&d.order, begin.channel, &contents.code, &contents.params, life)
        else {
            tracing::error!(dispatch.uid = %d.order.uid, template = d.order.template, "a template cannot be rendered");
            let follows = give_up(d, Reason::Template, now, policy);
            return self.conclude_only(seen, follows).await;
        };
        let Some(ready) = self.parts.routes.choose(begin.channel, country, &begin.carriers) else {
            let follows = snooze(d, &begin, now, policy);
            return self.conclude_only(seen, follows).await;
        };
        let attempt =
            NewAttempt::new(begin.channel, &ready.account.name, ready.account.client.time_out, begin.repeats);
        let beginning = Beginning {
            uid: d.order.uid,
            seen: d.version,
            step: begin.step,
            voice: self.voice_limit(d, &begin, &contents),
            attempt,
        };
        let handed_at = crate::clock::boot();
        match self.parts.ledger.begin(beginning).await {
            Ok(Begun::Begun(row)) => {
                let flight = flight::Flight { to: contents.to, words, ready, handed_at };
                self.fly(Seen::new(*row), flight).await
            }
            Ok(Begun::Lost(row)) => Self::if_due(row),
            Ok(Begun::VoiceRefused { retry_after_s, .. }) => {
                let follows = skip_step(&seen.d, &begin, retry_after_s, seen.now(), policy);
                self.conclude_only(seen, follows).await
            }
            Err(e) => {
                self.ledger_failed(&e);
                None
            }
        }
    }

    /// A call's quota is asked at the first begin of its step.
    fn voice_limit(&self, d: &Dispatch, begin: &Begin, contents: &Contents) -> Option<crate::ledger::Limit> {
        let first = begin.channel == Channel::Voice && d.attempts_of(begin.step).next().is_none();
        first.then(|| self.parts.admitter.voice_limit(&d.order.tenant, &contents.to))
    }

    /// Writes a conclusion; what it would begin is begun by looking at the row again.
    async fn conclude_only(&self, seen: Seen, follows: Next) -> Option<Seen> {
        if follows.begins_only(&seen.d) {
            // The step is skipped for the next one, and nothing is to be written before its begin.
            let mut seen = seen;
            let version = seen.d.version;
            follows.conclusion.apply(&mut seen.d);
            seen.d.version = version;
            return Some(seen);
        }
        match self.decide(seen, &follows).await {
            Written::Stands(seen) => follows.begin.is_some().then_some(*seen),
            Written::Changed(seen) => Some(*seen),
            Written::Dropped => None,
        }
    }

    /// Writes a conclusion alone, and tells what it tells.
    async fn decide(&self, seen: Seen, follows: &Next) -> Written {
        let deciding = Deciding::decide(&seen.d, follows.conclusion.clone(), self.parts.teller.owes());
        match self.parts.ledger.conclude(deciding).await {
            Ok(Concluded::Written) => Written::Stands(Box::new(self.stands(seen, follows))),
            Ok(Concluded::Lost(row)) => {
                Self::if_due(row).map_or(Written::Dropped, |seen| Written::Changed(Box::new(seen)))
            }
            Ok(_) => Written::Dropped,
            Err(e) => {
                self.ledger_failed(&e);
                Written::Dropped
            }
        }
    }

    /// The dispatch after a conclusion that was written; its events are handed over.
    fn stands(&self, mut seen: Seen, follows: &Next) -> Seen {
        follows.conclusion.apply(&mut seen.d);
        self.tell(&seen.d, follows.conclusion.events.clone());
        seen
    }

    fn tell(&self, d: &Dispatch, events: Vec<Event>) {
        self.parts.metrics.reached(&events);
        for event in &events {
            tracing::info!(
                dispatch.id = %d.order.id, dispatch.tenant = d.order.tenant, state = %event.state, step = event.step,
                attempt = event.attempt, carrier = event.carrier, reason = event.reason.map(Reason::as_str),
                to = d.order.mask, "a dispatch changed its state"
            );
        }
        self.parts.teller.tell(Owed::of(&d.order, events));
    }

    /// Who loses looks again only where something is due; what others hold is theirs.
    fn if_due(row: Option<Box<Dispatch>>) -> Option<Seen> {
        row.filter(|d| d.wake_at.is_some_and(|at| at <= d.now)).map(|d| Seen::new(*d))
    }

    async fn read_again(&self, seen: &Seen) -> Option<Seen> {
        match self.parts.ledger.read(seen.d.order.uid).await {
            Ok(row) => row.map(Seen::new),
            Err(e) => {
                self.ledger_failed(&e);
                None
            }
        }
    }

    /// Asks the carrier once what became of an attempt that nothing was heard of. Answers whether something was heard.
    async fn ask(&self, d: &Dispatch, n: u16) -> bool {
        let Some((receipt, carrier)) = self.status(d, n).await else {
            return false;
        };
        let recording = Recording { uid: d.order.uid, n, carrier, receipt };
        self.parts.ledger.record(recording).await.is_ok_and(|r| r == crate::ledger::Recorded::Recorded)
    }

    async fn status(&self, d: &Dispatch, n: u16) -> Option<(Receipt, String)> {
        let attempt = d.attempts.iter().find(|a| a.n == n)?;
        let account = self.parts.routes.account(&attempt.carrier)?;
        let reference = attempt.details.reference.as_deref()?;
        let request: Request = account.carrier.ask(attempt.channel, reference)?;
        let answer = account.client.send(&request, flight::STATUS_TIME_OUT).await.ok()?;
        Some((account.carrier.hear(attempt.channel, &answer)?, account.name.clone()))
    }

    fn policy(&self, d: &Dispatch) -> Arc<Policy> {
        self.parts.routes.policy(d.order.country.as_deref())
    }

    /// Where a carrier is to report on an attempt.
    fn callback(&self, ready: &Ready, attempt: AttemptId) -> String {
        let carrier = &ready.account.name;
        let token = self.parts.keys.callback_token(carrier, attempt);
        format!("{}/v1/receipts/{carrier}/{attempt}/{token}", self.parts.public_url.trim_end_matches('/'))
    }

    fn ledger_failed(&self, e: &LedgerError) {
        self.outage.begins(e);
    }
}
