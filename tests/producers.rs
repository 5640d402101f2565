//! Producers in another language: the very files that docs/jobs.md shows, run against the real broker.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;
use std::time::Duration;

use otpost::app::Roles;
use support::house::House;
use support::wait;

async fn run(house: &House, file: &str, to: &str) -> uuid::Uuid {
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    let tenant_key = house.root.tenant("default").to_text();
    let mut command = Command::new(python);
    command
        .args([&format!("{}/examples/python/{file}", env!("CARGO_MANIFEST_DIR")), to, "481516"])
        .env("OTPOST_AMQP_URL", &house.amqp_url)
        .env("OTPOST_TENANT_KEY", tenant_key.as_str());
    let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_enqueues_plain_and_sealed_jobs() {
    let house = House::build(Duration::from_millis(20)).await;
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    for (file, to) in [("enqueue.py", "+447703000001"), ("enqueue_sealed.py", "+447703000002")] {
        let id = run(&house, file, to).await;
        house.until_state(id, "delivered").await;
        assert_eq!(house.accepted(to).await, 1);
    }
    app.stop().await;
}

/// Whatever a producer's library can set beside a body changes nothing; what cannot be read harms nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_producers_with_odd_properties() {
    let house = House::build(Duration::from_millis(20)).await;
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    let packages = std::env::var("OTPOST_TEST_NODE").expect("OTPOST_TEST_NODE is not set: run scripts/test");
    let script = format!("{packages}/odd_producer.js");
    std::fs::copy(format!("{}/tests/odd_producer.js", env!("CARGO_MANIFEST_DIR")), &script).unwrap();
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    let odd = format!("{}/tests/odd_producer.py", env!("CARGO_MANIFEST_DIR"));
    let mut dead = 0;
    for (program, script, numbers) in [(python.as_str(), &odd, "+44770310"), ("node", &script, "+44770311")] {
        let mut command = Command::new(program);
        command.args([script, numbers]).env("OTPOST_AMQP_URL", &house.amqp_url);
        let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let said = String::from_utf8(out.stdout).unwrap();
        let (good, bad): (Vec<&str>, Vec<&str>) = said.lines().partition(|l| l.starts_with('+'));
        assert!(good.len() >= 9 && bad.len() >= 4, "{said}");
        for line in good {
            let (to, name) = line.split_once(' ').unwrap();
            let in_time =
                wait::within(Duration::from_secs(20), async || (house.accepted(to).await > 0).then_some(()));
            assert!(in_time.await.is_some(), "{program}: {name}");
            assert_eq!(house.accepted(to).await, 1, "{program}: {name}");
        }
        dead += u32::try_from(bad.len()).unwrap();
    }
    house.until_waiting("otpost.dead", dead).await;
    for _ in 0..dead {
        let (field, reason, _) = house.dead_letter().await;
        assert_eq!(field, "body", "{reason}");
    }
    assert_eq!((house.waiting("otpost.dispatch").await, house.waiting("otpost.suspect").await), (0, 0));
    app.stop().await;
}

#[test]
fn the_reference_shows_the_files_that_are_run() {
    let read =
        |file: &str| std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let page = read("docs/jobs.md");
    let shown = read("examples/python/enqueue.py");
    assert!(page.contains(shown.trim()), "docs/jobs.md shows examples/python/enqueue.py as it is");
    assert!(page.contains("examples/python/enqueue_sealed.py"));
}
