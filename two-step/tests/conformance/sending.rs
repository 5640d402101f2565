//! Sends of codes.

use two_step::challenge::SendRefused;
use two_step::clock::{after, between};
use two_step::code::Code;
use two_step::flow::{Entered, MailState};
use two_step::limit::Rule;
use two_step::method::{Channel, Method};
use two_step::store::{Counter, OutboxKind, OutboxRow};

use crate::support::on_both;
use crate::support::user::{User, number};
use crate::support::world::{Backend, World};

/// Returns the seconds until a refused send is allowed.
async fn wait_of(world: &World, refused: Result<(), SendRefused>) -> u64 {
    match refused {
        Err(SendRefused::Limited { until }) => between(world.now().await, until).as_secs() + 1,
        other => panic!("not limited: {other:?}"),
    }
}

on_both! {
async fn the_page_shows_the_state_of_a_mail(world) {
    let world = world.configured(|config| config.email.second_step = true);
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let challenge = world.core.add_email(&user.visit, "ada@shop.example").await.unwrap().unwrap();
    let mail = async || world.core.challenge_snapshot(challenge, &user.requester()).await.unwrap().mail;
    assert!(matches!(mail().await, Some(MailState::Waiting { .. })));
    let row = world.rows::<OutboxRow>("where kind = 'mail'", &[]).await.pop().unwrap();
    let mut tx = world.core.store.begin().await.unwrap();
    tx.delete::<OutboxRow>(row.id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(mail().await, Some(MailState::Sent));
    world.core.mail_refused(row.subject).await.unwrap();
    assert_eq!(mail().await, Some(MailState::Refused));
    world.advance(30);
    world.core.send(challenge, &user.requester(), None, None).await.unwrap().unwrap();
    assert!(matches!(mail().await, Some(MailState::Waiting { .. })), "sent again");
}

async fn a_reached_limit_shows_its_end_before_the_first_send(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    for _ in 0..5 {
        let challenge = user.elsewhere().open_challenge().await;
        assert_eq!(user.challenge(challenge).await.sends, 1);
    }
    let refused = user.open_challenge().await;
    let snapshot = world.core.challenge_snapshot(refused, &user.requester()).await.unwrap();
    assert_eq!((snapshot.challenge.sends, snapshot.dispatch.is_none()), (0, true));
    let until = world.core.send_blocked_until(&snapshot).await.unwrap().unwrap();
    let wait = two_step::clock::seconds_until(snapshot.now, until);
    assert!((590..=600).contains(&wait), "{wait}");
    world.advance(600);
    let snapshot = world.core.challenge_snapshot(refused, &user.requester()).await.unwrap();
    assert_eq!(world.core.send_blocked_until(&snapshot).await.unwrap(), None);
}

async fn send_again_supersedes_the_first_text_with_the_same_code(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    world.advance(30);
    user.send(challenge, Channel::Sms).await.unwrap();
    let jobs = world.jobs(challenge).await;
    assert_eq!(jobs.len(), 2);
    assert_ne!(jobs[0]["id"], jobs[1]["id"]);
    for same in ["code", "supersedes", "expires_at", "to"] {
        assert_eq!(jobs[0][same], jobs[1][same], "{same}");
    }
    let issued = |n: usize| jobs[n]["issued_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(issued(0) < issued(1));
}

async fn with_less_than_two_minutes_left_a_new_code_is_sent_and_the_old_one_stays_valid(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    world.advance(470);
    user.send(challenge, Channel::Sms).await.unwrap();
    world.advance(60);
    user.send(challenge, Channel::Sms).await.unwrap();
    let jobs = world.jobs(challenge).await;
    assert_eq!(jobs[0]["code"], jobs[1]["code"], "130 s were left");
    assert_ne!(jobs[0]["code"], jobs[2]["code"], "70 s were left");
    assert_eq!(jobs[0]["supersedes"], jobs[2]["supersedes"]);
    assert!(jobs[0]["expires_at"].as_str() < jobs[2]["expires_at"].as_str());
    world.advance(30);
    user.must_verify(challenge, jobs[0]["code"].as_str().unwrap()).await;
}

async fn a_new_code_supersedes_an_expired_one(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    world.advance(700);
    two_step::sweep::sweep(&world.core).await.unwrap();
    user.send(challenge, Channel::Sms).await.unwrap();
    let jobs = world.jobs(challenge).await;
    assert_ne!(jobs[0]["code"], jobs[1]["code"]);
    assert_eq!(jobs[0]["supersedes"], jobs[1]["supersedes"], "one group per challenge and method");
}

async fn at_most_three_codes_are_live(world) {
    // Codes live one minute here, so each send creates a new one.
    let world = world.configured(|c| {
        c.code.life.0 = std::time::Duration::from_secs(60 * 10);
        c.limits.send_gaps_s = vec![1];
        c.limits.number_sends = vec![Rule::per(100, 600)];
    });
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    for _ in 0..3 {
        world.advance(1);
        // The remaining life of the newest code is too short to send it again.
        let mut codes = world.rows::<Code>("order by created_at, id", &[]).await;
        let newest = codes.last_mut().unwrap();
        newest.expires_at = after(world.now().await, std::time::Duration::from_secs(100));
        world.write(newest).await;
        user.send(challenge, Channel::Sms).await.unwrap();
    }
    assert_eq!(world.rows::<Code>("", &[]).await.len(), 3);
    let codes: Vec<String> =
        world.jobs(challenge).await.iter().map(|j| j["code"].as_str().unwrap().to_owned()).collect();
    assert_eq!(codes.len(), 4);
    assert!(matches!(user.enter(challenge, &codes[0]).await, two_step::flow::Entered::Wrong { left: 4, .. }));
    user.must_verify(challenge, &codes[1]).await;
}

async fn sends_have_minimum_gaps_and_a_challenge_has_five(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    for gap in [30, 60, 120, 300] {
        let refused = user.send(challenge, Channel::Sms).await;
        assert_eq!(refused, user.send(challenge, Channel::Sms).await, "a refusal changes nothing");
        assert_eq!(wait_of(&world, refused).await, gap);
        world.advance(gap - 1);
        assert_eq!(wait_of(&world, user.send(challenge, Channel::Sms).await).await, 1);
        world.advance(1);
        user.send(challenge, Channel::Sms).await.unwrap();
    }
    world.advance(300);
    assert_eq!(user.send(challenge, Channel::Sms).await, Err(SendRefused::UsedUp));
    assert_eq!(world.jobs(challenge).await.len(), 5);
}

async fn at_most_three_sends_are_calls(world) {
    let world = world.configured(|c| c.limits.number_calls = vec![Rule::per(100, 3600)]);
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    for _ in 0..3 {
        world.advance(300);
        user.send(challenge, Channel::Voice).await.unwrap();
    }
    world.advance(300);
    assert_eq!(user.send(challenge, Channel::Voice).await, Err(SendRefused::UsedUp));
    user.send(challenge, Channel::Sms).await.unwrap();
    let challenge = user.challenge(challenge).await;
    assert_eq!((challenge.sends, challenge.calls), (5, 3));
}

async fn one_number_gets_three_calls_an_hour(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    for _ in 0..2 {
        world.advance(300);
        user.send(challenge, Channel::Voice).await.unwrap();
    }
    let second = user.open_challenge().await;
    world.advance(300);
    user.send(second, Channel::Voice).await.unwrap();
    world.advance(300);
    let wait = wait_of(&world, user.send(second, Channel::Voice).await).await;
    assert!((3600 - 901..=3600 - 898).contains(&wait), "an hour after the first call: {wait}");
    user.send(second, Channel::Sms).await.unwrap();
}

async fn one_account_gets_ten_codes_an_hour(world) {
    let world = world.configured(|c| c.limits.number_sends = vec![Rule::per(100, 600)]);
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    for _ in 0..10 {
        user.open_challenge().await;
    }
    let eleventh = user.open_challenge().await;
    assert_eq!(world.jobs(eleventh).await.len(), 0, "the page opens, and no code is sent");
    let wait = wait_of(&world, user.send(eleventh, Channel::Sms).await).await;
    assert!((3540..=3600).contains(&wait), "{wait}");
    assert_eq!(user.challenge(eleventh).await.sends, 0);
}

async fn a_number_gets_five_codes_in_ten_minutes_over_all_accounts(world) {
    let (one, _) = User::with_phone(&world, "u1", 1).await;
    let (two, _) = User::with_phone(&world, "u2", 1).await;
    for _ in 0..3 {
        one.open_challenge().await;
    }
    for _ in 0..2 {
        two.open_challenge().await;
    }
    let (sixth, seventh) = (one.open_challenge().await, two.open_challenge().await);
    for (user, challenge) in [(&one, sixth), (&two, seventh)] {
        assert_eq!(world.jobs(challenge).await.len(), 0);
        let wait = wait_of(&world, user.send(challenge, Channel::Sms).await).await;
        assert!((540..=600).contains(&wait), "{wait}");
    }
    world.advance(600);
    one.send(sixth, Channel::Sms).await.unwrap();
}

async fn a_refused_send_counts_against_no_limit(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    for _ in 0..5 {
        user.open_challenge().await;
    }
    let full = user.open_challenge().await;
    let mut before = world.rows::<Counter>("order by key_hash", &[]).await;
    for _ in 0..3 {
        assert!(user.send(full, Channel::Sms).await.is_err());
        assert!(user.send(full, Channel::Voice).await.is_err());
    }
    let after = world.rows::<Counter>("order by key_hash", &[]).await;
    before.retain(|b| b.times != "[]");
    let counted: Vec<_> = after.into_iter().filter(|a| a.times != "[]").collect();
    assert_eq!(counted, before, "the number's limit is reached, so the other limits count nothing");
}

async fn a_paused_method_gets_no_code(world) {
    let (user, authenticator) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let mut phone = world.rows::<Method>("where kind = 'phone'", &[]).await.pop().unwrap();
    phone.pause("opted_out");
    world.write(&phone).await;
    world.advance(60);
    assert_eq!(user.send(challenge, Channel::Sms).await, Err(SendRefused::Method));
    assert_eq!(
        world.core.send(challenge, &user.requester(), Some(authenticator.method), None).await.unwrap(),
        Ok(())
    );
    assert_eq!(world.jobs(challenge).await.len(), 1);
}

async fn a_second_phone_has_its_own_codes_and_the_first_code_stays_valid(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let second = user.add_phone(&number(2)).await;
    world.advance(3600);
    let challenge = user.open_challenge().await;
    world.advance(30);
    world.core.send(challenge, &user.requester(), Some(second), None).await.unwrap().unwrap();
    let jobs = world.jobs(challenge).await;
    assert_ne!(jobs[0]["supersedes"], jobs[1]["supersedes"]);
    assert_ne!(jobs[0]["to"], jobs[1]["to"]);
    user.must_verify(challenge, jobs[0]["code"].as_str().unwrap()).await;
    let cancelled = world.outbox(OutboxKind::Cancel).await;
    assert_eq!(cancelled.last().unwrap()["id"], jobs[1]["id"], "the other one is cancelled");
}

async fn a_test_code_changes_nothing(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    world.advance(3600);
    user.open_settings().await;
    user.prove_to_settings().await;
    world.advance(60);
    let before = world.row::<Method>(phone_of(&world).await).await;
    let sent = async || world.core.send_test(&user.visit, before.id).await.unwrap();
    assert_eq!(sent().await, Ok(()));
    assert!(matches!(sent().await, Err(SendRefused::Limited { .. })), "too early");
    let job = world.outbox(OutboxKind::Dispatch).await.pop().unwrap();
    assert_eq!(job["code"].as_str().unwrap().len(), 6);
    assert_eq!(world.row::<Method>(before.id).await, before);
    // The code is valid only for its own challenge.
    let challenge = user.open_challenge().await;
    let entered = user.enter(challenge, job["code"].as_str().unwrap()).await;
    assert!(matches!(entered, Entered::Wrong { .. }), "{entered:?}");
}
}

async fn phone_of(world: &World) -> uuid::Uuid {
    let phones = world.rows::<Method>("where kind = 'phone'", &[]).await;
    phones[0].id
}
