//! The page for operators in a real Chromium, on a ledger with a day of counts and an incident.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use otpost::app::Roles;
use otpost::domain::channel::Channel;
use otpost::domain::delivery_cell::Cell;
use otpost::domain::delivery_count::{CountRow, Counted, DeliveryCounts, INTERVAL, interval_start};
use serde_json::json;
use support::deployment::{Deployment, job};

/// A day of counts of two carriers, three countries and two tenants. During the last two minutes texts to Indonesia through `acme` do not
/// arrive.
fn a_day(now: Timestamp) -> Vec<CountRow> {
    let mut rows = vec![];
    let wide = Duration::from_secs(600);
    let intervals = (1..=132).map(|n| (7 + n, wide)).chain((1..=360).map(|n| (n, INTERVAL)));
    for (n, width) in intervals {
        let started_at = interval_start(now, width).checked_sub(width * n).unwrap();
        // Nights are quiet.
        let busy = 1.0 + (f64::from(n) * width.as_secs_f64() / 86_400.0 * std::f64::consts::TAU).cos();
        for (carrier, country, share) in [
            ("acme", "ID", 4.0),
            ("bolt", "ID", 3.0),
            ("acme", "DE", 5.0),
            ("bolt", "DE", 4.0),
            ("bolt", "US", 8.0),
        ] {
            for tenant in ["bank", "shop"] {
                let attempts = (busy * share * width.as_secs_f64() / 20.0).round() as i64;
                let fails = width == INTERVAL && n <= 12 && (carrier, country) == ("acme", "ID");
                // One text in 25 does not arrive.
                let bad =
                    attempts / 25 + i64::from(attempts > 0 && (i64::from(n) * attempts) % 25 < attempts % 25);
                let delivered = if fails { 0 } else { attempts - bad };
                let mut counts = DeliveryCounts::default();
                for (counted, number) in [
                    (Counted::Attempts, attempts),
                    (Counted::Accepted, attempts),
                    (Counted::Receipt60s, attempts),
                    (Counted::Undelivered, attempts - delivered),
                    (Counted::Delivered5s, delivered * 2 / 3),
                    (Counted::Delivered10s, delivered - delivered * 2 / 3),
                    (Counted::Verified, delivered * 4 / 5),
                    (Counted::Verified5min, delivered * 4 / 5),
                ] {
                    counts.add(counted, number);
                }
                let [carrier, country, tenant] = [carrier, country, tenant].map(str::to_owned);
                let cell = Cell { channel: Channel::Sms, carrier, country, tenant };
                rows.push(CountRow { started_at, width_s: width.as_secs() as u32, cell, counts });
            }
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_names_the_cause_on_a_desk_and_on_a_phone_without_and_with_a_script() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let now = deployment.ledger.check().await.unwrap();
    deployment.ledger.add_counts(&a_day(now)).await.unwrap();
    let all = deployment.start(deployment.config(&["acme", "bolt"]), Roles::ALL).await;
    let to = "+447709001300";
    deployment.script(to, json!([{"outcome": "undelivered", "error_code": 30003}])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    deployment.until_state(id, "undelivered").await;
    support::wait::until("the failure is reported", async || {
        deployment.get(&format!("http://{}/", all.ops)).await.1.contains("Recent failures (5 to 10 minutes)")
    })
    .await;
    let empty = Deployment::build(Duration::from_millis(20)).await;
    let quiet = empty.start(empty.config(&["acme"]), Roles::ALL).await;
    let node = std::env::var("TWO_STEP_TEST_NODE").expect("TWO_STEP_TEST_NODE is not set: run scripts/test");
    let shots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ops-page");
    std::fs::create_dir_all(&shots).unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/ops_page/page.cjs");
    let (page, empty_page) = (format!("http://{}/", all.ops), format!("http://{}/", quiet.ops));
    let status = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .arg(script)
            .env("PAGE", page)
            .env("EMPTY_PAGE", empty_page)
            .env("SHOTS", shots)
            .env("NODE_PATH", format!("{node}/node_modules"))
            .status()
    });
    assert!(status.await.unwrap().unwrap().success(), "see the messages above");
    all.stop().await;
    quiet.stop().await;
}
