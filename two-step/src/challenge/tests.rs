//! Tests of a challenge: states, limits, and invariants under any sequence of actions.

use proptest::prelude::*;

use super::*;

const LIFE: Duration = Duration::from_secs(1800);

fn at(s: u64) -> Timestamp {
    after(Timestamp::UNIX_EPOCH, Duration::from_secs(s))
}

fn challenge() -> (Challenge, Account) {
    let account = Account::new(Uuid::now_v7(), "shop", "u1", at(0));
    (Challenge::new(Uuid::now_v7(), account.id, Purpose::SignIn, LIFE, at(0)), account)
}

#[test]
fn the_fifth_wrong_entry_locks_and_no_later_entry_counts() {
    let (mut c, mut a) = challenge();
    c.claim("b", LIFE).unwrap();
    let left: Vec<u32> = (0..5).map(|_| c.count_wrong(&mut a, [], &Limits::default(), at(2)).left).collect();
    assert_eq!((left.as_slice(), c.state), ([4, 3, 2, 1, 0].as_slice(), ChallengeState::Locked));
    assert_eq!(c.may_enter(&a, at(3)), Err(EntryRefused::Ended(ChallengeState::Locked)));
}

#[test]
fn one_browser_claims_a_challenge_and_can_open_it_again() {
    let (mut c, _) = challenge();
    assert_eq!(c.claim("one", LIFE), Ok(()));
    assert_eq!(c.claim("two", LIFE), Err(ClaimRefused::OtherBrowser));
    assert_eq!(c.claim("one", LIFE), Ok(()));
    assert_eq!(c.expires_at, at(1800), "thirty minutes from creation, not from the claim");
}

#[test]
fn an_unclaimed_challenge_expires_after_ten_minutes_and_a_ticket_after_one() {
    let (mut c, _) = challenge();
    assert!(!c.pass_time(at(599)) && c.pass_time(at(600)));
    assert_eq!(
        (c.state, c.claim("b", LIFE)),
        (ChallengeState::Expired, Err(ClaimRefused::Ended(ChallengeState::Expired)))
    );
    let (mut c, _) = challenge();
    c.claim("b", LIFE).unwrap();
    c.verify(Proof::Totp, Acr::Second, at(100));
    assert!(!c.pass_time(at(159)) && c.pass_time(at(160)));
    assert_eq!(c.state, ChallengeState::Lapsed);
}

#[test]
fn sends_keep_their_gaps_and_calls_have_their_own_limit() {
    let (mut c, _) = challenge();
    let limits = Limits::default();
    c.open(LIFE);
    let voice = Some(Channel::Voice);
    assert_eq!(c.may_send(voice, &limits, at(0)), Ok(()));
    c.count_send(voice, &limits, at(0));
    assert_eq!(c.may_send(voice, &limits, at(29)), Err(SendRefused::Limited { until: at(30) }));
    c.count_send(voice, &limits, at(30));
    c.count_send(voice, &limits, at(90));
    assert_eq!(c.may_send(voice, &limits, at(1000)), Err(SendRefused::UsedUp));
    assert_eq!(c.may_send(Some(Channel::Sms), &limits, at(1000)), Ok(()));
    c.count_send(Some(Channel::Sms), &limits, at(1000));
    c.count_send(None, &limits, at(1300));
    assert_eq!(c.may_send(None, &limits, at(1700)), Err(SendRefused::UsedUp));
}

#[derive(Debug, Clone)]
enum Action {
    Claim(bool),
    Wrong,
    Right,
    Send,
    Cancel,
    Wait(u64),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        any::<bool>().prop_map(Action::Claim),
        Just(Action::Wrong),
        Just(Action::Right),
        Just(Action::Send),
        Just(Action::Cancel),
        (0u64..700).prop_map(Action::Wait),
    ];
    prop::collection::vec(action, 1..60)
}

proptest! {
    #[test]
    fn invariants_of_a_challenge_hold_for_any_actions(actions in actions()) {
        let (mut c, mut a) = challenge();
        let limits = Limits::default();
        let (mut now, mut wrong, mut sends, mut ended) = (0, 0, 0, None);
        for action in actions {
            c.pass_time(at(now));
            if ended.is_none() && !c.state.is_live() { ended = Some(c.state); }
            match action {
                Action::Wait(s) => now += s,
                Action::Claim(first) => { let _ = c.claim(if first { "one" } else { "two" }, LIFE); }
                Action::Wrong if c.may_enter(&a, at(now)).is_ok() => { c.count_wrong(&mut a, [], &limits, at(now)); wrong += 1; }
                Action::Right if c.may_enter(&a, at(now)).is_ok() => { c.verify(Proof::Sms, Acr::Second, at(now)); a.count_right(); }
                Action::Send if c.may_send(Some(Channel::Sms), &limits, at(now)).is_ok() => { c.count_send(Some(Channel::Sms), &limits, at(now)); sends += 1; }
                Action::Cancel if c.state.is_live() => c.end(ChallengeState::Cancelled, at(now)),
                _ => {}
            }
            prop_assert!(wrong <= 5 && sends <= 5);
            prop_assert_eq!(c.wrong, wrong);
            // A final state stays. Only a ticket can still expire.
            if let Some(end) = ended {
                let lapsed = end == ChallengeState::Verified && c.state == ChallengeState::Lapsed;
                prop_assert!(c.state == end || lapsed);
            }
            prop_assert_eq!(c.ended_at.is_some(), !c.state.is_live());
        }
    }
}
