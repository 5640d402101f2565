//! The state of accounts, for logs and metrics: circuit breakers that change, and all of them with the rate limits.

use std::sync::PoisonError;
use std::time::Duration;

use super::breaker::Breaker;
use super::{Account, Routes};
use crate::domain::channel::Channel;
use crate::ops::metrics::BreakerState;

/// A circuit breaker that opened or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerChange {
    /// The channel.
    pub channel: Channel,
    /// The country; `None` for the breaker of the whole channel.
    pub country: Option<String>,
    /// Whether it opened. Otherwise it closed.
    pub opened: bool,
}

/// The circuit breakers that an outcome opened or closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BreakerChanges(pub Vec<BreakerChange>);

impl BreakerChanges {
    /// Whether one of them opened.
    pub fn has_opened(&self) -> bool {
        self.0.iter().any(|change| change.opened)
    }

    pub(super) fn opened(&mut self, channel: Channel, country: Option<&str>, has_changed: bool) {
        self.add(channel, country, true, has_changed);
    }

    pub(super) fn closed(&mut self, channel: Channel, country: Option<&str>, has_changed: bool) {
        self.add(channel, country, false, has_changed);
    }

    /// A list without changes allocates nothing.
    fn add(&mut self, channel: Channel, country: Option<&str>, opened: bool, has_changed: bool) {
        if has_changed {
            self.0.push(BreakerChange { channel, country: country.map(str::to_owned), opened });
        }
    }
}

/// An account as this process sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountState {
    /// Its configured name.
    pub name: String,
    /// Its channels.
    pub channels: Vec<ChannelState>,
    /// Whether an operator has paused it everywhere.
    pub is_paused: bool,
    /// The configured rate limit, in requests per second.
    pub rate_per_s: f64,
    /// The share of this process.
    pub share_per_s: f64,
}

/// A channel of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelState {
    /// The channel.
    pub channel: Channel,
    /// The circuit breaker of the whole channel.
    pub breaker: BreakerState,
    /// Number of countries whose breaker is not closed.
    pub countries: usize,
}

impl Routes {
    /// The state of each account, ordered by name.
    pub fn states(&self) -> Vec<AccountState> {
        let restrictions = self.restrictions.current();
        self.accounts
            .values()
            .map(|account| account.state(restrictions.is_paused(&account.name, None)))
            .collect()
    }

    /// Number of cached policies.
    pub fn cached_policies(&self) -> usize {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Account {
    fn state(&self, is_paused: bool) -> AccountState {
        let now = crate::domain::clock::boot();
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let carried = Channel::ALL.iter().filter(|channel| self.carrier.carries(**channel));
        let channels = carried.map(|channel| {
            let probe_in = |breaker: &Breaker| breaker.probe_in(now);
            let breaker = match breakers.get(&(*channel, None)).and_then(probe_in) {
                None => BreakerState::Closed,
                Some(Duration::ZERO) => BreakerState::HalfOpen,
                Some(_) => BreakerState::Open,
            };
            let of_country = breakers.iter().filter(|((c, country), _)| c == channel && country.is_some());
            let countries = of_country.filter(|(_, breaker)| probe_in(breaker).is_some()).count();
            ChannelState { channel: *channel, breaker, countries }
        });
        let channels = channels.collect();
        let (rate_per_s, share_per_s) = self.limits.rate_limit.rates();
        AccountState { name: self.name.clone(), channels, is_paused, rate_per_s, share_per_s }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Routes;
    use super::{BreakerChange, BreakerState};
    use crate::config::Config;
    use crate::config::live::Live;
    use crate::domain::attempt::{Outcome, RefusalScope};
    use crate::domain::channel::Channel;
    use crate::domain::restrictions::Restrictions;

    fn routes() -> Routes {
        let config = "[carriers.c1]\nrate_per_s = 10\n[carriers.c1.twilio]\nfrom = \"+15005550006\"\n\
                      account_sid = \"AC00000000000000000000000000000001\"\nauth_token = \"x\"";
        Routes::new(&Config::parse(config).unwrap(), None, Live::new(Restrictions::default())).unwrap()
    }

    /// Fails if a breaker is reported each time that it opens again, or if its close is not reported.
    #[test]
    fn a_breaker_is_reported_when_it_opens_and_when_it_closes() {
        let routes = routes();
        let account = routes.account("c1").unwrap();
        let record = |outcome| account.record_outcome(Channel::Sms, Some("GB"), outcome).0;
        let change = |country: Option<&str>, opened| {
            vec![BreakerChange { channel: Channel::Sms, country: country.map(str::to_owned), opened }]
        };
        let state = || {
            let sms = routes.states()[0].channels[0];
            (sms.breaker, sms.countries)
        };
        for _ in 0..7 {
            assert!(record(Outcome::Unavailable).is_empty());
        }
        assert_eq!(state(), (BreakerState::Closed, 0));
        assert_eq!(record(Outcome::Unavailable), change(None, true));
        assert_eq!(state(), (BreakerState::Open, 0));
        assert!(record(Outcome::Unavailable).is_empty());
        assert_eq!(record(Outcome::Accepted), change(None, false));
        assert!(record(Outcome::Accepted).is_empty());

        let narrow = Outcome::Misconfigured(RefusalScope::Narrow);
        assert_eq!(record(narrow), change(Some("GB"), true));
        assert!(record(narrow).is_empty());
        assert_eq!(state(), (BreakerState::Closed, 1));
        assert_eq!(record(Outcome::Accepted), change(Some("GB"), false));
        let all = record(Outcome::Misconfigured(RefusalScope::Account));
        assert_eq!(all.len(), Channel::ALL.len(), "each channel of the account");
    }

    /// Fails if a pause in one country counts as one everywhere.
    #[test]
    fn a_pause_everywhere_is_shown() {
        let routes = routes();
        let mut paused = Restrictions::default();
        paused.pause("c1", Some("ID"));
        routes.restrictions.replace(paused.clone());
        assert!(!routes.states()[0].is_paused);
        paused.pause("c1", None);
        routes.restrictions.replace(paused);
        assert!(routes.states()[0].is_paused);
    }

    #[test]
    fn the_share_of_a_rate_limit_is_shown_beside_it() {
        let routes = routes();
        routes.share(4);
        let state = &routes.states()[0];
        assert_eq!((state.rate_per_s, state.share_per_s), (10.0, 2.5));
    }
}
