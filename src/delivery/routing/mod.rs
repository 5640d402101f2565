//! Chooses the account that sends a message: the first of the given carriers that is healthy and has a free permit and rate
//! limit capacity.

mod breaker;
mod rate_limit;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::carriers::{Callbacks, Carrier, Client};
use crate::config::live::Live;
use crate::config::{BadConfig, Config};
use crate::domain::attempt::{Judgement, Outcome, RefusalScope};
use crate::domain::channel::Channel;
use crate::domain::decide::{Candidate, MIN_LIFE, NoRoom, Policy, UnknownPolicy};
use crate::domain::restrictions::Restrictions;
use breaker::{Breaker, Broken};
use rate_limit::RateLimit;
pub use state::{AccountState, BreakerChange, BreakerChanges, ChannelState};

/// Maximum number of countries whose policies are cached. Further policies are computed on each use.
const MAX_CACHED_POLICIES: usize = 512;
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
    limits: Arc<AccountLimits>,
    breakers: Mutex<HashMap<(Channel, Option<String>), Breaker>>,
    /// Unknown error codes of the carrier, each with the boot time at which it was logged.
    logged_codes: Mutex<HashMap<String, Duration>>,
    /// The account as a candidate, for each channel that it carries.
    candidates: HashMap<Channel, Candidate>,
}

/// The limits of an account. They survive a reload that does not change them, together with the requests under way.
struct AccountLimits {
    rate_per_s: u32,
    max_concurrent: usize,
    rate_limit: RateLimit,
    permits: Arc<Semaphore>,
    /// Boot time in ms at which a permit was last returned; 0: never.
    freed_at: AtomicU64,
}

/// An account that was chosen for a request, with the permit that it holds.
pub struct Ready {
    /// The chosen account.
    pub account: Arc<Account>,
    /// Minimum remaining life of a code when its request is sent.
    pub min_life: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.account
            .limits
            .freed_at
            .store(crate::domain::clock::boot().as_millis() as u64, Ordering::Relaxed);
    }
}

/// An account as operators see it.
pub struct AccountOverview<'a> {
    /// The configured name of the account.
    pub name: &'a str,
    /// The company, as in the name of its section.
    pub company: &'static str,
    /// The channels that the carrier has.
    pub channels: Vec<Channel>,
    /// The configured rate limit, in messages per second over all workers.
    pub rate_per_s: u32,
    /// Whether it sends nothing any more, and only takes receipts.
    pub is_retired: bool,
}

impl Ready {
    /// Waits for rate limit capacity again. Capacity that was granted before an outage must not cause a burst after it.
    pub async fn wait_for_rate_limit(&self) {
        self.account.limits.rate_limit.ready().await;
    }
}

/// A circuit breaker that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    /// The configured name of the account.
    pub carrier: String,
    /// The channel.
    pub channel: Channel,
    /// The country, if the breaker is for one only.
    pub country: Option<String>,
    /// Time until the next request passes as a probe.
    pub probe_in: Duration,
}

/// All accounts, and the routes from channels and countries to them.
pub struct Routes {
    accounts: BTreeMap<String, Arc<Account>>,
    config: Config,
    /// Number of live workers that share each rate limit.
    workers: AtomicUsize,
    policies: Mutex<HashMap<Option<String>, Arc<Policy>>>,
    /// The accounts that operators have paused, everywhere or in countries.
    restrictions: Live<Restrictions>,
}

impl Routes {
    /// Creates the accounts of a configuration. Limits are taken over from `before` if they did not change. Circuit breakers are
    /// reset, because the cause of the failures may have been fixed.
    ///
    /// # Errors
    ///
    /// Returns [`BadConfig`] if an account's section is not valid.
    pub fn new(
        config: &Config, before: Option<&Self>, restrictions: Live<Restrictions>,
    ) -> Result<Self, BadConfig> {
        // With several accounts, one that does not answer cannot hold more than half of the worker's permits.
        let max_concurrent = config.worker.slots / if config.carriers.len() > 1 { 2 } else { 1 };
        let workers = before.map_or(1, |b| b.workers.load(Ordering::Relaxed));
        let mut accounts = BTreeMap::new();
        for (name, c) in &config.carriers {
            let bad = |what: &str| BadConfig(format!("carriers.{name}: {what}"));
            let account = c.accounts().first().map(|(_, account)| *account);
            let account =
                account.ok_or_else(|| bad("needs a carrier section, such as [carriers.NAME.twilio]"))?;
            let (carrier, least) = (account.open().map_err(|e| bad(&e))?, account.min_life());
            let mut candidates = HashMap::new();
            for channel in
                Channel::ALL.iter().copied().filter(|channel| !c.retired && carrier.carries(*channel))
            {
                let keeps = carrier.keeps_references(channel);
                let unknown = c
                    .unknown
                    .get(&channel)
                    .copied()
                    .unwrap_or_else(|| UnknownPolicy::default_of(channel, keeps));
                if matches!(unknown, UnknownPolicy::Lookup | UnknownPolicy::Idempotent) && !keeps {
                    return Err(bad(&format!(
                        "unknown_{channel}: this carrier does not keep our reference; use wait or never"
                    )));
                }
                let candidate = Candidate { carrier: name.clone(), unknown, min_life: MIN_LIFE.max(least) };
                candidates.insert(channel, candidate);
            }
            let time_out = Duration::from_secs(c.time_out_s);
            let client = Client::with_egress(time_out, c.proxy.as_deref(), c.ca_file.as_deref());
            let client = client.map_err(|e| bad(&e))?;
            let account = Account {
                name: name.clone(),
                carrier,
                client,
                callbacks: c.callbacks,
                limits: before
                    .and_then(|b| b.accounts.get(name))
                    .map(|account| Arc::clone(&account.limits))
                    .filter(|limits| {
                        limits.rate_per_s == c.rate_per_s && limits.max_concurrent == max_concurrent
                    })
                    .unwrap_or_else(|| Arc::new(AccountLimits::new(c.rate_per_s, max_concurrent, workers))),
                breakers: Mutex::default(),
                logged_codes: Mutex::default(),
                candidates,
            };
            accounts.insert(name.clone(), Arc::new(account));
        }
        let workers = AtomicUsize::new(workers);
        Ok(Self { accounts, config: config.clone(), workers, policies: Mutex::default(), restrictions })
    }

    /// Returns an account by name.
    pub fn account(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.get(name)
    }

    /// Returns all accounts, by name.
    pub fn overview(&self) -> impl Iterator<Item = AccountOverview<'_>> {
        self.accounts.iter().filter_map(|(name, account)| {
            let section = self.config.carriers.get(name)?;
            let (company, _) = *section.accounts().first()?;
            Some(AccountOverview {
                name,
                company,
                channels: Channel::ALL.iter().copied().filter(|c| account.carrier.carries(*c)).collect(),
                rate_per_s: section.rate_per_s,
                is_retired: section.retired,
            })
        })
    }

    /// Returns the decision policy for numbers of a country.
    pub fn policy(&self, country: Option<&str>) -> Arc<Policy> {
        let key = country.map(str::to_owned);
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = policies.get(&key) {
            return Arc::clone(policy);
        }
        let policy = Arc::new(Policy {
            candidates: Channel::ALL
                .iter()
                .map(|channel| (*channel, self.candidates(*channel, country)))
                .collect(),
            receipt_wait: Duration::from_secs(self.config.dispatch.receipt_wait_s),
        });
        if policies.len() < MAX_CACHED_POLICIES {
            policies.insert(key, Arc::clone(&policy));
        }
        policy
    }

    fn candidates(&self, channel: Channel, country: Option<&str>) -> Vec<Candidate> {
        let named = self.config.routes.carriers(channel, country);
        let accounts: Vec<&Arc<Account>> = if named.is_empty() {
            self.accounts.values().collect()
        } else {
            named.iter().filter_map(|name| self.accounts.get(name)).collect()
        };
        accounts.into_iter().filter_map(|account| account.candidates.get(&channel)).cloned().collect()
    }

    /// Chooses the first of these carriers that is not paused, is healthy, and has a free permit and rate limit capacity. `has_waited` is
    /// set for a dispatch that has waited for its turn before. Returns [`NoRoom::Turn`] if an account lacks only rate limit capacity, or
    /// a permit that will soon be free.
    pub fn choose(
        &self, channel: Channel, country: Option<&str>, carriers: &[String], has_waited: bool,
    ) -> Result<Ready, NoRoom> {
        let now = crate::domain::clock::boot();
        let restrictions = self.restrictions.current();
        let (mut soon, mut is_closed): (Vec<&Arc<Account>>, _) = (vec![], true);
        for account in carriers.iter().filter_map(|name| self.accounts.get(name)) {
            let broken = account.broken(channel, country);
            if restrictions.is_paused(&account.name, country) || broken == Some(Broken::Refused) {
                continue;
            }
            is_closed = false;
            if broken.is_some() {
                continue;
            }
            let Some(permit) = account.permit() else {
                soon.extend(account.limits.was_freed_recently(now).then_some(account));
                continue;
            };
            if !account.limits.rate_limit.try_acquire(has_waited, now) {
                soon.push(account);
            } else if account.try_pass(channel, country) {
                // The breaker is checked last, because this may be the one request that probes it.
                let min_life = account.candidates.get(&channel).map_or(MIN_LIFE, |c| c.min_life);
                return Ok(Ready { account: Arc::clone(account), min_life, _permit: permit });
            }
        }
        let shortest = soon.into_iter().min_by_key(|account| account.limits.rate_limit.wait(now));
        Err(match shortest {
            Some(account) => NoRoom::Turn(account.limits.rate_limit.enqueue(now)),
            None if is_closed => NoRoom::Closed,
            None => NoRoom::Busy,
        })
    }

    /// Returns whether no carrier of a channel can be used soon: an operator paused it, or it refuses the account or the sender.
    pub fn is_closed(&self, channel: Channel, country: Option<&str>) -> bool {
        let restrictions = self.restrictions.current();
        self.candidates(channel, country).iter().all(|candidate| {
            restrictions.is_paused(&candidate.carrier, country)
                || self
                    .accounts
                    .get(&candidate.carrier)
                    .is_none_or(|account| account.broken(channel, country) == Some(Broken::Refused))
        })
    }

    /// The channels whose carriers are all paused by operators: `None` in all countries, or in one country.
    pub fn paused_channels(&self) -> Vec<(Channel, Option<String>)> {
        let restrictions = self.restrictions.current();
        let is_paused = |channel: Channel, country: Option<&str>| {
            let candidates = self.candidates(channel, country);
            let is_paused = |candidate: &Candidate| restrictions.is_paused(&candidate.carrier, country);
            !candidates.is_empty() && candidates.iter().all(is_paused)
        };
        let mut paused = vec![];
        for channel in Channel::ALL {
            if is_paused(*channel, None) {
                paused.push((*channel, None));
                continue;
            }
            let countries = restrictions.countries_with_pauses().into_iter();
            let countries = countries.filter(|country| is_paused(*channel, Some(country)));
            paused.extend(countries.map(|country| (*channel, Some(country.to_owned()))));
        }
        paused
    }

    /// The open circuit breakers of this process.
    pub fn open_breakers(&self) -> Vec<OpenBreaker> {
        let now = crate::domain::clock::boot();
        let mut open = vec![];
        for account in self.accounts.values() {
            let breakers = account.breakers.lock().unwrap_or_else(PoisonError::into_inner);
            for ((channel, country), breaker) in breakers.iter() {
                let Some(probe_in) = breaker.probe_in(now) else { continue };
                let (carrier, country) = (account.name.clone(), country.clone());
                open.push(OpenBreaker { carrier, channel: *channel, country, probe_in });
            }
        }
        open
    }

    /// Ends the waiting time of an account's open circuit breakers. The next request is let through at once, as the probe.
    pub fn end_breaker_pauses(&self, carrier: &str) {
        let Some(account) = self.accounts.get(carrier) else { return };
        let now = crate::domain::clock::boot();
        let mut breakers = account.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.values_mut().for_each(|breaker| breaker.end_pause(now));
    }

    /// Divides each account's rate limit among the live workers.
    pub fn share(&self, workers: usize) {
        if self.workers.swap(workers, Ordering::Relaxed) != workers {
            for account in self.accounts.values() {
                account.limits.rate_limit.divide(workers);
            }
        }
    }
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

    /// Returns whether a permit was returned recently.
    fn was_freed_recently(&self, now: Duration) -> bool {
        let freed_at = self.freed_at.load(Ordering::Relaxed);
        freed_at > 0 && now.saturating_sub(Duration::from_millis(freed_at)) < RECENTLY_FREED_WITHIN
    }
}

impl Account {
    /// Takes a permit, if one is free. A status request needs only this: it sends no message, so it uses no rate limit capacity.
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.limits.permits).try_acquire_owned().ok()
    }

    /// Returns why a circuit breaker is open. `None` if none is.
    fn broken(&self, channel: Channel, country: Option<&str>) -> Option<Broken> {
        let now = crate::domain::clock::boot();
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breaker_keys(channel, country).iter().filter_map(|key| breakers.get(key)?.broken(now)).max()
    }

    fn try_pass(&self, channel: Channel, country: Option<&str>) -> bool {
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
