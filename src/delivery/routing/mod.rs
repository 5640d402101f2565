//! Chooses the account that sends a message: the first of the given carriers that is healthy and has a free permit and rate
//! limit capacity.

mod account;
mod breaker;
mod rate_limit;
mod state;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::config::live::Live;
use crate::config::{BadConfig, Config};
use crate::domain::channel::Channel;
use crate::domain::decide::{Candidate, MIN_LIFE, NoRoom, Policy};
use crate::domain::restrictions::Restrictions;
pub use account::Account;
use breaker::Broken;
pub use state::{AccountState, BreakerChange, BreakerChanges, ChannelState};

/// Maximum number of countries whose policies are cached. Further policies are computed on each use.
const MAX_CACHED_POLICIES: usize = 512;
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
        self.account.limits.set_freed();
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

/// A channel whose carriers are all paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedChannel {
    /// The channel.
    pub channel: Channel,
    /// Whether it is paused everywhere. Otherwise only in some countries.
    pub is_everywhere: bool,
    /// The countries in which it is not as elsewhere.
    pub differ: Vec<String>,
}

impl std::fmt::Display for PausedChannel {
    /// Writes `sms`, `sms except to DE`, or `sms to ID`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let countries = self.differ.join(", ");
        match (self.is_everywhere, &*countries) {
            (true, "") => write!(f, "{}", self.channel),
            (true, countries) => write!(f, "{} except to {countries}", self.channel),
            (false, countries) => write!(f, "{} to {countries}", self.channel),
        }
    }
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
        for (name, section) in &config.carriers {
            let before = before.and_then(|before| before.accounts.get(name)).map(Arc::as_ref);
            let account = Account::open(name, section, max_concurrent, workers, before)?;
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

    /// The channels whose carriers are all paused by operators.
    pub fn paused_channels(&self) -> Vec<PausedChannel> {
        let restrictions = self.restrictions.current();
        let is_paused = |channel: Channel, country: Option<&str>| {
            let candidates = self.candidates(channel, country);
            let is_paused = |candidate: &Candidate| restrictions.is_paused(&candidate.carrier, country);
            !candidates.is_empty() && candidates.iter().all(is_paused)
        };
        // All other countries have the same carriers and pauses as a number without a country.
        let mut countries = restrictions.countries_with_pauses();
        countries.extend(self.config.routes.countries.keys().map(Borrow::<str>::borrow));
        let mut all = vec![];
        for channel in Channel::ALL.iter().copied() {
            let is_everywhere = is_paused(channel, None);
            let differ =
                countries.iter().filter(|country| is_paused(channel, Some(country)) != is_everywhere);
            let differ: Vec<String> = differ.map(|country| (*country).to_owned()).collect();
            if is_everywhere || !differ.is_empty() {
                all.push(PausedChannel { channel, is_everywhere, differ });
            }
        }
        all
    }

    /// The open circuit breakers of this process.
    pub fn open_breakers(&self) -> Vec<OpenBreaker> {
        let now = crate::domain::clock::boot();
        self.accounts.values().flat_map(|account| account.open_breakers(now)).collect()
    }

    /// Ends the waiting time of an account's open circuit breakers. The next request is let through at once, as the probe.
    pub fn end_breaker_pauses(&self, carrier: &str) {
        if let Some(account) = self.accounts.get(carrier) {
            account.end_breaker_pauses();
        }
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
