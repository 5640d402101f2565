//! The API of the product's own app, over HTTP: with a third-party client and with bad input.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use two_step::config::PublicUrl;
use two_step::flow::Entered;
use two_step::pages::Pages;

use crate::support::app::{PhoneApp, SignedRequest};
use crate::support::user::User;
use crate::support::world::{Backend, World};

/// The pages of one test's store, served at their public URL.
struct Served {
    world: World,
    url: String,
    http: reqwest::Client,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = World::new(Backend::Sqlite).await;
        let world = world.configured(|config| config.public_url = PublicUrl::try_from(url.clone()).unwrap());
        let (core, stop) = (Arc::clone(&world.core), CancellationToken::new());
        tokio::spawn(async move { core.watch_apps(stop).await });
        let router = Pages::new(Arc::clone(&world.core)).router();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { world, url, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn send(&self, signed: &SignedRequest) -> (u16, Json) {
        let query = signed.query.as_ref().map_or_else(String::new, |q| format!("?{q}"));
        let url = format!("{}{}{query}", self.url, signed.path);
        let request = self.http.request(signed.method.parse().unwrap(), url).body(signed.body.clone());
        let request = request
            .header("content-digest", &signed.digest)
            .header("signature-input", &signed.input)
            .header("signature", &signed.signature);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Waits until a long poll has started to wait.
    async fn until_an_app_waits(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        while self.world.core.waiting_apps() == 0 {
            assert!(Instant::now() < end, "no app waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn call(&self, app: &PhoneApp, method: &str, path: &str, body: &Json) -> (u16, Json) {
        let body = if body.is_null() { vec![] } else { body.to_string().into_bytes() };
        self.send(&app.signed(method, path, &body).await).await
    }
}

fn kind(body: &Json) -> &str {
    body["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap()
}

/// Runs the example program of `docs/two-step.md`.
async fn native(served: &Served, folder: &std::path::Path, arguments: &[&str]) -> Json {
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python/native_app.py");
    let mut command = Command::new(python);
    command.arg("-B").arg(program).args(arguments);
    command.env("TWO_STEP_URL", &served.url).env("APP_KEY", folder.join("app.pem"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_native_app_signs_with_a_third_party_library() {
    let served = Served::start().await;
    let folder = std::env::temp_dir().join(format!("two-step-native-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&folder).unwrap();
    let user = User::new(&served.world, "u1");
    user.open_settings().await;
    let new = served.world.core.add_app(&user.visit).await.unwrap().unwrap();
    let unknown = native(&served, &folder, &["account"]).await;
    assert_eq!((&unknown["status"], kind(&unknown["answer"])), (&json!(401), "unknown-key"));
    let registered = native(&served, &folder, &["register", &new.code.unwrap().spelled()]).await;
    assert_eq!(registered["status"], 201, "{registered}");
    user.must_verify(new.challenge, registered["answer"]["digits"].as_str().unwrap()).await;
    user.save_recovery_codes().await;
    user.turn_on(false).await;
    let challenge = user.open_challenge().await;
    let request =
        served.world.core.challenge_snapshot(challenge, &user.requester()).await.unwrap().request.unwrap().id;
    let digits = served.world.core.app_digits(request);
    let wrong = crate::support::user::other_code(&digits);
    assert_eq!(
        native(&served, &folder, &["approve", &wrong]).await["answer"],
        json!({"status": "wrong", "left": 4})
    );
    assert_eq!(
        native(&served, &folder, &["approve", &digits]).await["answer"],
        json!({"status": "approved"})
    );
    let gone_on = served.world.core.continue_approved(challenge, &user.visit, false).await.unwrap();
    assert!(matches!(gone_on, Some(Entered::Verified { .. })), "{gone_on:?}");
    let account = native(&served, &folder, &["account"]).await;
    assert_eq!(account["answer"]["state"], "active");
    // The remaining calls of the client.
    assert_eq!(native(&served, &folder, &["rekey"]).await["status"], 204);
    assert_eq!(native(&served, &folder, &["push"]).await["status"], 204);
    let pushed = native(&served, &folder, &["push", "https://127.0.0.1/"]).await;
    assert_eq!((&pushed["status"], &pushed["answer"]["field"]), (&json!(422), &json!("endpoint")));
    let challenge = user.open_challenge().await;
    let code = native(&served, &folder, &["code"]).await["answer"]["code"].as_str().unwrap().to_owned();
    user.must_verify(challenge, &code).await;
    user.open_challenge().await;
    assert_eq!(native(&served, &folder, &["deny"]).await["answer"], json!({"status": "denied"}));
    assert_eq!(native(&served, &folder, &["unregister"]).await["status"], 204);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_and_a_stream_get_a_request_at_once() {
    let served = Served::start().await;
    let (user, app) = PhoneApp::first_way(&served.world).await;
    let began = Instant::now();
    let waiting = served.call(&app, "GET", "/app/v1/requests?wait=20", &Json::Null);
    let asking = async {
        served.until_an_app_waits().await;
        user.open_challenge().await
    };
    let ((status, answer), challenge) = tokio::join!(waiting, asking);
    assert_eq!(status, 200, "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "before the end of the wait: {:?}", began.elapsed());
    let request = answer["requests"][0]["id"].as_str().unwrap().to_owned();
    // A poll that names the open request waits until that request ends.
    let began = Instant::now();
    let path = format!("/app/v1/requests?wait=20&seen={request}");
    let waiting = served.call(&app, "GET", &path, &Json::Null);
    let ending = async {
        served.until_an_app_waits().await;
        served.world.core.cancel(challenge, &user.requester()).await.unwrap();
    };
    let ((_, answer), ()) = tokio::join!(waiting, ending);
    assert_eq!(answer["requests"], json!([]));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // The stream begins with the open requests.
    let signed = app.signed("GET", "/app/v1/stream", b"").await;
    let stream = served.http.get(format!("{}/app/v1/stream", served.url));
    let mut stream = stream
        .header("content-digest", &signed.digest)
        .header("signature-input", &signed.input)
        .header("signature", &signed.signature)
        .send()
        .await
        .unwrap();
    let first = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.starts_with("event: requests\ndata: {\"requests\":[]"), "{first}");
    user.open_challenge().await;
    let second =
        tokio::time::timeout(Duration::from_secs(5), stream.chunk()).await.unwrap().unwrap().unwrap();
    let second = String::from_utf8(second.to_vec()).unwrap();
    assert!(second.contains("\"product\":{\"id\":\"shop\",\"name\":\"Shop\"}"), "{second}");
}

/// Fails without permits, because then the ninth poll waits too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_has_at_most_eight_open_waits() {
    let served = Served::start().await;
    let (_, app) = PhoneApp::first_way(&served.world).await;
    let waiting = (0..9).map(|_| served.call(&app, "GET", "/app/v1/requests?wait=2", &Json::Null));
    let answers = futures_util::future::join_all(waiting).await;
    let refused: Vec<&(u16, Json)> = answers.iter().filter(|(status, _)| *status != 200).collect();
    assert_eq!(refused.len(), 1, "{answers:?}");
    assert_eq!((refused[0].0, kind(&refused[0].1)), (429, "limited"));
    // The permits are released. A call without `wait` needs none.
    assert_eq!(served.call(&app, "GET", "/app/v1/requests?wait=1", &Json::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_gets_a_clear_answer_and_changes_nothing() {
    let served = Served::start().await;
    let (user, app) = PhoneApp::first_way(&served.world).await;
    user.open_challenge().await;
    let (request, digits) = app.asked().await;
    let approve = format!("/app/v1/requests/{request}/approve");
    let right = json!({"digits": digits});
    // Not signed, signed by another key, changed after signing, too old, replayed.
    let bare =
        served.http.post(format!("{}{approve}", served.url)).body(right.to_string()).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    assert!(!bare.headers().contains_key("www-authenticate"), "a bearer key would not help");
    assert_eq!(kind(&bare.json().await.unwrap()), "signature");
    let stranger = PhoneApp::new(&served.world);
    assert_eq!(kind(&served.call(&stranger, "POST", &approve, &right).await.1), "unknown-key");
    let signed = app.signed("POST", &approve, right.to_string().as_bytes()).await;
    let changed =
        SignedRequest { body: json!({"digits": "000000"}).to_string().into_bytes(), ..signed.clone() };
    assert_eq!(kind(&served.send(&changed).await.1), "signature");
    let elsewhere = SignedRequest { path: format!("/app/v1/requests/{request}/deny"), ..signed };
    assert_eq!(kind(&served.send(&elsewhere).await.1), "signature");
    let late = app.signed_at(-600, "POST", &approve, right.to_string().as_bytes()).await;
    let (status, problem) = served.send(&late).await;
    assert_eq!((status, kind(&problem)), (401, "clock"));
    let now = served.world.now().await.as_second();
    assert!((problem["now"].as_i64().unwrap() - now).abs() <= 2, "it contains the server's time");
    // Malformed, too big, for another app's request.
    let (status, problem) = served.call(&app, "POST", &approve, &json!({"digits": "12"})).await;
    assert_eq!((status, &problem["field"]), (422, &json!("digits")));
    let (status, problem) = served.call(&app, "POST", &approve, &json!({"digit": "123456"})).await;
    assert_eq!((status, kind(&problem)), (422, "invalid"));
    let big = json!({"digits": "1".repeat(10 << 20)});
    assert_eq!(served.call(&app, "POST", &approve, &big).await.0, 413);
    for path in ["/app/v1/requests/nonsense/approve", "/app/v1/nothing"] {
        let (status, problem) = served.call(&app, "POST", path, &right).await;
        assert_eq!((status, kind(&problem)), (404, "not-found"), "{path}");
    }
    let unknown = format!("/app/v1/requests/{}/approve", uuid::Uuid::now_v7());
    assert_eq!(served.call(&app, "POST", &unknown, &right).await.0, 404);
    for wait in ["31", "-1", "x"] {
        let (status, problem) =
            served.call(&app, "GET", &format!("/app/v1/requests?wait={wait}"), &Json::Null).await;
        assert_eq!((status, &problem["field"]), (422, &json!("wait")), "{wait}");
    }
    for endpoint in ["http://127.0.0.1/", "https://10.0.0.1/", "https://push.attacker.example/x", "nonsense"]
    {
        let (status, problem) =
            served.call(&app, "PUT", "/app/v1/push", &json!({"endpoint": endpoint})).await;
        assert_eq!((status, &problem["field"]), (422, &json!("endpoint")), "{endpoint}");
    }
    // A JWK with a private key is refused.
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "d": "c"});
    let (status, problem) =
        served.call(&app, "PUT", "/app/v1/key", &json!({"public_key": jwk, "proof": ""})).await;
    assert_eq!((status, kind(&problem)), (422, "invalid"), "{problem}");
    assert_eq!(
        served.call(&app, "PUT", "/app/v1/push", &json!({})).await.0,
        422,
        "an endpoint or null is required"
    );
    // No refused call was counted: all entries are left.
    assert_eq!(served.world.account("u1").await.wrong, 0);
    assert_eq!(served.call(&app, "POST", &approve, &right).await.1, json!({"status": "approved"}));
}

#[tokio::test]
async fn the_committed_contract_of_the_app_is_the_one_that_is_served() {
    let served = Served::start().await;
    let answer = served.http.get(format!("{}/app/v1/openapi.json", served.url)).send().await.unwrap();
    let served: Json = answer.json().await.unwrap();
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/contracts/two-step-app.openapi.json");
    let text = std::fs::read_to_string(committed).unwrap();
    assert_eq!(
        serde_json::from_str::<Json>(&text).unwrap(),
        served,
        "run: two-step contracts --app > {committed}"
    );
}
