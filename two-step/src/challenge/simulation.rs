//! Simulates a week of honest sign-ins and of an attacker who has the password, against the pure rules.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Acr, Challenge, Proof, Purpose};
use crate::account::Account;
use crate::clock::{after, between};
use crate::limit::Limits;

const LIFE: Duration = Duration::from_secs(1800);
const WEEK: Duration = Duration::from_secs(7 * 86400);
/// Number of accepted values at one time: three live codes, and three authenticators with three steps each.
const RIGHT_VALUES: f64 = 12.0;
const VALUES: f64 = 1e6;

/// Returns the guesses in one week of an attacker who enters codes as fast as the rules allow.
fn guesses_in_a_week(limits: &Limits, owner_signs_in_every: Option<Duration>) -> u32 {
    let mut now = Timestamp::UNIX_EPOCH;
    let end = after(now, WEEK);
    let mut account = Account::new(Uuid::nil(), "shop", "u1", now);
    let mut guesses = 0;
    let mut owner = now;
    while now < end {
        if let Some(every) = owner_signs_in_every.filter(|every| between(owner, now) >= *every) {
            owner = after(now, Duration::ZERO);
            let _ = every;
            // The owner has a trusted device or waits for the end of the pause. A right code resets the count.
            account.count_right();
        }
        let mut challenge = Challenge::new(Uuid::now_v7(), account.id, Purpose::SignIn, LIFE, now);
        challenge.open(LIFE);
        while challenge.state.is_live() && now < end {
            if let Some(until) = account.pause(now) {
                now = until;
                if owner_signs_in_every.is_some_and(|every| between(owner, now) >= every) {
                    break;
                }
                challenge.pass_time(now);
                continue;
            }
            challenge.count_wrong(&mut account, [], limits, now);
            guesses += 1;
            now = after(now, Duration::from_millis(500));
            challenge.pass_time(now);
        }
    }
    guesses
}

#[test]
fn an_attacker_with_the_password_has_about_one_chance_in_a_hundred_in_a_week_of_pauses_alone() {
    let guesses = guesses_in_a_week(&Limits::default(), None);
    // Five in each hour of pause, after the first twenty.
    assert!((840..=870).contains(&guesses), "{guesses}");
    let odds = f64::from(guesses) * RIGHT_VALUES / VALUES;
    assert!(odds < 0.0105, "{odds}");
}

#[test]
fn right_codes_of_the_owner_give_an_attacker_more_quick_tries() {
    // Each right code resets the count of wrong ones: once, three times and ten times a day.
    let every = |times_a_day: u64| Some(Duration::from_secs(86400 / times_a_day));
    let guesses = [1, 3, 10].map(|times| guesses_in_a_week(&Limits::default(), every(times)));
    assert!((900..=950).contains(&guesses[0]), "{guesses:?}");
    assert!((1100..=1150).contains(&guesses[1]), "{guesses:?}");
    assert!((1500..=1550).contains(&guesses[2]), "{guesses:?}");
    assert!(f64::from(guesses[2]) * RIGHT_VALUES / VALUES < 0.019);
}

#[test]
fn the_hundredth_wrong_code_stops_an_attacker_within_a_day_at_one_chance_in_eight_hundred() {
    // NIST SP 800-63B, 3.2.2: a method is paused after one hundred failures in a row, so the week above cannot happen
    // to one method.
    let mut account = Account::new(Uuid::nil(), "shop", "u1", Timestamp::UNIX_EPOCH);
    let mut method = crate::method::Method::new(
        Uuid::nil(),
        Uuid::nil(),
        crate::method::Kind::Totp,
        Timestamp::UNIX_EPOCH,
    );
    method.activate(Timestamp::UNIX_EPOCH);
    let limits = Limits::default();
    let (mut now, mut guesses) = (Timestamp::UNIX_EPOCH, 0);
    while method.is_active() {
        let mut challenge = Challenge::new(Uuid::now_v7(), account.id, Purpose::SignIn, LIFE, now);
        challenge.open(LIFE);
        while challenge.state.is_live() && method.is_active() {
            if let Some(until) = account.pause(now) {
                now = until;
                challenge.pass_time(now);
                continue;
            }
            challenge.count_wrong(&mut account, [&mut method], &limits, now);
            guesses += 1;
        }
    }
    assert_eq!(guesses, 100);
    assert!(f64::from(guesses) * RIGHT_VALUES / VALUES <= 0.0012);
    assert!(between(Timestamp::UNIX_EPOCH, now) < Duration::from_secs(86400));
}

#[test]
fn a_week_of_honest_sign_ins_is_never_locked_out() {
    let limits = Limits::default();
    let mut now = Timestamp::UNIX_EPOCH;
    let mut account = Account::new(Uuid::nil(), "shop", "u1", now);
    let mut verified = 0;
    // Ten sign-ins a day; every third needs a second try, every twentieth four.
    for n in 0..70u32 {
        now = after(now, Duration::from_secs(8640));
        let mut challenge = Challenge::new(Uuid::now_v7(), account.id, Purpose::SignIn, LIFE, now);
        challenge.open(LIFE);
        let slips = if n % 20 == 19 { 4 } else { u32::from(n % 3 == 2) };
        for _ in 0..slips {
            assert_eq!(challenge.may_enter(&account, now), Ok(()));
            challenge.count_wrong(&mut account, [], &limits, now);
        }
        assert_eq!(challenge.may_enter(&account, now), Ok(()));
        challenge.verify(Proof::Totp, Acr::Second, now);
        account.count_right();
        verified += 1;
    }
    assert_eq!(verified, 70);
}
