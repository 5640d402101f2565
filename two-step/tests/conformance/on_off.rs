//! Turning two-step verification off and on again.

use two_step::account::AccountState;
use two_step::challenge::ChallengeState;
use two_step::device::Trust;
use two_step::flow::{Created, FlowError, TurnOnRefused};
use two_step::method::{Kind, Method, MethodState};
use two_step::recovery::RecoveryCode;
use two_step::store::OutboxKind;

use crate::support::on_both;
use crate::support::user::User;
use crate::support::world::{Backend, World};

async fn turn_off(world: &World, keep_phones: bool) -> User {
    let mut user = User::new(world, "u1");
    user.open_settings().await;
    user.add_phone("07700 900123").await;
    user.add_authenticator().await;
    user.save_recovery_codes().await;
    user.visit.device = user.turn_on(true).await;
    world.core.turn_off(&user.visit, keep_phones).await.unwrap();
    world.advance(3600);
    user
}

on_both! {
async fn turning_off_erases_keys_codes_and_devices_and_can_keep_phones(world) {
    let user = turn_off(&world, true).await;
    assert_eq!(world.account("u1").await.state, AccountState::Off);
    assert_eq!(world.core.create("shop", user.new_challenge()).await.unwrap(), Created::NotRequired);
    assert_eq!(
        (world.rows::<RecoveryCode>("", &[]).await, world.rows::<Trust>("", &[]).await),
        (vec![], vec![])
    );
    for method in world.rows::<Method>("", &[]).await {
        let kept = method.kind == Kind::Phone;
        assert_eq!(method.state == MethodState::Active, kept, "{}", method.kind);
        assert_eq!(method.target_sealed.is_some(), kept);
        assert_eq!(method.secret_sealed, None);
    }
    assert_eq!(world.events("account.off").await, 1);
    let notices = world.outbox(OutboxKind::Dispatch).await;
    assert_eq!(notices.last().unwrap()["params"]["about"], "turned_off");
}

async fn turning_off_erases_phones_if_the_user_chooses_it(world) {
    turn_off(&world, false).await;
    for method in world.rows::<Method>("", &[]).await {
        assert_eq!(method.state, MethodState::Removed);
        assert_eq!((method.target_sealed, method.target_hash, method.secret_sealed), (None, None, None));
    }
}

async fn turning_on_again_needs_a_code_to_the_kept_phone_and_a_backup(world) {
    let user = turn_off(&world, true).await;
    user.open_settings().await;
    let refused = world.core.turn_on(&user.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::BackupMissing));
    user.save_recovery_codes().await;
    let refused = world.core.turn_on(&user.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::ProofMissing));
    user.prove_to_settings().await;
    user.turn_on(false).await;
    world.advance(60);
    let challenge = user.open_challenge().await;
    user.must_verify(challenge, &world.code(challenge).await).await;
}

async fn a_proof_from_before_turning_off_does_not_turn_it_on(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let other = user.elsewhere();
    for browser in [&user, &other] {
        browser.open_settings().await;
        browser.prove_to_settings().await;
        world.advance(30);
    }
    world.core.turn_off(&user.visit, true).await.unwrap();
    other.save_recovery_codes().await;
    let refused = world.core.turn_on(&other.visit, false).await.unwrap();
    assert_eq!(refused, Err(TurnOnRefused::ProofMissing));
}

async fn a_wrong_code_does_not_turn_it_off(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    let challenge = world.core.open_proof_challenge(&user.visit).await.unwrap();
    user.enter_wrong(challenge, 1).await;
    let refused = world.core.turn_off(&user.visit, true).await;
    assert!(matches!(refused, Err(FlowError::ProofMissing)), "{refused:?}");
    assert!(world.account("u1").await.is_on());
    user.must_verify(challenge, &world.code(challenge).await).await;
    world.core.turn_off(&user.visit, true).await.unwrap();
    assert!(!world.account("u1").await.is_on());
}

async fn turning_off_ends_open_challenges(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let code = world.code(challenge).await;
    world.advance(30);
    user.open_settings().await;
    user.prove_to_settings().await;
    world.core.turn_off(&user.visit, true).await.unwrap();
    assert_eq!(user.enter(challenge, &code).await.ended(), Some(ChallengeState::Cancelled));
}
}
