//! Producers in another language: the very files that the README shows, run against the real broker.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;
use std::time::Duration;

use otpost::app::Roles;
use support::house::House;

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

#[test]
fn the_readme_shows_the_files_that_are_run() {
    let read =
        |file: &str| std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let readme = read("README.md");
    let shown = read("examples/python/enqueue.py");
    assert!(readme.contains(shown.trim()), "README.md shows examples/python/enqueue.py as it is");
    assert!(readme.contains("examples/python/enqueue_sealed.py"));
}
