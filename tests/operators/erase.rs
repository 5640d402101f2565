//! The deletion of all rows of a number, with a running worker.

use serde_json::{Value, json};

use crate::office::{Office, id};
use crate::support::wait;
use crate::support::world::Backend;

/// Repeats the request until nothing is left. Returns the number of deleted and of cancelled dispatches.
async fn erase(office: &Office, body: &Value) -> (u64, u64) {
    let (mut deleted, mut cancelled) = (0, 0);
    wait::until("all is erased", async || {
        let answer = office.done("POST", "/v1/erase", body).await;
        deleted += answer["deleted"].as_u64().unwrap();
        cancelled += answer["cancelled"].as_u64().unwrap();
        answer["done"] == true
    })
    .await;
    (deleted, cancelled)
}

async fn dispatches_under_way_are_a_reason_to_refuse(backend: Backend) {
    let office = Office::open(backend).await;
    // Two spellings of one handset, and a neighbour.
    let (number, spelt, neighbour) = ("+5491155550170", "+541155550170", "+5491155550171");
    let mut ids = vec![];
    for to in [number, spelt, neighbour] {
        let (status, answer) = office.post(to).await;
        assert_eq!(status, 202, "{answer}");
        office.until_state(id(&answer), "delivered").await;
        ids.push(id(&answer));
    }
    office.deployment.script(number, json!(["silent"])).await;
    let (_, open) = office.post(number).await;
    office.until_state(id(&open), "sent").await;
    let body = json!({"number": spelt, "reason": "a request of the person"});
    let (status, problem) = office.act("POST", "/v1/erase", &body).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("--force"), "{problem}");
    let ledger = &office.app.ledger;
    assert!(ledger.find("default", ids[0]).await.unwrap().is_some(), "nothing was deleted");

    let forced = json!({"number": spelt, "force": true, "reason": "a request of the person"});
    assert_eq!(erase(&office, &forced).await, (3, 1));
    for gone in [ids[0], ids[1], id(&open)] {
        assert!(ledger.find("default", gone).await.unwrap().is_none());
    }
    assert!(ledger.find("default", ids[2]).await.unwrap().is_some(), "the neighbour's stay");
    let quotas = office.done("POST", "/v1/quota/show", &json!({"number": number})).await;
    assert!(quotas["rules"].as_array().unwrap().iter().all(|rule| rule["used"] == 0), "{quotas}");

    // A receipt that comes later changes nothing, and the worker does not take the missing row for a lost commit.
    let message = office.deployment.message(number, 1, |_| true).await;
    office.deployment.receipt(message["sid"].as_str().unwrap(), "delivered").await;
    assert_eq!(erase(&office, &body).await, (0, 0));
    let (_, metrics) = office.deployment.get(&format!("http://{}/metrics", office.app.ops)).await;
    let lost = metrics.lines().filter(|line| line.starts_with("otpost_ledger_lost_commits_total"));
    assert!(lost.clone().all(|line| line.ends_with(" 0")), "{:?}", lost.collect::<Vec<_>>());
    let audit = office.audit().await;
    assert!(audit.iter().all(|(act, subject)| act == "erase" && !subject.contains('+')), "{audit:?}");
    assert!(audit.len() >= 3, "{audit:?}");
    office.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dispatches_under_way_are_a_reason_to_refuse_on_postgres() {
    dispatches_under_way_are_a_reason_to_refuse(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dispatches_under_way_are_a_reason_to_refuse_on_sqlite() {
    dispatches_under_way_are_a_reason_to_refuse(Backend::Sqlite).await;
}
