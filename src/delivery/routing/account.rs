//! An account at a carrier: its limits, its circuit breakers, and the unknown error codes that were logged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::OpenBreaker;
use super::breaker::{Breaker, Broken};
use super::rate_limit::RateLimit;
use super::state::BreakerChanges;
use crate::carriers::{Callbacks, Carrier, Client};
use crate::config::{BadConfig, CarrierConfig};
use crate::domain::attempt::{Judgement, Outcome, RefusalScope};
use crate::domain::channel::Channel;
use crate::domain::decide::{Candidate, MIN_LIFE, UnknownPolicy};

/// If an account finished a request within this time, a dispatch without a permit waits for one instead of snoozing.
const RECENTLY_FREED_WITHIN: Duration = Duration::from_secs(1);

/// An unknown error code is logged as an error at most once in this time.
const UNKNOWN_CODE_LOG_INTERVAL: Duration = Duration::from_hours(1);
/// Maximum number of unknown error codes of an account that are logged in this time.
const MAX_LOGGED_CODES: usize = 64;

/// An account at a carrier, with the limits and circuit breakers that decide whether it may be used now.
pub struct Account {
    /// The configured name of the account.
    pub name: String,
    /// The API of the carrier.
    pub carrier: Box<dyn Carrier>,
    /// The HTTP client for this account.
    pub client: Client,
    /// Where the carrier reports to.
    pub callbacks: Callbacks,
    pub(super) limits: Arc<AccountLimits>,
    pub(super) breakers: Mutex<HashMap<(Channel, Option<String>), Breaker>>,
    /// Unknown error codes of the carrier, each with the boot time at which it was logged.
    logged_codes: Mutex<HashMap<String, Duration>>,
    /// The account as a candidate, for each channel that it carries.
    pub(super) candidates: HashMap<Channel, Candidate>,
}

/// The limits of an account. They survive a reload that does not change them, together with the requests under way.
pub(super) struct AccountLimits {
    rate_per_s: u32,
    max_concurrent: usize,
    pub(super) rate_limit: RateLimit,
    pub(super) permits: Arc<Semaphore>,
    /// Boot time in ms at which a permit was last returned; 0: never.
    freed_at: AtomicU64,
}

impl AccountLimits {
    fn new(rate_per_s: u32, max_concurrent: usize, workers: usize) -> Self {
        let rate_limit = RateLimit::new(rate_per_s);
        if workers > 1 {
            rate_limit.divide(workers);
        }
        let permits = Arc::new(Semaphore::new(max_concurrent));
        Self { rate_per_s, max_concurrent, rate_limit, permits, freed_at: AtomicU64::new(0) }
    }

    /// Remembers that a permit is returned now.
    pub(super) fn set_freed(&self) {
        self.freed_at.store(crate::domain::clock::boot().as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns whether a permit was returned recently.
    pub(super) fn was_freed_recently(&self, now: Duration) -> bool {
        let freed_at = self.freed_at.load(Ordering::Relaxed);
        freed_at > 0 && now.saturating_sub(Duration::from_millis(freed_at)) < RECENTLY_FREED_WITHIN
    }
}

impl Account {
    /// Opens the account of a section of the configuration. The limits are taken over from `before` if they did not change.
    ///
    /// # Errors
    ///
    /// Returns [`BadConfig`] if the section is not valid.
    pub(super) fn open(
        name: &str, section: &CarrierConfig, max_concurrent: usize, workers: usize, before: Option<&Self>,
    ) -> Result<Self, BadConfig> {
        let bad = |what: &str| BadConfig(format!("carriers.{name}: {what}"));
        let account = section.accounts().first().map(|(_, account)| *account);
        let account =
            account.ok_or_else(|| bad("needs a carrier section, such as [carriers.NAME.twilio]"))?;
        let (carrier, least) = (account.open().map_err(|e| bad(&e))?, account.min_life());
        let mut candidates = HashMap::new();
        for channel in
            Channel::ALL.iter().copied().filter(|channel| !section.retired && carrier.carries(*channel))
        {
            let keeps = carrier.keeps_references(channel);
            let unknown = section
                .unknown
                .get(&channel)
                .copied()
                .unwrap_or_else(|| UnknownPolicy::default_of(channel, keeps));
            if matches!(unknown, UnknownPolicy::Lookup | UnknownPolicy::Idempotent) && !keeps {
                return Err(bad(&format!(
                    "unknown_{channel}: this carrier does not keep our reference; use wait or never"
                )));
            }
            let candidate = Candidate { carrier: name.to_owned(), unknown, min_life: MIN_LIFE.max(least) };
            candidates.insert(channel, candidate);
        }
        let time_out = Duration::from_secs(section.time_out_s);
        let client = Client::with_egress(time_out, section.proxy.as_deref(), section.ca_file.as_deref());
        let client = client.map_err(|e| bad(&e))?;
        Ok(Self {
            name: name.to_owned(),
            carrier,
            client,
            callbacks: section.callbacks,
            limits: before
                .map(|account| Arc::clone(&account.limits))
                .filter(|limits| {
                    limits.rate_per_s == section.rate_per_s && limits.max_concurrent == max_concurrent
                })
                .unwrap_or_else(|| Arc::new(AccountLimits::new(section.rate_per_s, max_concurrent, workers))),
            breakers: Mutex::default(),
            logged_codes: Mutex::default(),
            candidates,
        })
    }

    /// Takes a permit, if one is free. A status request needs only this: it sends no message, so it uses no rate limit capacity.
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.limits.permits).try_acquire_owned().ok()
    }

    /// Returns why a circuit breaker is open. `None` if none is.
    pub(super) fn broken(&self, channel: Channel, country: Option<&str>) -> Option<Broken> {
        let now = crate::domain::clock::boot();
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breaker_keys(channel, country).iter().filter_map(|key| breakers.get(key)?.broken(now)).max()
    }

    /// Lets a request pass, if no circuit breaker is open. It may be the one request that probes it.
    pub(super) fn try_pass(&self, channel: Channel, country: Option<&str>) -> bool {
        let now = crate::domain::clock::boot();
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if breaker_keys(channel, country).iter().any(|key| breakers.get(key).is_some_and(|b| b.is_open(now)))
        {
            return false;
        }
        for key in breaker_keys(channel, country) {
            if let Some(breaker) = breakers.get_mut(&key) {
                breaker.try_pass(now);
            }
        }
        true
    }

    /// The open circuit breakers.
    pub(super) fn open_breakers(&self, now: Duration) -> Vec<OpenBreaker> {
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let open = breakers.iter().filter_map(|((channel, country), breaker)| {
            let (carrier, country) = (self.name.clone(), country.clone());
            Some(OpenBreaker { carrier, channel: *channel, country, probe_in: breaker.probe_in(now)? })
        });
        open.collect()
    }

    /// Ends the waiting time of the open circuit breakers.
    pub(super) fn end_breaker_pauses(&self) {
        let now = crate::domain::clock::boot();
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.values_mut().for_each(|breaker| breaker.end_pause(now));
    }

    /// Returns whether a refusal has an unknown error code that was not logged in the last hour. The caller logs it.
    pub fn is_new_code(&self, judgement: &Judgement) -> bool {
        let is_refusal = matches!(judgement.outcome, Outcome::Rejected(_) | Outcome::Misconfigured(_));
        let Some(code) = judgement.details.carrier_code.as_ref().filter(|_| is_refusal) else { return false };
        if self.carrier.knows_code(code) {
            return false;
        }
        let now = crate::domain::clock::boot();
        let mut logged = self.logged_codes.lock().unwrap_or_else(PoisonError::into_inner);
        logged.retain(|_, at| now.saturating_sub(*at) < UNKNOWN_CODE_LOG_INTERVAL);
        let is_new = logged.len() < MAX_LOGGED_CODES && !logged.contains_key(code);
        if is_new {
            logged.insert(code.clone(), now);
        }
        is_new
    }

    /// Updates the circuit breakers with an outcome. Returns those that opened or closed.
    pub fn record_outcome(
        &self, channel: Channel, country: Option<&str>, outcome: Outcome,
    ) -> BreakerChanges {
        let now = crate::domain::clock::boot();
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = BreakerChanges::default();
        match outcome {
            Outcome::Misconfigured(RefusalScope::Account) => {
                for channel in Channel::ALL {
                    changes.opened(*channel, None, breakers.entry((*channel, None)).or_default().refuse(now));
                }
            }
            Outcome::Misconfigured(RefusalScope::Narrow) => {
                let breaker = breakers.entry((channel, country.map(str::to_owned))).or_default();
                changes.opened(channel, country, breaker.refuse(now));
            }
            Outcome::NotSent(cause) if cause.is_own() => {}
            Outcome::NotSent(_) | Outcome::Unavailable | Outcome::Unknown => {
                changes.opened(channel, None, breakers.entry((channel, None)).or_default().fail(now));
            }
            Outcome::Accepted | Outcome::Rejected(_) | Outcome::Throttled { .. } => {
                for key in breaker_keys(channel, country) {
                    if let Some(breaker) = breakers.get_mut(&key) {
                        changes.closed(channel, key.1.as_deref(), breaker.succeed());
                    }
                }
            }
        }
        changes
    }
}

/// Returns the keys of the circuit breakers that a request must pass: the channel's, and the channel's in the country.
fn breaker_keys(channel: Channel, country: Option<&str>) -> [(Channel, Option<String>); 2] {
    [(channel, None), (channel, country.map(str::to_owned))]
}
