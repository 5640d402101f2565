//! Erasing a user.

use two_step::flow::{Change, NewCase, NewSession};
use two_step::store::{Event, SupportAction};

use crate::support::on_both;
use crate::support::user::{User, last_part};
use crate::support::world::{Backend, World};

const TABLES: [&str; 12] = [
    "account",
    "method",
    "recovery_code",
    "session",
    "challenge",
    "code",
    "dispatch",
    "outbox",
    "trust",
    "support_case",
    "notice",
    "event",
];

on_both! {
async fn erasing_a_user_deletes_all_its_rows_and_no_others(world) {
    for (name, n) in [("u1", 1), ("u2", 2)] {
        let mut user = User::new(&world, name);
        let new = NewSession { email: Some(format!("{name}@shop.example")), ..user.new_session().await };
        let opened = world.core.open_session("shop", new).await.unwrap();
        world.core.claim_session(&last_part(&opened.url), &user.visit).await.unwrap();
        let phone = user.add_phone(&crate::support::user::number(n)).await;
        user.save_recovery_codes().await;
        user.turn_on(false).await;
        world.core.change(&user.visit, phone, &Change::Prefer).await.unwrap().unwrap();
        world.advance(crate::support::world::ALL_LIMITS_FREE_S);
        let challenge = user.open_challenge().await;
        user.verify_and_trust(challenge, &world.code(challenge).await).await;
        world.advance(60);
        user.elsewhere().open_challenge().await;
        let case = NewCase {
            user: name.to_owned(),
            action: SupportAction::SendRecoveryCode,
            method: None,
            reason: "lost".to_owned(),
            evidence: vec![],
            agent: "eve".to_owned(),
        };
        world.core.open_case("shop", case).await.unwrap().unwrap();
    }
    let mut of_both = vec![];
    for table in TABLES {
        of_both.push(world.count(&format!("select count(*) from {table}")).await);
    }
    assert!(of_both.iter().all(|n| *n >= 2 && n % 2 == 0), "both have the same number of rows: {of_both:?}");
    world.core.erase("shop", "u1").await.unwrap();
    for (table, both) in TABLES.iter().zip(of_both) {
        let kept = if *table == "event" { "where kind <> 'erased'" } else { "" };
        let left = world.count(&format!("select count(*) from {table} {kept}")).await;
        assert_eq!(left, both / 2, "{table}");
    }
    for event in world.rows::<Event>("where kind = 'erased'", &[]).await {
        let bare = (event.account, event.user_ref.as_str(), event.actor.as_str(), event.data.as_str());
        assert_eq!(bare, (uuid::Uuid::nil(), "", "", "{}"), "only the position is left");
    }
    assert!(world.core.events_after("shop", uuid::Uuid::nil(), 1000).await.unwrap().iter().all(|e| e.user_ref == "u2"));
}
}
