//! Tables and transactions.

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use two_step::account::{Account, AccountState};
use two_step::challenge::{Acr, Challenge, ChallengeState, Proof, Purpose};
use two_step::clock::after;
use two_step::code::Code;
use two_step::device::{Device, Trust, TrustKind};
use two_step::method::{Channel, Kind, Method};
use two_step::recovery::RecoveryCode;
use two_step::result::SigningKey;
use two_step::store::{
    ApiKey, Counter, Dispatch, DispatchState, Event, Idempotent, NoticeToken, OutboxKind, OutboxRow, Record,
    Session, SessionPurpose, StoreError, SupportAction, SupportCase, SupportState, Value, new_id,
};
use uuid::Uuid;

use crate::support::on_both;
use crate::support::world::{Backend, World, open_store};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_123 + second * 1000).unwrap()
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// Inserts a row, reads it, changes every column that may be empty, reads it again, and deletes it.
async fn round_trip<R>(world: &World, id: R::Id, bare: R, full: R)
where
    R: Record + Debug + PartialEq,
    R::Id: Clone,
{
    let mut tx = world.core.store.begin().await.unwrap();
    tx.insert(&bare).await.unwrap();
    assert_eq!(tx.get::<R>(id.clone()).await.unwrap().as_ref(), Some(&bare));
    tx.update(&full).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.core.store.begin().await.unwrap();
    assert_eq!(tx.lock::<R>(id.clone()).await.unwrap().as_ref(), Some(&full), "after the commit, locked");
    assert_eq!(tx.select::<R>("", &[]).await.unwrap(), [full]);
    tx.delete::<R>(id.clone()).await.unwrap();
    assert_eq!(tx.get::<R>(id).await.unwrap(), None);
    tx.commit().await.unwrap();
}

fn account() -> Account {
    Account::new(new_id(), "shop", "Ünal/42", at(0))
}

fn dispatch() -> Dispatch {
    Dispatch {
        id: new_id(),
        group_id: new_id(),
        challenge: None,
        method: new_id(),
        first_channel: Channel::Sms,
        call_planned: false,
        issued_at: at(0),
        confirmed_at: None,
        state: DispatchState::Waiting,
        channel: None,
        reason: None,
        retry_at: None,
        sequence: 0,
        call_due_at: None,
    }
}

on_both! {
async fn accounts_methods_and_challenges_are_read_as_they_were_written(world) {
    let bare = account();
    let full = Account {
        state: AccountState::OffDue,
        wrong: 7,
        paused_until: Some(at(60)),
        locale: Some(text("de-AT")),
        version: i64::MAX,
        ..bare.clone()
    };
    round_trip(&world, bare.id, bare, full).await;

    let bare = Method::new(new_id(), new_id(), Kind::Phone, at(0));
    let mut full = Method {
        label: Some(text("Büro ☎")),
        preferred: true,
        channel: Some(Channel::Voice),
        fallback: false,
        no_texts: true,
        target_hash: Some(text("h")),
        target_sealed: Some(text("s")),
        hint: text("42"),
        secret_sealed: Some(text("k")),
        totp_step: Some(60_000_000),
        wrong: u32::MAX,
        verified_at: Some(at(1)),
        used_at: Some(at(2)),
        proved_in: Some(new_id()),
        removed_at: Some(at(3)),
        ..bare.clone()
    };
    full.pause("opted_out");
    round_trip(&world, bare.id, bare, full).await;

    let bare = Challenge::new(new_id(), new_id(), Purpose::NewDevice, Duration::from_secs(1800), at(0));
    let full = Challenge {
        state: ChallengeState::Redeemed,
        session: Some(new_id()),
        method: Some(new_id()),
        channel: Some(Channel::Sms),
        browser_hash: Some(text("b")),
        return_url: Some(text("https://shop.example/2fa")),
        return_state: Some(text("s")),
        nonce: Some(text("n")),
        wrong: 4,
        sends: 3,
        calls: 2,
        next_send_at: Some(at(1)),
        client_hash: Some(text("c")),
        agent: Some(text("Firefox")),
        locale: Some(text("en")),
        ended_at: Some(at(2)),
        ticket_hash: Some(text("t")),
        ticket_until: Some(at(3)),
        jti: Some(Uuid::new_v4()),
        proof: Some(Proof::Voice),
        acr: Some(Acr::Confirm),
        device: Some(new_id()),
        redeemed_at: Some(at(4)),
        answer_hash: Some("answer".to_owned()),
        ..bare.clone()
    };
    round_trip(&world, bare.id, bare, full).await;
}

async fn codes_devices_and_keys_are_read_as_they_were_written(world) {
    let bare = Code {
        id: new_id(),
        group_id: new_id(),
        challenge: new_id(),
        method: new_id(),
        hash: text("h"),
        sealed: text("s"),
        created_at: at(0),
        expires_at: at(600),
        undelivered: false,
    };
    let full = Code { expires_at: at(700), undelivered: true, ..bare.clone() };
    round_trip(&world, bare.id, bare, full).await;

    let bare = RecoveryCode {
        id: new_id(),
        account: new_id(),
        n: 10,
        salt: text("s"),
        hash: text("h"),
        used_at: None,
    };
    let full = RecoveryCode { used_at: Some(at(1)), ..bare.clone() };
    round_trip(&world, bare.id, bare, full).await;

    let bare = Device::new(new_id(), "Firefox", at(0));
    let full = Device { generation: i64::MAX, seen_at: at(9), void: true, ..bare.clone() };
    round_trip(&world, bare.id, bare, full).await;

    let bare = Trust {
        id: new_id(),
        device: new_id(),
        account: new_id(),
        kind: TrustKind::Trusted,
        created_at: at(0),
        expires_at: None,
        used_at: at(0),
    };
    let full = Trust { kind: TrustKind::Recognised, expires_at: Some(at(1)), ..bare.clone() };
    round_trip(&world, bare.id, bare, full).await;

    let bare = SigningKey {
        id: new_id(),
        public: text("x.y"),
        sealed: text("s"),
        created_at: at(0),
        signs_from: at(1),
        retired_at: None,
    };
    let full = SigningKey { retired_at: Some(at(2)), ..bare.clone() };
    round_trip(&world, bare.id, bare, full).await;
}

async fn sessions_dispatches_and_the_outbox_are_read_as_they_were_written(world) {
    let bare = Session {
        id: new_id(),
        account: new_id(),
        purpose: SessionPurpose::SetUp,
        handle_hash: text("h"),
        browser_hash: None,
        return_url: text("https://shop.example/2fa"),
        return_state: None,
        display_name: None,
        locale: None,
        client_hash: None,
        proof_at: None,
        account_version: 1,
        created_at: at(0),
        expires_at: at(600),
    };
    let full = Session {
        purpose: SessionPurpose::Settings,
        browser_hash: Some(text("b")),
        return_state: Some(text("s")),
        display_name: Some(text("anna@shop.example")),
        locale: Some(text("de")),
        client_hash: Some(text("c")),
        proof_at: Some(at(1)),
        ..bare.clone()
    };
    round_trip(&world, bare.id, bare, full).await;

    let bare = dispatch();
    let full = Dispatch {
        challenge: Some(new_id()),
        first_channel: Channel::Voice,
        call_planned: true,
        confirmed_at: Some(at(1)),
        state: DispatchState::Unconfirmed,
        channel: Some(Channel::Voice),
        reason: Some(text("landline")),
        retry_at: Some(at(2)),
        sequence: 12,
        call_due_at: Some(at(3)),
        ..bare.clone()
    };
    round_trip(&world, bare.id, bare, full).await;

    let bare = OutboxRow {
        id: new_id(),
        kind: OutboxKind::Dispatch,
        subject: new_id(),
        account: None,
        body_sealed: text("s"),
        not_after: at(600),
        tries: 0,
        next_at: at(0),
    };
    let full = OutboxRow { account: Some(new_id()), kind: OutboxKind::Webhook, tries: 9, next_at: at(30), ..bare.clone() };
    round_trip(&world, bare.id, bare, full).await;

    let bare = Counter { key_hash: text("k"), times: text("[]"), expires_at: at(0) };
    let full = Counter { times: text("[1,2]"), expires_at: at(9), ..bare.clone() };
    round_trip(&world, text("k"), bare, full).await;
}

async fn events_notices_cases_and_keys_of_back_ends_are_read_as_they_were_written(world) {
    let bare = Event {
        id: new_id(),
        product: text("shop"),
        account: new_id(),
        user_ref: text("u1"),
        kind: text("account.on"),
        at: at(0),
        actor: text("user"),
        data: text("{}"),
    };
    let full = Event { data: text(r#"{"a":"ü"}"#), ..bare.clone() };
    round_trip(&world, bare.id, bare, full).await;

    let bare = NoticeToken {
        token_hash: text("t"),
        account: new_id(),
        about: text("turned_on"),
        method: None,
        until: at(1),
    };
    let full = NoticeToken { method: Some(new_id()), ..bare.clone() };
    round_trip(&world, text("t"), bare, full).await;

    let bare = ApiKey {
        id: text("ab12"),
        hash: text("h"),
        product: text("shop"),
        scopes: text("read"),
        created_at: at(0),
    };
    let full = ApiKey { scopes: text("read manage"), ..bare.clone() };
    round_trip(&world, text("ab12"), bare, full).await;

    let bare = Idempotent {
        key_hash: text("k"),
        body_hash: text("b"),
        row_id: new_id(),
        answer_sealed: None,
        expires_at: at(86_400),
    };
    let full = Idempotent { answer_sealed: Some(text("s")), ..bare.clone() };
    round_trip(&world, text("k"), bare, full).await;

    let bare = SupportCase {
        id: new_id(),
        account: new_id(),
        action: SupportAction::TurnOff,
        method: None,
        reason: text("lost phone"),
        evidence: text("passport"),
        asked_by: text("agent-1"),
        approved_by: None,
        asked_at: at(0),
        due_at: at(86_400),
        state: SupportState::Waiting,
        code_hash: None,
        code_until: None,
    };
    let full = SupportCase {
        action: SupportAction::RemoveMethod,
        method: Some(new_id()),
        approved_by: Some(text("agent-2")),
        state: SupportState::Stopped,
        code_hash: Some(text("h")),
        code_until: Some(at(600)),
        ..bare.clone()
    };
    round_trip(&world, bare.id, bare, full).await;
}

async fn dropping_a_transaction_rolls_it_back(world) {
    // With one connection, the next transaction reuses the connection of the dropped one.
    let store = open_store(&world.url, 1);
    let row = account();
    for _ in 0..40 {
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.get::<Account>(row.id).await.unwrap(), None);
        tx.insert(&row).await.unwrap();
        drop(tx);
    }
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.get::<Account>(row.id).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(world.rows::<Account>("", &[]).await, []);
}

async fn a_taken_unique_key_gives_the_error_exists(world) {
    let row = account();
    let same_user = Account { id: new_id(), ..row.clone() };
    let mut tx = world.core.store.begin().await.unwrap();
    tx.insert(&row).await.unwrap();
    tx.commit().await.unwrap();
    for again in [&row, &same_user] {
        let mut tx = world.core.store.begin().await.unwrap();
        let refused = tx.insert(again).await.unwrap_err();
        assert!(matches!(refused, StoreError::Exists), "{refused:?}");
    }
    let mut challenge = Challenge::new(new_id(), row.id, Purpose::SignIn, Duration::from_secs(600), at(0));
    challenge.handle_hash = text("one");
    let mut tx = world.core.store.begin().await.unwrap();
    tx.insert(&challenge).await.unwrap();
    challenge.id = new_id();
    assert!(matches!(tx.insert(&challenge).await, Err(StoreError::Exists)), "two challenges cannot have the same handle");
    drop(tx);
    assert_eq!(world.count("select count(*) from challenge").await, 0);
}

async fn parameters_are_bound_by_number(world) {
    let mut tx = world.core.store.begin().await.unwrap();
    tx.insert(&account()).await.unwrap();
    let values = [Value::Text(text("shop")), Value::Int(7), Value::Text(text("de"))];
    let sql =
        "update account set locale = $3, wrong = $2, paused_until = $2 where product = $1 and product = $1";
    assert_eq!(tx.execute(sql, &values).await.unwrap(), 1);
    let row = tx.find::<Account>("where wrong = $2 and product = $1", &values[..2]).await.unwrap().unwrap();
    assert_eq!((row.wrong, row.locale.as_deref()), (7, Some("de")));
}

async fn an_unreadable_row_is_reported_with_table_and_column(world) {
    let mut tx = world.core.store.begin().await.unwrap();
    let row = account();
    tx.insert(&row).await.unwrap();
    tx.execute("update account set state = 'later'", &[]).await.unwrap();
    let refused = tx.get::<Account>(row.id).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unreadable { table: "account", column: "state" }), "{refused:?}");
}

async fn a_test_can_advance_the_clock(world) {
    let before = world.now().await;
    world.advance(3600);
    let moved = two_step::clock::between(before, world.now().await);
    assert!((3600..3630).contains(&moved.as_secs()), "{moved:?}");
    assert!(world.now().await < after(before, Duration::from_secs(3630)));
}
}
