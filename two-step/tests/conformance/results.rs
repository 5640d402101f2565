//! Tickets, results and the keys that sign them.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value as Json, json};
use two_step::flow::Redeemed;
use two_step::result::jwks;

use crate::support::on_both;
use crate::support::user::{User, ticket};
use crate::support::world::{Backend, World};

/// Returns the claims of a result, checked with the published keys as a product does it. Times are not checked, because
/// the store's clock differs from the machine's.
async fn check(world: &World, token: &str, audience: &str) -> Option<Json> {
    let published = jwks(&world.core.published_keys().await.unwrap());
    let set: JwkSet = serde_json::from_value(published).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::ES256, Some("two-step+jwt")));
    let key = set.find(header.kid.as_deref().unwrap())?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[audience]);
    validation.validate_exp = false;
    jsonwebtoken::decode::<Json>(token, &DecodingKey::from_jwk(key).unwrap(), &validation)
        .ok()
        .map(|t| t.claims)
}

async fn result(user: &User, ticket: &str) -> String {
    match user.redeem(ticket).await {
        Redeemed::Result(token) => token,
        Redeemed::Over => panic!("the ticket has expired"),
    }
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

on_both! {
async fn a_result_names_user_and_proof_and_verifies_with_the_published_keys(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let challenge = user.open_challenge().await;
    let location = user.must_verify(challenge, &world.code(challenge).await).await.unwrap();
    let now = world.now().await.as_second();
    let token = result(&user, &ticket(&location)).await;
    let claims = check(&world, &token, "shop").await.unwrap();
    let said = |name: &str| claims[name].clone();
    assert_eq!(
        [said("iss"), said("aud"), said("sub"), said("nonce"), said("purpose"), said("challenge")],
        [
            json!("http://127.0.0.1:8090"),
            json!("shop"),
            json!("u1"),
            json!("n1"),
            json!("sign_in"),
            json!(challenge)
        ]
    );
    assert_eq!(
        [said("method"), said("amr"), said("acr")],
        [json!("sms"), json!(["otp", "sms"]), json!("second")]
    );
    let (iat, exp) = (said("iat").as_i64().unwrap(), said("exp").as_i64().unwrap());
    assert!((now..now + 20).contains(&iat) && exp == iat + 60, "{claims}");
    assert_eq!(check(&world, &token, "other").await, None);
    let mut forged = token.clone();
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    assert_eq!(check(&world, &forged, "shop").await, None);
}

async fn a_ticket_returns_the_same_claims_for_a_minute(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let ticket = user.sign_in().await;
    world.advance(50);
    let first = check(&world, &result(&user, &ticket).await, "shop").await.unwrap();
    world.advance(50);
    let again = check(&world, &result(&user, &ticket).await, "shop").await.unwrap();
    assert_eq!(first, again, "including jti and times");
    world.advance(10);
    assert_eq!(user.redeem(&ticket).await, Redeemed::Over);
}

async fn an_unredeemed_ticket_expires_after_a_minute(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let ticket = user.sign_in().await;
    world.advance(60);
    assert_eq!(user.redeem(&ticket).await, Redeemed::Over);
    assert_eq!(user.redeem("no such ticket").await, Redeemed::Over);
}

async fn another_products_key_is_refused_and_changes_nothing(world) {
    let world = world.configured(|c| {
        let shop = c.products["shop"].clone();
        c.products.insert("other".to_owned(), shop);
    });
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let ticket = user.sign_in().await;
    assert_eq!(world.core.redeem("other", &ticket).await.unwrap(), Redeemed::Over);
    assert!(matches!(user.redeem(&ticket).await, Redeemed::Result(_)));
}

async fn a_challenge_of_the_settings_has_no_result(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    user.open_settings().await;
    let challenge = world.core.open_proof_challenge(&user.visit).await.unwrap();
    let location = user.must_verify(challenge, &world.code(challenge).await).await.unwrap();
    assert_eq!(location, "http://127.0.0.1:8090/settings");
}

async fn a_new_key_is_published_a_day_before_it_signs_and_the_old_one_a_day_after(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    let old_token = result(&user, &user.sign_in().await).await;
    let old = kid(&old_token);
    let published = async || -> Vec<String> {
        world.core.published_keys().await.unwrap().iter().map(|k| k.id.to_string()).collect()
    };
    assert_eq!(published().await, [old.as_str()]);
    world.core.rotate_signing_keys(false).await.unwrap();
    assert_eq!(published().await.len(), 1, "not due");
    world.core.rotate_signing_keys(true).await.unwrap();
    world.core.rotate_signing_keys(true).await.unwrap();
    assert_eq!(published().await.len(), 2, "only one successor is published");
    let new = published().await.into_iter().find(|k| *k != old).unwrap();

    world.advance(86_400 - 600);
    world.core.rotate_signing_keys(false).await.unwrap();
    let token = result(&user, &user.sign_in().await).await;
    assert_eq!(kid(&token), old, "the successor does not sign yet");
    world.advance(600);
    world.core.rotate_signing_keys(false).await.unwrap();
    let token = result(&user, &user.sign_in().await).await;
    assert_eq!(kid(&token), new);
    assert!(check(&world, &token, "shop").await.is_some());
    assert!(check(&world, &old_token, "shop").await.is_some(), "results of the old key still verify");
    world.advance(86_400);
    assert_eq!(published().await, [new], "after a day the old key is retired");
    assert!(check(&world, &old_token, "shop").await.is_none());
}

async fn a_key_is_replaced_after_ninety_days(world) {
    let first = world.core.published_keys().await.unwrap();
    world.advance(88 * 86_400);
    world.core.rotate_signing_keys(false).await.unwrap();
    assert_eq!(world.core.published_keys().await.unwrap(), first);
    world.advance(86_400);
    world.core.rotate_signing_keys(false).await.unwrap();
    let keys = world.core.published_keys().await.unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].signs_from > world.now().await);
}
}
