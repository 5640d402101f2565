//! Concurrent right answers from two tabs or two browsers, on two processes of which one may be killed.

use std::time::Duration;

use crate::checker;
use crate::journal::ObservedResult;
use crate::killed::{kill, prepared};
use crate::seed::Seed;
use crate::site::{Addresses, Transport};

/// Number of repetitions.
const REPETITIONS: u64 = 8;

/// Two tabs of the browser, and the back end at another process, send the right code concurrently.
///
/// Fails without the locks of account and challenge, because then a right code is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_right_answers_verify_once() {
    let (site, user, _otpost, _two_step) = prepared(Transport::Amqp).await;
    let mut seed = Seed::of("concurrent_right_answers_verify_once");
    let addresses = Addresses::reserve();
    let mut second = Some(site.start_with("second", addresses, &[]).await);
    let there = site.backend.at(addresses.api);
    for round in 0..REPETITIONS {
        let mut browser = site.browser();
        let (challenge, code) = user.open_challenge(&site, &mut browser).await;
        let (mut tab, mut other) = (browser.clone(), browser);
        let dies = round % 2 == 1;
        let pause = Duration::from_millis(seed.below(30));
        let dying = async {
            if dies {
                // The seed decides the delay between the answers.
                tokio::time::sleep(pause).await;
                second.take().into_iter().for_each(|process| kill(process, &site.journal));
            }
        };
        let (a, b, c, d, ()) = tokio::join!(
            tab.enter(challenge, &code, true, false),
            other.enter(challenge, &code, true, false),
            there.verify(challenge, &code, true),
            site.backend.verify(challenge, &code, true),
            dying,
        );
        let all = [a, b, c, d];
        assert!(!all.contains(&ObservedResult::Wrong), "a right code is not wrong: {all:?}");
        // The first side may get the same answer again, and the checker sees one `jti`. The other side gets nothing.
        let (tabs, back_end) =
            ([a, b].contains(&ObservedResult::Verified), [c, d].contains(&ObservedResult::Verified));
        assert!(tabs != back_end, "the tabs or the back end, not both: {all:?}");
        if let Some(ticket) = tab.ticket().or(other.ticket()) {
            let (one, two) = tokio::join!(site.backend.redeem(&ticket), site.backend.redeem(&ticket));
            assert_eq!(one, two, "the same claims");
        }
        if second.is_none() {
            second = Some(site.start_with("second", addresses, &[]).await);
        }
    }
    checker::check(&site).await;
}

/// Two browsers open the URL of a challenge concurrently. One claims it, and the other cannot use it.
///
/// Fails without those locks, because then both browsers get a form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_browsers_with_one_url_gets_the_challenge() {
    let (site, user, _otpost, _two_step) = prepared(Transport::Amqp).await;
    for _ in 0..REPETITIONS {
        let before = user.codes(&site).await;
        let (challenge, url) = site.backend.create_for_browser(&user.name).await;
        let (mut a, mut b) = (site.browser(), site.browser());
        let (one, two) = tokio::join!(a.open(&url), b.open(&url));
        one.unwrap();
        two.unwrap();
        let form = format!("/challenge/{challenge}");
        let (has_a, has_b) = (a.form(&form), b.form(&form));
        assert!(has_a.is_some() != has_b.is_some(), "exactly one of them claims it: {} {}", a.page, b.page);
        let (mut owner, mut stranger) = if has_a.is_some() { (a, b) } else { (b, a) };
        let code = site.phones.code_after(&user.number, before).await;
        stranger.page.clone_from(&owner.page);
        assert_eq!(stranger.enter(challenge, &code, true, false).await, ObservedResult::Refused);
        assert_eq!(owner.enter(challenge, &code, true, false).await, ObservedResult::Verified);
    }
    checker::check(&site).await;
}
