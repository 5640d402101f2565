//! Sessions of the settings, and their parameters.

use std::time::Duration;

use two_step::clock::{after, before};
use two_step::flow::{Claimed, FlowError, NewChallenge, NewSession, SessionClaimed};
use two_step::store::Session;

use crate::support::on_both;
use crate::support::user::{User, last_part};
use crate::support::world::{Backend, RETURN_URL, World};

fn field(refused: FlowError) -> &'static str {
    match refused {
        FlowError::Invalid { field, .. } => field,
        other => panic!("{other:?}"),
    }
}

on_both! {
async fn a_session_expires_after_ten_minutes_without_a_browser_and_after_an_hour_with_one(world) {
    let user = User::new(&world, "u1");
    let opened = world.core.open_session("shop", user.new_session().await).await.unwrap();
    world.advance(600);
    let late = world.core.claim_session(&last_part(&opened.url), &user.visit).await.unwrap();
    assert_eq!(late, SessionClaimed::Over);
    user.open_settings().await;
    world.advance(3590);
    assert!(world.core.visitor(&user.visit).await.is_ok());
    world.advance(11);
    let refused = world.core.visitor(&user.visit).await;
    assert!(matches!(refused, Err(FlowError::Missing("session"))), "{refused:?}");
}

async fn only_the_first_browser_can_use_a_session(world) {
    let user = User::new(&world, "u1");
    let other = user.elsewhere();
    let opened = world.core.open_session("shop", user.new_session().await).await.unwrap();
    let handle = last_part(&opened.url);
    for _ in 0..2 {
        assert_eq!(world.core.claim_session(&handle, &user.visit).await.unwrap(), SessionClaimed::Settings);
    }
    assert_eq!(world.core.claim_session(&handle, &other.visit).await.unwrap(), SessionClaimed::Over);
    assert!(world.core.visitor(&other.visit).await.is_err());
    let unknown = world.core.claim_session("no such handle", &user.visit).await;
    assert!(matches!(unknown, Err(FlowError::Missing("session"))));
}

async fn a_session_needs_a_recent_password_entry(world) {
    let user = User::new(&world, "u1");
    let now = world.now().await;
    for (password_at, opens) in [
        (before(now, Duration::from_secs(590)), true),
        (before(now, Duration::from_secs(601)), false),
        (after(now, Duration::from_secs(50)), true),
        (after(now, Duration::from_secs(90)), false),
    ] {
        let new = NewSession { password_at, ..user.new_session().await };
        match world.core.open_session("shop", new).await {
            Ok(_) => assert!(opens, "{password_at}"),
            Err(refused) => {
                assert!(!opens, "{password_at}");
                assert_eq!(field(refused), "password_at");
            }
        }
    }
}

async fn a_return_url_must_equal_a_configured_one(world) {
    let (user, _) = User::with_phone(&world, "u1", 1).await;
    for bad in [
        "https://shop.example/2fa/",
        "https://shop.example/2f",
        "https://shop.example/2fA",
        "https://shop.example/2fa?x=1",
        "https://shop.example:443/2fa",
        "https://shop.example.evil.example/2fa",
        "http://shop.example/2fa",
        " https://shop.example/2fa",
        "",
    ] {
        let new = NewChallenge { return_url: Some(bad.to_owned()), ..user.new_challenge() };
        assert_eq!(field(world.core.create("shop", new).await.unwrap_err()), "return_url", "{bad}");
        let new = NewSession { return_url: bad.to_owned(), ..user.new_session().await };
        assert_eq!(field(world.core.open_session("shop", new).await.unwrap_err()), "return_url", "{bad}");
    }
    assert!(world.core.create("shop", user.new_challenge()).await.is_ok());
    let unknown = world.core.create("other", user.new_challenge()).await;
    assert!(matches!(unknown, Err(FlowError::Internal(_))), "{unknown:?}");
}

async fn a_text_with_a_nul_is_refused_before_the_database(world) {
    let (good, _) = User::with_phone(&world, "u1", 1).await;
    let nul = || "a\0b".to_owned();
    for user in [nul(), "a@b".to_owned(), String::new(), "x".repeat(129), "a\u{85}b".to_owned()] {
        let new = NewChallenge { user: user.clone(), ..good.new_challenge() };
        assert_eq!(field(world.core.create("shop", new).await.unwrap_err()), "user", "{user:?}");
        let new = NewSession { user, ..good.new_session().await };
        assert_eq!(field(world.core.open_session("shop", new).await.unwrap_err()), "user");
    }
    let challenges = [
        ("state", NewChallenge { state: Some(nul()), ..good.new_challenge() }),
        ("nonce", NewChallenge { nonce: Some(nul()), ..good.new_challenge() }),
        ("nonce", NewChallenge { nonce: Some("x".repeat(513)), ..good.new_challenge() }),
        ("locale", NewChallenge { locale: Some(nul()), ..good.new_challenge() }),
    ];
    for (name, new) in challenges {
        assert_eq!(field(world.core.create("shop", new).await.unwrap_err()), name);
    }
    let sessions = [
        ("state", NewSession { state: Some(nul()), ..good.new_session().await }),
        ("display_name", NewSession { display_name: Some(nul()), ..good.new_session().await }),
        ("locale", NewSession { locale: Some(nul()), ..good.new_session().await }),
    ];
    for (name, new) in sessions {
        assert_eq!(field(world.core.open_session("shop", new).await.unwrap_err()), name);
    }
    assert_eq!(world.count("select count(*) from account").await, 1, "no refused user has an account");
}

async fn the_newest_session_of_a_browser_is_used(world) {
    let (one, two) = (User::new(&world, "u1"), User::new(&world, "u2"));
    let two = User { visit: one.visit.clone(), ..two };
    one.open_settings().await;
    world.advance(1);
    two.open_settings().await;
    let visitor = world.core.visitor(&one.visit).await.unwrap();
    assert_eq!(visitor.account.user_ref, "u2");
    assert_eq!(world.rows::<Session>("", &[]).await.len(), 2);
}

async fn leaving_returns_the_state(world) {
    let user = User::new(&world, "u1");
    let new = NewSession { state: Some("a b&c".to_owned()), ..user.new_session().await };
    let opened = world.core.open_session("shop", new).await.unwrap();
    world.core.claim_session(&last_part(&opened.url), &user.visit).await.unwrap();
    let left = world.core.leave_location(&user.visit).await.unwrap();
    assert_eq!(left, format!("{RETURN_URL}?state=a+b%26c"));
}

/// Fails if the URL does not name the device, because then the product cannot end the trust at sign-out.
async fn leaving_names_the_device_that_the_set_up_trusted(world) {
    let mut user = User::new(&world, "u1");
    user.open_settings().await;
    user.add_phone("07700 900123").await;
    user.save_recovery_codes().await;
    assert_eq!(world.core.leave_location(&user.visit).await.unwrap(), RETURN_URL, "not trusted yet");
    user.visit.device = user.turn_on(true).await;
    let left = world.core.leave_location(&user.visit).await.unwrap();
    let device = left.strip_prefix(&format!("{RETURN_URL}?device=")).unwrap().parse().unwrap();
    let asked = user.create_challenge().await;
    assert!(matches!(user.claim(&asked).await.0, Claimed::Verified { .. }));
    assert!(world.core.revoke_at_sign_out("shop", "u1", device).await.unwrap());
    let asked = user.create_challenge().await;
    assert!(matches!(user.claim(&asked).await.0, Claimed::Open { .. }), "a code is needed again");
}
}
