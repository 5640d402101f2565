//! Pushes that wake an app, against a push service of the test that checks the standards.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use two_step::app_key::AppKey;
use two_step::push::{Endpoint, Pushed, Vapid, push};
use two_step::relay::{ConcurrencyLimit, Relay};
use two_step::store::OutboxKind;

use crate::support::app::PhoneApp;
use crate::support::world::{Backend, World};

/// The requests that a push service received.
type ReceivedPushes = Arc<Mutex<Vec<(reqwest::header::HeaderMap, Vec<u8>)>>>;

/// A push service as in RFC 8030 and 8292. It answers with this status.
async fn push_service(status: u16) -> (String, ReceivedPushes) {
    let received = ReceivedPushes::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let kept = Arc::clone(&received);
    let take = move |headers: reqwest::header::HeaderMap, body: axum::body::Bytes| async move {
        kept.lock().unwrap().push((headers, body.to_vec()));
        axum::http::StatusCode::from_u16(status).unwrap()
    };
    let router = axum::Router::new().route("/push/{id}", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (place, received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_follows_the_standards_and_an_expired_subscription_is_reported() {
    for (status, wanted) in [
        (201, Ok(Pushed::Taken)),
        (404, Ok(Pushed::Gone)),
        (410, Ok(Pushed::Gone)),
        (403, Ok(Pushed::Refused)),
        (429, Err(())),
        (307, Err(())),
    ] {
        let (place, received) = push_service(status).await;
        let world = World::new(Backend::Sqlite).await;
        let world = world.configured(|config| config.app.push_hosts.push(place.clone()));
        let endpoint = Endpoint::read(&format!("http://{place}/push/abc"), &world.core.config()).unwrap();
        let vapid = Vapid::of(&world.core.keys);
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let pushed =
            push(&client, &vapid, &endpoint, "https://verify.shop.example", two_step::clock::machine_now());
        assert_eq!(pushed.await.map_err(drop), wanted, "{status}");
        let all = received.lock().unwrap().clone();
        let [(headers, body)] = all.as_slice() else { panic!("one request: {all:?}") };
        assert!(body.is_empty(), "a push has no body");
        let header = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        assert_eq!((header("ttl"), header("urgency")), (Some("60".to_owned()), Some("high".to_owned())));
        let authorization = header("authorization").unwrap();
        let (token, key) = authorization.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(key, vapid.public());
        let checked = pyjwt(token, key, &format!("http://{place}"));
        assert_eq!(checked["sub"], "https://verify.shop.example");
        let life = checked["exp"].as_i64().unwrap() - two_step::clock::machine_now().as_second();
        assert!((1..=86_400).contains(&life), "at most a day: {life}");
    }
}

/// Returns the claims of a VAPID token. `PyJWT` verifies it with the key in the header.
fn pyjwt(token: &str, key: &str, audience: &str) -> Json {
    let program = "import base64, json, sys, jwt\n\
        from cryptography.hazmat.primitives.asymmetric import ec\n\
        token, key, audience = sys.argv[1:]\n\
        point = base64.urlsafe_b64decode(key + '=' * (-len(key) % 4))\n\
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)\n\
        print(json.dumps(jwt.decode(token, public, algorithms=['ES256'], audience=audience)))";
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    let output = Command::new(python).args(["-B", "-c", program, token, key, audience]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns a relay for a store. Its connection to otpost is not used, because pushes do not need it.
fn relay(world: &World) -> Relay {
    Relay {
        core: Arc::clone(&world.core),
        otpost: two_step::otpost_client::open(&world.core.config()).unwrap(),
        mailer: None,
        client: reqwest::Client::builder().no_proxy().build().unwrap(),
        vapid: Vapid::of(&world.core.keys),
        webhooks: ConcurrencyLimit::default(),
    }
}

/// Signs in with an app whose push service answers with a status. Returns the number of pushes, and whether the endpoint is
/// still stored.
async fn pushed(status: u16, is_listed: bool) -> (usize, bool) {
    let (place, received) = push_service(status).await;
    let world = World::new(Backend::Sqlite).await;
    let listed = world.configured(|config| {
        config.app.push_hosts.push(place.clone());
        config.otpost.url = Some("http://127.0.0.1:1".to_owned().into());
        config.otpost.key = Some("key".to_owned().into());
    });
    let (user, app) = PhoneApp::first_way(&listed).await;
    let endpoint = Endpoint::read(&format!("http://{place}/push/abc"), &listed.core.config()).unwrap();
    listed.core.set_push(&app.call().await, Some(&endpoint)).await.unwrap();
    user.open_challenge().await;
    let world = if is_listed { listed } else { listed.configured(|config| config.app.push_hosts.clear()) };
    let stop = CancellationToken::new();
    let running = tokio::spawn(relay(&world).run(stop.clone()));
    for _ in 0..100 {
        if world.outbox(OutboxKind::Push).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    running.await.unwrap();
    assert!(world.outbox(OutboxKind::Push).await.is_empty(), "the row is published");
    let is_kept = world.rows::<AppKey>("", &[]).await[0].push_sealed.is_some();
    (received.lock().unwrap().len(), is_kept)
}

/// Fails if 410 is retried like any other failure, or if the list of hosts is checked only when an endpoint is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_pushes_once_and_deletes_expired_endpoints() {
    assert_eq!(pushed(201, true).await, (1, true));
    assert_eq!(pushed(410, true).await, (1, false));
    assert_eq!(pushed(403, true).await, (1, true), "it is not retried");
    assert_eq!(pushed(201, false).await, (0, true), "the host was removed from the list");
}
