//! Messages that a stopping worker gives back to their queue.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use otpost::app::Roles;
use serde_json::json;
use support::deployment::{Deployment, job};
use support::relay::Relay;
use support::wait;
use support::world::connect;

/// Number of jobs: more than `amqp.prefetch`.
const JOBS: usize = 600;
/// Messages that a worker does not get, because its prefetch is 512.
const LEFT: u32 = 88;

/// Four orderly stops while the ledger is away, before a job is admitted. RabbitMQ 3.10 counts each return of a message.
///
/// Fails if a message that was returned before goes back without a new count (at the fourth start 512 messages are quarantined).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orderly_stops_make_no_message_a_suspect() {
    let mut deployment = Deployment::build(Duration::from_millis(20)).await;
    deployment.rate_per_s = 1000;
    let mut numbers = BTreeSet::new();
    for n in 0..JOBS {
        // The mock carrier gives some endings below 1000 another outcome.
        let to = format!("+4477060{:05}", 1000 + n);
        let job = job(&to, json!({})).to_string();
        // Half of them have a broker user, which a copy must keep.
        if n % 2 == 0 {
            deployment.publish_as("guest", "dispatch", job.as_bytes()).await;
        } else {
            deployment.publish_bytes("dispatch", job.as_bytes()).await;
        }
        numbers.insert(to);
    }
    let mut config = deployment.config(&["c1"]);
    config.worker.grace_s = 20;
    let relay = Relay::start(deployment.database().await).await;
    config.ledger.url = Some(deployment.ledger_by(&relay).into());
    let mut database = connect(&deployment.ledger_url).await;
    let lock = database.transaction().await.unwrap();
    lock.batch_execute("lock table dispatch in access exclusive mode").await.unwrap();
    for stop in 1..=4 {
        let app = deployment.start(config.clone(), Roles::ALL).await;
        wait::until("it holds its prefetch", async || deployment.waiting("otpost.dispatch").await <= LEFT)
            .await;
        let (_, metrics) = deployment.get(&format!("http://{}/metrics", app.ops)).await;
        relay.refuse(true);
        relay.cut();
        app.stop().await;
        relay.refuse(false);
        assert!(metrics.contains("result=\"suspect\"} 0\n"), "start {stop}: {metrics}");
        assert_eq!(deployment.waiting("otpost.suspect").await, 0, "start {stop}");
        wait::until("all are back", async || {
            let n = deployment.waiting("otpost.dispatch").await as usize;
            if n != JOBS {
                println!("now {n}");
            }
            n == JOBS
        })
        .await;
    }
    lock.rollback().await.unwrap();
    let app = deployment.start(config, Roles::ALL).await;
    let delivered = "select count(*) from dispatch where state = 'delivered'";
    wait::until("all are delivered", async || {
        database.query_one(delivered, &[]).await.unwrap().get::<_, i64>(0) == JOBS as i64
    })
    .await;
    let accepted = deployment.record("accepted", None).await;
    let reached = accepted.iter().map(|message| message["to"].as_str().unwrap().to_owned()).collect();
    assert_eq!((accepted.len(), numbers), (JOBS, reached), "each once");
    let (_, metrics) = deployment.get(&format!("http://{}/metrics", app.ops)).await;
    for result in ["suspect", "dead"] {
        assert!(metrics.contains(&format!("result=\"{result}\"}} 0\n")), "{metrics}");
    }
    app.stop().await;
}
