//! Producers in another language: runs the files that docs/jobs.md shows against the real broker.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::process::Command;
use std::time::Duration;

use otpost::app::Roles;
use support::deployment::Deployment;
use support::wait;

async fn run(deployment: &Deployment, file: &str, to: &str) -> uuid::Uuid {
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    let tenant_key = deployment.root.tenant("default").to_text();
    let mut command = Command::new(python);
    command
        .args([&format!("{}/examples/python/{file}", env!("CARGO_MANIFEST_DIR")), to, "481516"])
        .env("OTPOST_AMQP_URL", &deployment.amqp_url)
        .env("OTPOST_TENANT_KEY", tenant_key.as_str());
    let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_enqueues_plain_and_sealed_jobs() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    for (file, to) in [("enqueue.py", "+447703000001"), ("enqueue_sealed.py", "+447703000002")] {
        let id = run(&deployment, file, to).await;
        deployment.until_state(id, "delivered").await;
        assert_eq!(deployment.accepted(to).await, 1);
    }
    app.stop().await;
}

/// Properties that a producer's library sets beside a body change nothing. Unreadable messages affect no
/// others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_message_properties_change_nothing() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let packages = std::env::var("OTPOST_TEST_NODE").expect("OTPOST_TEST_NODE is not set: run scripts/test");
    let script = format!("{packages}/odd_producer.js");
    std::fs::copy(format!("{}/tests/odd_producer.js", env!("CARGO_MANIFEST_DIR")), &script).unwrap();
    let python =
        std::env::var("OTPOST_TEST_PYTHON").expect("OTPOST_TEST_PYTHON is not set: run scripts/test");
    let odd = format!("{}/tests/odd_producer.py", env!("CARGO_MANIFEST_DIR"));
    let mut dead = 0;
    for (program, script, numbers) in [(python.as_str(), &odd, "+44770310"), ("node", &script, "+44770311")] {
        let mut command = Command::new(program);
        command.args([script, numbers]).env("OTPOST_AMQP_URL", &deployment.amqp_url);
        let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let printed = String::from_utf8(out.stdout).unwrap();
        let (good, bad): (Vec<&str>, Vec<&str>) = printed.lines().partition(|l| l.starts_with('+'));
        assert!(good.len() >= 9 && bad.len() >= 3, "{printed}");
        for line in good {
            let (to, name) = line.split_once(' ').unwrap();
            let in_time = wait::within(Duration::from_secs(20), async || {
                (deployment.accepted(to).await > 0).then_some(())
            });
            assert!(in_time.await.is_some(), "{program}: {name}");
            assert_eq!(deployment.accepted(to).await, 1, "{program}: {name}");
        }
        dead += u32::try_from(bad.len()).unwrap();
    }
    deployment.until_waiting("otpost.dead", dead).await;
    for _ in 0..dead {
        let (field, reason, _) = deployment.dead_letter().await;
        assert_eq!(field, "body", "{reason}");
    }
    assert_eq!(
        (deployment.waiting("otpost.dispatch").await, deployment.waiting("otpost.suspect").await),
        (0, 0)
    );
    app.stop().await;
}

#[test]
fn the_reference_shows_the_tested_files() {
    let read =
        |file: &str| std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let page = read("docs/jobs.md");
    let shown = read("examples/python/enqueue.py");
    assert!(page.contains(shown.trim()), "docs/jobs.md shows examples/python/enqueue.py unchanged");
    assert!(page.contains("examples/python/enqueue_sealed.py"));
}
