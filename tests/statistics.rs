//! What the ledger counts about attempts, on both databases.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use otpost::domain::attempt::{Outcome, ReceiptStatus};
use otpost::domain::attempt_fact::{AttemptEvent, AttemptFact};
use otpost::domain::clock::after;
use otpost::domain::delivery_cell::Cell;
use otpost::domain::delivery_count::{CountRow, Counted, DeliveryCounts, INTERVAL};
use otpost::domain::dispatch::Stop;
use support::ledger_driver::{LedgerDriver, SMS, accepted, job, with_begin};
use support::on_both;
use support::world::{Backend, World};

/// Collects the facts of a ledger.
fn observe(driver: &LedgerDriver) -> Arc<Mutex<Vec<AttemptFact>>> {
    let facts = Arc::<Mutex<Vec<AttemptFact>>>::default();
    let collected = Arc::clone(&facts);
    driver.world.ledger.observe(Box::new(move |fact| collected.lock().unwrap().push(fact.clone())));
    facts
}

fn events(facts: &Mutex<Vec<AttemptFact>>) -> Vec<AttemptEvent> {
    facts.lock().unwrap().iter().map(|fact| fact.event.clone()).collect()
}

fn row(started_at: jiff::Timestamp, tenant: &str, attempts: i64, accepted: i64) -> CountRow {
    let [carrier, country, tenant] = ["acme", "DE", tenant].map(str::to_owned);
    let mut counts = DeliveryCounts::default();
    counts.add(Counted::Attempts, attempts);
    counts.add(Counted::Accepted, accepted);
    let width_s = INTERVAL.as_secs() as u32;
    CountRow { started_at, width_s, cell: Cell { channel: SMS, carrier, country, tenant }, counts }
}

on_both! {
    async fn each_fact_of_an_attempt_is_published_once(driver) {
        let facts = observe(&driver);
        let begun = with_begin(job(&[SMS], "a", driver.t(300)));
        let uid = driver.admit(&begun).await;
        driver.world.at(1.0).await;
        let seen = driver.read(uid).await;
        driver.finish(&seen.d, accepted("SM1")).await;
        driver.world.at(3.0).await;
        driver.receipt(uid, 1, ReceiptStatus::Bad, None).await;
        driver.world.at(4.0).await;
        driver.delivered(uid, 1).await;
        driver.delivered(uid, 1).await;
        driver.stop(&begun, Stop::Verified).await;
        driver.stop(&begun, Stop::Verified).await;
        let answered = AttemptEvent::Answered { outcome: Outcome::Accepted, segments: None, is_repeat: false, code: None };
        assert_eq!(
            events(&facts),
            [
                answered,
                AttemptEvent::Receipt { status: ReceiptStatus::Bad, corrects: false, code: None },
                AttemptEvent::Receipt { status: ReceiptStatus::Delivered, corrects: true, code: None },
                AttemptEvent::Verified,
            ]
        );
        let facts = facts.lock().unwrap();
        let attempt = &seen.d.attempts[0];
        assert!(facts.iter().all(|fact| fact.begun_at == attempt.begun_at && fact.cell.carrier == attempt.carrier));
        assert_eq!(facts[3].at, driver.t(4));
    }

    async fn a_receipt_before_the_answer_proves_the_acceptance(driver) {
        let facts = observe(&driver);
        let uid = driver.admit(&with_begin(job(&[SMS], "a", driver.t(300)))).await;
        let seen = driver.read(uid).await;
        driver.world.at(1.0).await;
        driver.delivered(uid, 1).await;
        let (_, _decision) = driver.finish_once(&seen.d, accepted("SM1")).await;
        let unknown = AttemptEvent::Answered { outcome: Outcome::Unknown, segments: None, is_repeat: false, code: None };
        assert_eq!(
            events(&facts),
            [
                unknown,
                AttemptEvent::Accepted { was_unknown: true },
                AttemptEvent::Receipt { status: ReceiptStatus::Delivered, corrects: false, code: None },
            ]
        );
        let mut counts = DeliveryCounts::default();
        facts.lock().unwrap().iter().for_each(|fact| counts.count(fact));
        let of = [Counted::Attempts, Counted::Accepted, Counted::Unknown, Counted::Delivered1s];
        assert_eq!(of.map(|counted| counts.of(counted)), [1, 1, 0, 1]);
    }

    async fn an_attempt_without_an_answer_is_unknown(driver) {
        let facts = observe(&driver);
        let uid = driver.admit(&with_begin(job(&[SMS], "a", driver.t(300)))).await;
        driver.world.at(60.0).await;
        driver.turn(uid).await;
        let unknown = AttemptEvent::Answered { outcome: Outcome::Unknown, segments: None, is_repeat: false, code: None };
        assert_eq!(events(&facts)[..1], [unknown]);
    }

    async fn counts_add_up_and_old_ones_are_merged(driver) {
        let ledger = &driver.world.ledger;
        ledger.check().await.unwrap();
        let t = |seconds| driver.t(seconds);
        ledger.add_counts(&[row(t(10), "shop", 3, 2), row(t(10), "bank", 1, 1)]).await.unwrap();
        ledger.add_counts(&[row(t(10), "shop", 4, -1), row(t(590), "shop", 5, 5), row(t(600), "shop", 7, 7)]).await.unwrap();
        let read = async || {
            let rows = ledger.counts(t(0)).await.unwrap();
            let mut rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    let counts = [Counted::Attempts, Counted::Accepted].map(|counted| row.counts.of(counted));
                    (row.started_at, row.width_s, row.cell.tenant.clone(), counts)
                })
                .collect();
            rows.sort();
            rows
        };
        let of = |seconds, width, tenant: &str, counts| (t(seconds), width, tenant.to_owned(), counts);
        let before = [
            of(10, 10, "bank", [1, 1]),
            of(10, 10, "shop", [7, 1]),
            of(590, 10, "shop", [5, 5]),
            of(600, 10, "shop", [7, 7]),
        ];
        assert_eq!(read().await, before);
        // 70 minutes after the first ten minutes.
        driver.world.at(599.0 + 70.0 * 60.0).await;
        ledger.check().await.unwrap();
        ledger.tidy_statistics().await.unwrap();
        let merged = [of(0, 600, "bank", [1, 1]), of(0, 600, "shop", [12, 6]), of(600, 10, "shop", [7, 7])];
        assert_eq!(read().await, merged);
        // A receipt that comes later still counts where its attempt did.
        ledger.add_counts(&[row(t(20), "shop", 0, 1)]).await.unwrap();
        ledger.tidy_statistics().await.unwrap();
        assert_eq!(read().await[1], of(0, 600, "shop", [12, 7]));
        driver.world.at(27.0 * 3600.0).await;
        ledger.check().await.unwrap();
        ledger.tidy_statistics().await.unwrap();
        assert_eq!(read().await, []);
    }

    async fn a_process_has_one_report(driver) {
        let ledger = &driver.world.ledger;
        ledger.report_process("a", "{\"n\":1}").await.unwrap();
        driver.world.at(5.0).await;
        ledger.report_process("a", "{\"n\":2}").await.unwrap();
        let reports = ledger.process_reports().await.unwrap();
        assert_eq!(reports.len(), 1);
        assert_eq!((reports[0].report.as_str(), reports[0].seen_at), ("{\"n\":2}", driver.t(5)));
    }

    async fn the_oldest_due_dispatch_is_known(driver) {
        let ledger = &driver.world.ledger;
        ledger.check().await.unwrap();
        assert_eq!(ledger.oldest_due().await.unwrap(), None);
        driver.admit(&job(&[SMS], "a", driver.t(300))).await;
        let due = ledger.oldest_due().await.unwrap().unwrap();
        assert!(due >= driver.t(0) && due <= after(driver.t(0), Duration::from_secs(1)), "{due}");
    }
}
