//! Which account is chosen: permits, rate limits, pauses, breakers, reloads.

use std::sync::Arc;
use std::time::Duration;

use super::Routes;
use crate::config::Config;
use crate::config::live::Live;
use crate::domain::attempt::{Details, Judgement, Outcome, Reason};
use crate::domain::channel::Channel;
use crate::domain::decide::{MIN_LIFE, NoRoom};
use crate::domain::restrictions::Restrictions;

fn config(rate_per_s: u32) -> Config {
    Config::parse(&format!(
        "[carriers.c1]\nrate_per_s = {rate_per_s}\n[carriers.c1.twilio]\nfrom = \"+15005550006\"\n\
         account_sid = \"AC00000000000000000000000000000001\"\nauth_token = \"x\""
    ))
    .unwrap()
}

fn routes(rate_per_s: u32, before: Option<&Routes>) -> Routes {
    Routes::new(&config(rate_per_s), before, Live::new(Restrictions::default())).unwrap()
}

#[test]
fn a_paused_carrier_is_not_chosen_until_the_pause_ends() {
    let routes = routes(1000, None);
    let is_chosen = || routes.choose(Channel::Sms, None, &["c1".to_owned()], false).is_ok();
    assert!(is_chosen());
    let mut paused = Restrictions::default();
    paused.pause("c1", None);
    routes.restrictions.replace(paused);
    assert!(!is_chosen());
    routes.restrictions.replace(Restrictions::default());
    assert!(is_chosen());
}

/// Fails if only the pauses in countries are looked at, or only the routes without a country.
#[test]
fn a_channel_is_paused_with_all_carriers_of_its_route() {
    let mut config = config(1000);
    config.carriers.insert("c2".to_owned(), config.carriers["c1"].clone());
    let route = |carrier: &str| [(Channel::Sms, vec![carrier.to_owned()])].into();
    config.routes.channels = route("c1");
    config.routes.countries.insert("ID".to_owned().try_into().unwrap(), route("c2"));
    let routes = Routes::new(&config, None, Live::new(Restrictions::default())).unwrap();
    let paused = |carriers: &[&str]| {
        let mut paused = Restrictions::default();
        for carrier in carriers {
            paused.pause(carrier, None);
        }
        routes.restrictions.replace(paused);
        routes.paused_channels().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(paused(&[]), Vec::<String>::new());
    assert_eq!(paused(&["c2"]), ["sms to ID"]);
    assert_eq!(paused(&["c1"]), ["sms except to ID"]);
    assert_eq!(paused(&["c1", "c2"]), ["sms", "voice"]);
}

/// Fails if the pause holds for another country or for a number without one, or if the country's messages wait although another carrier
/// can send them.
#[test]
fn a_carrier_that_is_paused_in_a_country_is_chosen_for_the_others() {
    let mut config = config(1000);
    config.carriers.insert("c2".to_owned(), config.carriers["c1"].clone());
    let routes = Routes::new(&config, None, Live::new(Restrictions::default())).unwrap();
    let both = ["c1", "c2"].map(str::to_owned);
    let chosen =
        |country| routes.choose(Channel::Sms, country, &both, false).map(|ready| ready.account.name.clone());
    let mut paused = Restrictions::default();
    paused.pause("c1", Some("ID"));
    routes.restrictions.replace(paused.clone());
    for (country, carrier) in [(Some("ID"), "c2"), (Some("GB"), "c1"), (None, "c1")] {
        assert_eq!(chosen(country).as_deref(), Ok(carrier), "{country:?}");
    }
    assert!(!routes.is_closed(Channel::Sms, Some("ID")), "the other carrier is open");
    assert_eq!(routes.paused_channels(), []);
    paused.pause("c2", Some("ID"));
    routes.restrictions.replace(paused);
    assert_eq!(chosen(Some("ID")), Err(NoRoom::Closed));
    let shown = || routes.paused_channels().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(), ["sms to ID", "voice to ID"]);
    assert!(routes.is_closed(Channel::Sms, Some("ID")) && !routes.is_closed(Channel::Sms, Some("GB")));
    assert_eq!(chosen(Some("GB")).as_deref(), Ok("c1"));
}

#[test]
fn after_a_probe_one_request_passes_an_open_breaker_at_once() {
    let routes = routes(1000, None);
    let is_chosen = || routes.choose(Channel::Sms, None, &["c1".to_owned()], false).is_ok();
    for _ in 0..8 {
        routes.account("c1").unwrap().record_outcome(Channel::Sms, None, Outcome::Unavailable);
    }
    assert!(!is_chosen(), "the breaker is open");
    routes.end_breaker_pauses("no such carrier");
    assert!(!is_chosen());
    routes.end_breaker_pauses("c1");
    assert!(is_chosen(), "the probe passes");
    assert!(!is_chosen(), "the others wait for its result");
}

/// Fails if an unknown code is logged for each message, or for none.
#[test]
fn an_unknown_code_is_new_once() {
    let routes = routes(1000, None);
    let account = routes.account("c1").unwrap();
    let refusal = |code: &str, outcome: Outcome| {
        let details = Details { carrier_code: Some(code.to_owned()), ..Details::default() };
        account.is_new_code(&Judgement { outcome, details })
    };
    let rejected = Outcome::Rejected(Reason::Request);
    assert_eq!(
        [refusal("20001", rejected), refusal("20001", rejected), refusal("20002", rejected)],
        [true, false, true]
    );
    assert!(!refusal("21612", rejected), "a known code");
    assert!(!refusal("20004", Outcome::Unavailable));
}

#[test]
fn without_a_free_permit_a_dispatch_queues_only_if_requests_end() {
    let routes = routes(1000, None);
    let choose = || routes.choose(Channel::Sms, None, &["c1".to_owned()], false);
    let mut held: Vec<_> = (0..256).map(|_| choose().unwrap()).collect();
    assert_eq!(choose().err(), Some(NoRoom::Busy), "no request has ended, so the carrier may hang");
    let account = routes.account("c1").unwrap();
    assert!(account.permit().is_none(), "no permit is left for a status request");
    drop(held.pop());
    held.push(choose().unwrap());
    let Some(NoRoom::Turn(wait)) = choose().err() else { panic!("it has a turn") };
    assert!(
        wait < Duration::from_millis(50),
        "one request has ended, so a permit is expected soon: {wait:?}"
    );
}

#[test]
fn a_chosen_account_has_the_minimum_life_of_its_channel() {
    let mut routes = routes(1000, None);
    let minute = Duration::from_secs(60);
    let account = Arc::get_mut(routes.accounts.get_mut("c1").unwrap()).unwrap();
    account.candidates.get_mut(&Channel::Sms).unwrap().min_life = minute;
    let least =
        |channel| routes.choose(channel, None, &["c1".to_owned()], false).ok().map(|ready| ready.min_life);
    assert_eq!((least(Channel::Sms), least(Channel::Voice)), (Some(minute), Some(MIN_LIFE)));
}

#[test]
fn a_reload_causes_no_burst_and_no_further_permits() {
    let of = |routes: &Routes| routes.choose(Channel::Sms, None, &["c1".to_owned()], true);
    let first = routes(2, None);
    let held = [of(&first), of(&first)];
    assert!(held.iter().all(Result::is_ok) && of(&first).is_err(), "two a second");
    let again = routes(2, Some(&first));
    assert!(of(&again).is_err(), "the same account keeps its rate limit");
    again.share(2);
    let faster = routes(100, Some(&again));
    assert!(of(&faster).is_err(), "a new rate starts used up while other workers share it");
    let account = |routes: &Routes| routes.account("c1").unwrap().limits.permits.available_permits();
    assert_eq!(account(&again), account(&first), "requests in progress keep their permits");
    assert_eq!(account(&again), 256 - 2);
}
