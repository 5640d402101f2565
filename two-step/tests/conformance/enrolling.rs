//! The set-up of two-step verification.

use two_step::account::AccountState;
use two_step::challenge::ChallengeState;
use two_step::flow::{
    AddRefused, Change, ChangeRefused, Created, Entered, FlowError, NewSession, TurnOnRefused,
};
use two_step::method::{Channel, Kind, Method, MethodState};
use two_step::number::BadNumber;
use two_step::store::OutboxKind;

use crate::support::on_both;
use crate::support::user::{User, last_part, number, ticket};
use crate::support::world::{Backend, World};

on_both! {
async fn an_account_creates_at_most_ten_sets_of_recovery_codes_a_day(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    for _ in 0..10 {
        world.core.create_recovery_codes(&user.visit).await.unwrap();
    }
    let more = world.core.create_recovery_codes(&user.visit).await;
    assert!(matches!(more, Err(FlowError::Limited { .. })), "{more:?}");
}

async fn a_name_of_64_characters_fits_into_the_qr_code_and_a_longer_one_is_refused(world) {
    for (name, fits) in [("🦉".repeat(64), true), ("n".repeat(65), false)] {
        let user = User::new(&world, "u1");
        let new = NewSession { display_name: Some(name), ..user.new_session().await };
        let opened = world.core.open_session("shop", new).await;
        assert_eq!(opened.is_ok(), fits);
        let Ok(opened) = opened else { continue };
        world.core.claim_session(&last_part(&opened.url), &user.visit).await.unwrap();
        let new = world.core.add_authenticator(&user.visit).await.unwrap().unwrap();
        assert!(qrcode::QrCode::with_error_correction_level(new.uri.as_bytes(), qrcode::EcLevel::M).is_ok());
    }
    // The longest names that a product and a user can have.
    let world = world.configured(|config| {
        let shop = config.products.get_mut("shop").unwrap();
        shop.name = "🦉".repeat(40);
    });
    let long = User::new(&world, &"🦉".repeat(128));
    long.open_settings().await;
    let new = world.core.add_authenticator(&long.visit).await.unwrap().unwrap();
    assert!(qrcode::QrCode::with_error_correction_level(new.uri.as_bytes(), qrcode::EcLevel::M).is_ok());
}

async fn a_user_sets_up_by_text_and_signs_in_by_text(world) {
    let user = User::new(&world, "u1");
    assert_eq!(world.core.create("shop", user.new_challenge()).await.unwrap(), Created::NotRequired);
    user.open_settings().await;
    let challenge = user.begin_phone("07700 900123").await;
    let job = world.job(challenge).await;
    assert_eq!((job["to"].as_str(), job["template"].as_str()), (Some("+447700900123"), Some("two_step")));
    assert_eq!(job["channels"], serde_json::json!(["sms", "voice"]), "a call follows a failed text");
    assert_eq!(user.challenge(challenge).await.state, ChallengeState::Open);
    user.must_verify(challenge, &world.code(challenge).await).await;
    user.save_recovery_codes().await;
    user.turn_on(false).await;
    assert_eq!(world.account("u1").await.state, AccountState::On);
    world.advance(600);

    let challenge = user.open_challenge().await;
    let job = world.job(challenge).await;
    assert_eq!(job["supersedes"], job["supersedes"].as_str().unwrap());
    let location = user.must_verify(challenge, &world.code(challenge).await).await.unwrap();
    assert!(
        location.starts_with("https://shop.example/2fa?ticket=") && location.ends_with("&state=s1"),
        "{location}"
    );
    assert!(matches!(user.redeem(&ticket(&location)).await, two_step::flow::Redeemed::Result(_)));
    assert_eq!((world.events("method.added").await, world.events("account.on").await), (2, 1));
    assert_eq!(world.events("challenge.verified").await, 1);
}

async fn turning_on_without_a_backup_is_refused(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let refused = world.core.turn_on(&user.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::BackupMissing), "no method at all");
    user.add_phone(&number(1)).await;
    let refused = world.core.turn_on(&user.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::BackupMissing), "only a phone");
    world.core.create_recovery_codes(&user.visit).await.unwrap();
    let refused = world.core.turn_on(&user.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::BackupMissing), "the codes are not saved yet");
    world.core.recovery_codes_saved(&user.visit).await.unwrap();
    user.turn_on(false).await;
}

async fn an_unverified_phone_is_not_a_method(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    user.add_phone(&number(1)).await;
    user.begin_phone(&number(2)).await;
    let refused = world.core.turn_on(&user.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::BackupMissing));
}

async fn the_last_method_and_the_last_backup_cannot_be_removed_while_on(world) {
    let (user, authenticator) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let phone = world.rows::<Method>("where kind = 'phone'", &[]).await.pop().unwrap();
    for id in [phone.id, authenticator.method] {
        let refused = world.core.change(&user.visit, id, &Change::Remove).await.unwrap();
        assert_eq!(refused, Err(ChangeRefused::Last));
        assert!(world.row::<Method>(id).await.is_active());
    }
    let second = user.add_phone(&number(2)).await;
    world.core.change(&user.visit, phone.id, &Change::Remove).await.unwrap().unwrap();
    let removed = world.row::<Method>(phone.id).await;
    assert_eq!(
        (removed.state, removed.target_sealed, removed.target_hash),
        (MethodState::Removed, None, None)
    );
    let refused = world.core.change(&user.visit, second, &Change::Remove).await.unwrap();
    assert_eq!(refused, Err(ChangeRefused::Last));
}

async fn recovery_codes_as_the_last_backup_cannot_be_removed(world) {
    let (user, _) = User::with_recovery_codes(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    for method in world.rows::<Method>("", &[]).await {
        let refused = world.core.change(&user.visit, method.id, &Change::Remove).await.unwrap();
        assert_eq!(refused, Err(ChangeRefused::Last), "{}", method.kind);
    }
}

async fn a_change_sends_notices_to_the_other_methods_and_the_removed_one(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let notices = async || {
        let jobs = world.outbox(OutboxKind::Dispatch).await;
        let notices = jobs.iter().filter(|j| j["template"] == "two_step_notice");
        let notices = notices.map(|j| {
            (j["to"].as_str().unwrap().to_owned(), j["params"]["about"].as_str().unwrap().to_owned())
        });
        notices.collect::<Vec<_>>()
    };
    let before = notices().await.len();
    let new = user.add_phone(&number(2)).await;
    world.core.change(&user.visit, new, &Change::Remove).await.unwrap().unwrap();
    let (one, two) = ("+447700010123".to_owned(), "+447700020123".to_owned());
    let sent = notices().await[before..].to_vec();
    assert_eq!(sent[0], (one.clone(), "method_added".to_owned()), "the new phone gets no notice about itself");
    let mut removed = sent[1..].to_vec();
    removed.sort();
    assert_eq!(removed, [(one, "method_removed".to_owned()), (two, "method_removed".to_owned())]);
    assert_eq!(world.count("select count(*) from notice").await, (before + 3) as i64);
}

async fn a_number_that_is_not_allowed_is_refused_and_nothing_is_sent(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    for (typed, why) in [
        ("+33 6 12 34 56 78", BadNumber::Country),
        ("0909 879 0000", BadNumber::Costly),
        ("0770", BadNumber::TooShort),
        ("call me", BadNumber::Unreadable),
        ("07700\0900123", BadNumber::Unreadable),
    ] {
        let refused = world.core.add_phone(&user.visit, typed, "GB", Channel::Sms).await.unwrap();
        assert_eq!(refused, Err(AddRefused::Number(why)), "{typed}");
    }
    user.add_phone(&number(1)).await;
    let again = world.core.add_phone(&user.visit, &number(1), "GB", Channel::Sms).await.unwrap();
    assert_eq!(again, Err(AddRefused::Known));
    assert_eq!(world.outbox(OutboxKind::Dispatch).await.len(), 1);
}

async fn an_account_adds_at_most_three_numbers_a_day(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    for n in 1..=3 {
        user.begin_phone(&number(n)).await;
    }
    let refused = world.core.add_phone(&user.visit, &number(4), "GB", Channel::Sms).await.unwrap();
    assert!(matches!(refused, Err(AddRefused::Send { .. })), "{refused:?}");
    assert_eq!(
        world.rows::<Method>("", &[]).await.len(),
        1,
        "each new number replaces the previous one"
    );
    world.advance(86_400);
    user.open_settings().await;
    user.add_phone(&number(4)).await;
}

async fn five_accounts_may_have_one_number(world) {
    for n in 1..=5 {
        let user = User::new(&world, &format!("u{n}"));
        user.open_settings().await;
        user.add_phone(&number(1)).await;
        world.advance(86_400);
    }
    let sixth = User::new(&world, "u6");
    sixth.open_settings().await;
    let refused = world.core.add_phone(&sixth.visit, &number(1), "GB", Channel::Sms).await.unwrap();
    assert_eq!(refused, Err(AddRefused::Shared));
}

async fn an_account_has_at_most_three_authenticators(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    for _ in 0..3 {
        user.add_authenticator().await;
        world.advance(60);
    }
    let refused = world.core.add_authenticator(&user.visit).await.unwrap();
    assert!(matches!(refused, Err(AddRefused::TooMany)), "{refused:?}");
}

async fn a_pending_authenticator_is_shown_again_with_the_same_key(world) {
    let user = User::new(&world, "u1");
    user.open_settings().await;
    let one = world.core.add_authenticator(&user.visit).await.unwrap().unwrap();
    let two = world.core.add_authenticator(&user.visit).await.unwrap().unwrap();
    assert_eq!((one.key, one.method, one.challenge), (two.key, two.method, two.challenge));
}

async fn an_enrolment_accepts_only_codes_of_its_method(world) {
    let (user, codes) = User::with_recovery_codes(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let challenge = user.begin_phone(&number(2)).await;
    let entered = user.enter(challenge, &codes[0]).await;
    assert!(matches!(entered, Entered::Wrong { left: 4, .. }), "a recovery code: {entered:?}");
    let left = world.core.recovery_codes_left(world.account("u1").await.id).await.unwrap();
    assert_eq!(left, 10, "and the code is unused");
    user.must_verify(challenge, &world.code(challenge).await).await;
    let phones = world.rows::<Method>("where kind = 'phone' and state = 'active'", &[]).await;
    assert_eq!(phones.len(), 2);
}

async fn adding_a_method_needs_a_fresh_proof_while_on(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let attacker = user.elsewhere();
    attacker.open_settings().await;
    let refused = world.core.add_phone(&attacker.visit, &number(2), "GB", Channel::Sms).await;
    assert!(matches!(refused, Err(FlowError::ProofMissing)), "{refused:?}");
    assert!(world.core.add_authenticator(&attacker.visit).await.is_err());
    assert!(world.core.create_recovery_codes(&attacker.visit).await.is_err());
    assert!(world.core.turn_off(&attacker.visit, true).await.is_err());
    assert!(world.core.revoke_devices(&attacker.visit, None).await.is_err());
    attacker.prove_to_settings().await;
    attacker.begin_phone(&number(2)).await;
    world.advance(600);
    let refused = world.core.add_phone(&attacker.visit, &number(3), "GB", Channel::Sms).await;
    assert!(matches!(refused, Err(FlowError::ProofMissing)), "after ten minutes: {refused:?}");
}

async fn a_session_from_before_turning_on_needs_a_proof(world) {
    let (owner, attacker) = (User::new(&world, "u1"), User::new(&world, "u1"));
    attacker.open_settings().await;
    let seen = attacker.add_authenticator().await;
    owner.open_settings().await;
    owner.add_phone(&number(1)).await;
    owner.save_recovery_codes().await;
    owner.turn_on(false).await;
    let refused = world.core.change(&attacker.visit, seen.method, &Change::Prefer).await;
    assert!(matches!(refused, Err(FlowError::ProofMissing)), "{refused:?}");
}

async fn a_method_of_another_account_does_not_exist(world) {
    let (one, _) = User::with_phone(&world, "u1", 1).await;
    let (two, of_two) = User::with_phone(&world, "u2", 2).await;
    one.open_settings().await;
    one.prove_to_settings().await;
    let refused = world.core.change(&one.visit, of_two.method, &Change::Rename("mine".to_owned())).await;
    assert!(matches!(refused, Err(FlowError::Missing("method"))), "{refused:?}");
    let challenge = two.open_challenge().await;
    let refused = one.try_entry(challenge, two_step::flow::Entry::default()).await;
    assert!(matches!(refused, Err(FlowError::Missing("challenge"))), "{refused:?}");
}

async fn methods_can_be_renamed_and_preferred(world) {
    let (user, authenticator) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    user.prove_to_settings().await;
    let rename = |label: &str| Change::Rename(label.to_owned());
    world.core.change(&user.visit, authenticator.method, &rename(" My app ")).await.unwrap().unwrap();
    assert_eq!(world.row::<Method>(authenticator.method).await.label.as_deref(), Some("My app"));
    for bad in ["x".repeat(41), "a\0b".to_owned()] {
        let refused = world.core.change(&user.visit, authenticator.method, &rename(&bad)).await.unwrap();
        assert_eq!(refused, Err(ChangeRefused::Label));
    }
    world.core.change(&user.visit, authenticator.method, &Change::Prefer).await.unwrap().unwrap();
    let preferred = world.rows::<Method>("where preferred = true", &[]).await;
    assert_eq!(preferred.iter().map(|m| m.kind).collect::<Vec<_>>(), [Kind::Totp]);
    let challenge = user.open_challenge().await;
    assert_eq!(world.jobs(challenge).await.len(), 0, "no text is sent for an authenticator");
    assert_eq!(last_part("a/b"), "b");
}
}
