//! Room: pace, slots, breakers, and who waits for whom.

use std::time::Duration;

use mock_gateway::Gateway;
use otpost::app::Roles;
use otpost::domain::channel::Channel;
use serde_json::json;

use crate::support::house::{House, in_seconds, job};
use crate::support::relay::Relay;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_without_room_is_left_for_the_next_at_its_last_chance() {
    let house = House::build(Duration::from_millis(50)).await;
    let mut config = house.config(&["c1", "c2"]);
    config.routes.channels =
        [(Channel::Sms, vec!["c1".to_owned()]), (Channel::Voice, vec!["c2".to_owned()])].into();
    let app = house.start(config, Roles::ALL).await;
    // The account is refused: c1 is left alone for a while.
    house.script("+447701000301", json!(["unauthorized"])).await;
    let first = house.publish(&job("+447701000301", json!({}))).await;
    house.until(first, "refused", |d| d.attempts.first().is_some_and(|a| a.outcome.is_some())).await;
    let plan = json!({"channels": ["sms", "voice"], "expires_at": in_seconds(14)});
    let id = house.publish(&job("+447701000302", plan)).await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!(d.attempts.len(), 1, "no request at c1: {:?}", d.attempts);
    assert_eq!((d.attempts[0].carrier.as_str(), d.attempts[0].step), ("c2", 2));
    app.stop().await;
}

/// A worker of four slots, a backlog of slow jobs, and one retry among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_not_shut_out_by_a_backlog() {
    let house = House::build(Duration::from_millis(20)).await;
    let mut config = house.config(&["c1"]);
    config.worker.slots = 4;
    let retried = "+447701000401";
    house.script(retried, json!(["unavailable"])).await;
    let id = house.publish(&job(retried, json!({}))).await;
    for n in 0..40 {
        let to = format!("+4477010{n:02}402");
        house.script(&to, json!([{"outcome": "slow", "ms": 1000}])).await;
        house.publish(&job(&to, json!({}))).await;
    }
    let app = house.start(config, Roles::ALL).await;
    let d = house.until_state(id, "delivered").await;
    let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!(gap < 5000, "its back-off is a second at most: {gap} ms");
    app.stop().await;
}

/// A worker of four slots, and two hundred codes that came over HTTP before one comes from the broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_take_their_turn_with_the_brokers_jobs() {
    const BEFORE: usize = 200;
    let house = House::build(Duration::from_millis(20)).await;
    let carrier = Relay::start(house.gateway.addr()).await;
    let mut config = house.config(&["c1"]);
    config.worker.slots = 4;
    let c1 = config.carriers.get_mut("c1").unwrap();
    c1.rate_per_s = 1000;
    c1.twilio.as_mut().unwrap().base_url = format!("http://{}", carrier.addr());
    let app = house.start(config, Roles::ALL).await;
    house.until_consumed().await;
    carrier.delay(Duration::from_millis(150));
    let jobs: Vec<_> = (0..BEFORE).map(|n| job(&format!("+4477010{n:03}44"), json!({}))).collect();
    // Whose key was never seen before is looked up, and that is limited.
    assert_eq!(house.post(&app, &jobs[0]).await.0, 202);
    let answers = futures_util::future::join_all(jobs[1..].iter().map(|j| house.post(&app, j))).await;
    assert!(answers.iter().all(|(status, _)| *status == 202), "{answers:?}");
    let to = "+447701000445";
    house.publish(&job(to, json!({}))).await;
    house.until_accepted(to, 1).await;
    let before = house.record("accepted", None).await.len();
    assert!(before < BEFORE / 2, "one after the other from either side: {before} of {BEFORE} were before it");
    carrier.pass();
    app.stop().await;
}

/// A carrier takes no more than its contracted rate, and a backlog no less: nobody waits while there is pace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accounts_rate_is_kept_and_used() {
    const RATE: usize = 20;
    const JOBS: usize = 200;
    let house = House::build(Duration::from_millis(20)).await;
    let mut config = house.config(&["c1"]);
    config.carriers.get_mut("c1").unwrap().rate_per_s = RATE as u32;
    let mut ids = vec![];
    for n in 0..JOBS {
        ids.push(house.publish(&job(&format!("+4477010{n:03}43"), json!({}))).await);
    }
    let app = house.start(config, Roles::ALL).await;
    for id in ids {
        house.until_state(id, "delivered").await;
    }
    let at: Vec<i64> = house
        .record("accepted", None)
        .await
        .iter()
        .map(|e| e["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond())
        .collect();
    assert_eq!(at.len(), JOBS);
    for first in &at {
        let within = at.iter().filter(|t| (*first..*first + 1000).contains(t)).count();
        assert!(within <= 2 * RATE, "a burst of {RATE}, and {RATE} more in a second: {within} in {at:?}");
    }
    let took = at.iter().max().unwrap() - at.iter().min().unwrap();
    let due = (JOBS / RATE * 1000) as i64;
    assert!(took < due + due / 2, "{JOBS} at {RATE} a second take {due} ms, and took {took}");
    app.stop().await;
}

/// One of two carriers answers 503 to everything, while a burst is under way at it: it is left alone, but for one
/// request now and then that tries it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_carrier_is_left_alone_after_a_burst() {
    let house = House::build(Duration::from_millis(20)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = Gateway::start(listener, mock_gateway::Config::default()).unwrap();
    let mut config = house.config(&["c1", "c2"]);
    let c1 = config.carriers.get_mut("c1").unwrap().twilio.as_mut().unwrap();
    c1.base_url = format!("http://{}", broken.addr());
    let app = house.start(config, Roles::ALL).await;
    // The last four digits of these make the carrier answer 503 to every request, but at c2 a script says otherwise.
    let numbers: Vec<String> = (0..120).map(|n| format!("+44770{n:03}0119")).collect();
    let mut ids = vec![];
    for (n, to) in numbers.iter().enumerate() {
        house.script(to, json!(["deliver"])).await;
        ids.push(house.publish(&job(to, json!({"expires_at": in_seconds(120)}))).await);
        if n == 60 {
            for id in &ids {
                house.until_state(*id, "delivered").await;
            }
        }
    }
    for id in ids {
        house.until_state(id, "delivered").await;
    }
    let asked = house.record_of(broken.addr(), "requests", None).await.len();
    assert!((8..=64).contains(&asked), "eight open the breaker, and the burst of 61 had begun: {asked}");
    broken.shutdown().await;
    app.stop().await;
}
