//! Claims of challenges, and entries of codes.

use two_step::challenge::{ChallengeState, Proof};
use two_step::clock::between;
use two_step::flow::{Claimed, Entered, Entry, FlowError, Visit};
use two_step::method::{Channel, Method, MethodState};
use two_step::store::OutboxKind;

use crate::support::on_both;
use crate::support::user::{User, other_code, verified};
use crate::support::world::{Backend, World};

fn wrong(left: u32) -> Entered {
    Entered::Wrong { left, clock_behind_s: None, expired: false }
}

on_both! {
async fn the_fifth_wrong_code_locks_a_challenge(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    for left in [4, 3, 2, 1] {
        assert_eq!(user.enter(challenge, &other_code(&code)).await, wrong(left));
    }
    assert_eq!(user.enter(challenge, &other_code(&code)).await.ended(), Some(ChallengeState::Locked));
    assert_eq!(
        user.enter(challenge, &code).await.ended(),
        Some(ChallengeState::Locked),
        "the right code is refused after the lock"
    );
    assert_eq!(world.rows::<two_step::code::Code>("", &[]).await, [], "its codes are deleted");
    assert_eq!(world.events("challenge.locked").await, 1);
    assert_eq!(user.challenge(challenge).await.wrong, 5);
    let cancelled = world.outbox(OutboxKind::Cancel).await;
    assert_eq!(cancelled.len(), 1, "the text is cancelled at otpost");
    let location = world.core.location(&user.challenge(challenge).await).unwrap();
    assert_eq!(location, "https://shop.example/2fa?status=locked&state=s1");
}

async fn wrong_codes_pause_the_account_across_challenges_until_a_right_one(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.enter_wrong(user.open_challenge().await, 5).await;
    let paused = world.account("u1").await.paused_until.unwrap();
    assert!((58..=60).contains(&between(world.now().await, paused).as_secs()), "a minute after five");

    // The second challenge is opened during the pause: nothing is sent, and no entry is checked.
    let challenge = user.open_challenge().await;
    assert_eq!(world.jobs(challenge).await.len(), 0);
    let Entered::Paused { until, .. } = user.enter(challenge, "123456").await else { panic!("not paused") };
    assert_eq!(until, paused);
    world.advance(60);
    user.send(challenge, Channel::Sms).await.unwrap();
    user.enter_wrong(challenge, 5).await;
    let paused = world.account("u1").await.paused_until.unwrap();
    assert!((298..=300).contains(&between(world.now().await, paused).as_secs()), "five minutes after ten");
    assert_eq!(world.events("account.paused").await, 2);

    world.advance(300);
    let challenge = user.open_challenge().await;
    assert_eq!(user.enter_wrong(challenge, 1).await, wrong(4));
    assert_eq!(world.account("u1").await.wrong, 11, "a new code does not reset the count");
    user.must_verify(challenge, &world.code(challenge).await).await;
    let account = world.account("u1").await;
    assert_eq!((account.wrong, account.paused_until), (0, None), "a right code resets the count");
}

async fn the_hundredth_wrong_code_in_a_row_pauses_the_method_and_another_method_signs_in(world) {
    let (user, authenticator) = User::with_phone(&world, "u1", 1).await;
    let mut phone = world.rows::<Method>("where kind = 'phone'", &[]).await.pop().unwrap();
    phone.wrong = 98;
    world.write(&phone).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    user.enter_wrong(challenge, 1).await;
    assert!(world.row::<Method>(phone.id).await.is_active(), "ninety-nine");
    user.enter_wrong(challenge, 1).await;
    assert_eq!(world.row::<Method>(phone.id).await.state, MethodState::Paused, "one hundred");
    assert_eq!(user.enter(challenge, &code).await, wrong(2), "its live code is not accepted");
    let code = authenticator.code(&world).await;
    verified(user.enter_for(challenge, authenticator.method, &code).await);
    let phone = world.row::<Method>(phone.id).await;
    assert_eq!((phone.state, phone.wrong), (MethodState::Active, 0), "a proof by another method resumes it");
    assert_eq!(world.events("method.resumed").await, 1);
}

async fn a_wrong_entry_counts_at_every_method_that_it_is_compared_with(world) {
    let (user, authenticator) = User::with_phone(&world, "u1", 1).await;
    let phone = world.rows::<Method>("where kind = 'phone'", &[]).await.pop().unwrap();
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let counts = async || {
        (world.row::<Method>(phone.id).await.wrong, world.row::<Method>(authenticator.method).await.wrong)
    };
    user.enter_for(challenge, phone.id, &other_code(&code)).await;
    assert_eq!(counts().await, (1, 0), "the authenticator is not shown");
    user.enter_for(challenge, authenticator.method, &other_code(&code)).await;
    assert_eq!(counts().await, (2, 1), "the text's code is compared for any method in the form");
    user.enter(challenge, "0000-0000-0000-0000").await;
    assert_eq!(counts().await, (2, 1), "no code of theirs has this form");
}

async fn eight_digits_are_a_code_only_while_a_support_code_is_live(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    assert_eq!(user.enter(challenge, "12345678").await, Entered::Unreadable);
    assert_eq!((user.challenge(challenge).await.wrong, world.account("u1").await.wrong), (0, 0));
}

async fn the_result_names_the_channel_of_the_code_and_not_of_the_page(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    world.advance(30);
    let other = user.elsewhere();
    other.open_settings().await;
    other.prove_to_settings().await;
    let second = other.add_phone("07700 900999").await;
    world.advance(60);
    let called = world.core.send(challenge, &user.requester(), Some(second), Some(Channel::Voice)).await.unwrap();
    assert_eq!(called, Ok(()));
    assert_eq!(user.challenge(challenge).await.channel, Some(Channel::Voice));
    user.must_verify(challenge, &code).await;
    assert_eq!(user.challenge(challenge).await.proof, Some(Proof::Sms));
}

async fn a_code_of_another_challenge_is_wrong(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let one = user.open_challenge().await;
    world.advance(30);
    let two = user.open_challenge().await;
    let (code_one, code_two) = (world.code(one).await, world.code(two).await);
    assert_ne!(code_one, code_two);
    assert_eq!(user.enter(two, &code_one).await, wrong(4));
    assert_eq!(user.enter(one, &code_two).await, wrong(4));
    user.must_verify(two, &code_two).await;
    user.must_verify(one, &code_one).await;
}

async fn a_code_of_another_user_is_wrong(world) {
    let (one, _) = User::with_phone(&world, "u1", 1).await;
    let (two, _) = User::with_phone(&world, "u2", 2).await;
    let (of_one, of_two) = (one.open_challenge().await, two.open_challenge().await);
    assert_eq!(two.enter(of_two, &world.code(of_one).await).await, wrong(4));
}

async fn a_code_is_accepted_once_and_a_repeated_answer_gets_the_same_redirect(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let first = user.must_verify(challenge, &code).await;
    assert_eq!(user.must_verify(challenge, &code).await, first, "a double click");
    assert_eq!(world.events("challenge.verified").await, 1);
    let elsewhere = user.elsewhere();
    let refused = elsewhere.try_entry(challenge, Entry { text: code.clone(), ..Entry::default() }).await;
    assert!(matches!(refused, Err(FlowError::Missing("challenge"))), "another browser: {refused:?}");
    world.advance(60);
    assert_eq!(user.enter(challenge, &code).await.ended(), Some(ChallengeState::Lapsed));
}

async fn a_code_expires_after_ten_minutes(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    world.advance(590);
    assert_eq!(user.enter(challenge, &other_code(&code)).await, wrong(4));
    world.advance(11);
    let ended = Entered::Wrong { left: 3, clock_behind_s: None, expired: true };
    assert_eq!(user.enter(challenge, &code).await, ended);
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    world.advance(590);
    user.must_verify(challenge, &code).await;
}

async fn a_challenge_expires_after_ten_minutes_without_a_browser_and_after_thirty_with_one(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let late = user.create_challenge().await;
    world.advance(600);
    assert!(matches!(user.claim(&late).await, (Claimed::Ended { state: ChallengeState::Expired, .. }, None)));
    assert_eq!(world.jobs(late.id).await.len(), 0);
    let challenge = user.open_challenge().await;
    world.advance(1700);
    user.send(challenge, Channel::Sms).await.unwrap();
    let code = world.code(challenge).await;
    world.advance(100);
    assert_eq!(user.enter(challenge, &code).await.ended(), Some(ChallengeState::Expired));
    let location = world.core.location(&user.challenge(challenge).await).unwrap();
    assert_eq!(location, "https://shop.example/2fa?status=expired&state=s1");
}

async fn only_the_first_browser_can_use_a_challenge(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let other = user.elsewhere();
    let asked = user.create_challenge().await;
    assert_eq!(user.claim(&asked).await.0, Claimed::Open { challenge: asked.id });
    assert!(matches!(other.claim(&asked).await, (Claimed::OtherBrowser { .. }, None)));
    assert_eq!(user.claim(&asked).await.0, Claimed::Open { challenge: asked.id }, "a reload");
    assert_eq!(world.jobs(asked.id).await.len(), 1, "a second claim sends nothing");
    let unknown = world.core.claim("no such handle", &user.visit).await;
    assert!(matches!(unknown, Err(FlowError::Missing("challenge"))), "{unknown:?}");
    let location = user.must_verify(asked.id, &world.code(asked.id).await).await.unwrap();
    assert_eq!(user.claim(&asked).await.0, Claimed::Verified { location }, "the same browser after the verification");
    assert!(matches!(other.claim(&asked).await.0, Claimed::OtherBrowser { .. }));
}

async fn spaces_dashes_and_digits_of_other_scripts_do_not_matter(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let spellings: [fn(&str) -> String; 4] = [
        |code| format!(" {} {}\u{a0}", &code[..3], &code[3..]),
        |code| code.chars().map(|c| format!("{c}-")).collect(),
        |code| code.chars().map(|c| char::from_u32(0xff10 + c.to_digit(10).unwrap()).unwrap()).collect(),
        |code| code.chars().map(|c| char::from_u32(0x660 + c.to_digit(10).unwrap()).unwrap()).collect(),
    ];
    for spelling in spellings {
        let challenge = user.open_challenge().await;
        let typed = spelling(&world.code(challenge).await);
        user.must_verify(challenge, &typed).await;
        world.advance(3600);
    }
}

async fn an_entry_that_is_not_a_code_is_not_counted(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    for text in ["", "12345", "1234567", "12345a", "code 123456", "1234\u{0}56", &"1".repeat(65), "１２３"]
    {
        assert_eq!(user.enter(challenge, text).await, Entered::Unreadable, "{text:?}");
    }
    assert_eq!((user.challenge(challenge).await.wrong, world.account("u1").await.wrong), (0, 0));
    assert_eq!(user.enter_wrong(challenge, 1).await, wrong(4));
}

async fn an_address_can_enter_sixty_codes_a_minute(world) {
    let (mut user, _) = User::with_phone(&world, "u1", 1).await;
    let client = |last: &str| format!("2001:db8:1:2::{last}").parse().ok();
    user.visit = Visit { client: client("1"), ..user.visit };
    let mut neighbour = user.elsewhere();
    neighbour.visit.client = client("ffff");
    let (mut entered, mut refused) = (0, None);
    'all: for n in 0..13 {
        let one = if n % 2 == 0 { &user } else { &neighbour };
        let challenge = one.open_challenge().await;
        for _ in 0..5 {
            // The pause of the account must not stop this client.
            let mut account = world.account("u1").await;
            account.count_right();
            world.write(&account).await;
            match one.try_entry(challenge, Entry { text: "000000".to_owned(), ..Entry::default() }).await {
                Err(FlowError::Limited { until, now }) => {
                    refused = Some(between(now, until));
                    break 'all;
                }
                other => assert!(matches!(other.unwrap(), Entered::Wrong { .. } | Entered::Ended { .. })),
            }
            entered += 1;
        }
    }
    assert_eq!(entered, 60, "addresses of one /64 are one client");
    assert!(refused.is_some_and(|wait| wait.as_secs() <= 60));
}

async fn a_cancelled_challenge_accepts_no_code(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    let location = world.core.cancel(challenge, &user.requester()).await.unwrap().unwrap();
    assert_eq!(location, "https://shop.example/2fa?status=cancelled&state=s1");
    assert_eq!(user.enter(challenge, &code).await.ended(), Some(ChallengeState::Cancelled));
    assert_eq!(world.outbox(OutboxKind::Cancel).await.len(), 1);
}

async fn right_and_wrong_codes_are_reported_as_feedback(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let before = world.outbox(OutboxKind::Feedback).await.len();
    let challenge = user.open_challenge().await;
    let dispatch = world.dispatch(challenge).await;
    user.enter_wrong(challenge, 1).await;
    user.must_verify(challenge, &world.code(challenge).await).await;
    let reports: Vec<_> = world.outbox(OutboxKind::Feedback).await.split_off(before);
    let feedback = |verified: bool| serde_json::json!({"id": dispatch, "verified": verified});
    assert_eq!(reports, [feedback(false), feedback(true)]);
}
}
