//! Odd numbers through the HTTP API and RabbitMQ: one handset has one quota, kinds and countries are refused with a reason.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::deployment::{Deployment, job};
use support::wait;

/// A deployment whose configuration begins with more lines, and its API.
async fn deployment(more: &str) -> (Deployment, String, support::deployment::process::Process) {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let file = deployment.config_file("all");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n{more}")).unwrap();
    let process = deployment.run(&file, "api,worker,receipts", "all");
    let api = deployment.serving("all").await["api"].as_str().unwrap().to_owned();
    (deployment, api, process)
}

async fn post(deployment: &Deployment, api: &str, to: &str, channels: &[&str]) -> (u16, Value) {
    let body = job(to, json!({"channels": channels})).to_string();
    deployment.post_bytes(api, &deployment.key, body.into()).await
}

/// Fails if the quota counts the spellings of a number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_spellings_of_a_handset_share_its_quota() {
    let (deployment, api, _process) = deployment("[limits]\nnumber = [\"2/10m\"]\n").await;
    for (one, other) in [
        ("+5491155550150", "+541155550150"),
        ("+5548991550150", "+554891550150"),
        ("+970595550150", "+972595550150"),
    ] {
        assert_eq!(post(&deployment, &api, one, &["sms"]).await.0, 202, "{one}");
        assert_eq!(post(&deployment, &api, other, &["sms"]).await.0, 202, "{other}");
        for to in [one, other] {
            let (status, problem) = post(&deployment, &api, to, &["sms"]).await;
            assert_eq!((status, problem["reason"].as_str()), (429, Some("quota")), "{to}");
        }
        // Each text goes to the number as it was written.
        for to in [one, other] {
            wait::until(to, async || deployment.accepted(to).await == 1).await;
        }
    }
}

/// Fails if a call goes to a premium-rate number by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn premium_numbers_are_not_called_unless_the_configuration_says_so() {
    let premium = "+449098790150";
    let (deployment, api, _process) = self::deployment("").await;
    let (status, problem) = post(&deployment, &api, premium, &["voice"]).await;
    assert_eq!((status, problem["reason"].as_str()), (422, Some("number_kind")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("numbers.refused_kinds"), "{problem}");
    let (status, answer) = post(&deployment, &api, premium, &["sms", "voice"]).await;
    assert_eq!(status, 202, "{answer}");
    deployment.until_state(answer["id"].as_str().unwrap().parse().unwrap(), "sent").await;
    let id = deployment.publish(&job(premium, json!({"channels": ["voice"]}))).await;
    deployment.until_state(id, "refused").await;

    // A setting for texts does not change the default for calls.
    let (deployment, api, _process) =
        self::deployment("[numbers]\nrefused_kinds.sms = [\"premium\"]\n").await;
    assert_eq!(post(&deployment, &api, premium, &["sms"]).await.0, 422);
    assert_eq!(post(&deployment, &api, premium, &["voice"]).await.0, 422);

    let (deployment, api, _process) =
        self::deployment("[numbers]\nrefused_kinds.voice = [\"pager\"]\n").await;
    assert_eq!(post(&deployment, &api, premium, &["voice"]).await.0, 202);
}

/// Fails if a country in small letters blocks nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_country_is_blocked_in_any_case() {
    let (deployment, api, _process) = deployment("[numbers]\nblocked_countries = [\"gb\"]\n").await;
    let (status, problem) = post(&deployment, &api, "+447700900150", &["sms"]).await;
    assert_eq!((status, problem["reason"].as_str()), (422, Some("country")), "{problem}");
    let (palestine, israels_code, _other) =
        self::deployment("[numbers]\nblocked_countries = [\"PS\"]\n").await;
    let (status, problem) = post(&palestine, &israels_code, "+972595550150", &["sms"]).await;
    assert_eq!((status, problem["reason"].as_str()), (422, Some("country")), "{problem}");
    assert_eq!(post(&palestine, &israels_code, "+972525550150", &["sms"]).await.0, 202);
    // Jersey is a country of its own.
    assert_eq!(post(&deployment, &api, "+447797550150", &["sms"]).await.0, 202);
}

/// Fails if a carrier gets a number without the zero that belongs to it, or if a strict check refuses ranges that are in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leading_zeros_reach_the_carrier_with_either_check() {
    for check in ["possible", "valid"] {
        let (deployment, api, _process) = deployment(&format!("[numbers]\ncheck = \"{check}\"\n")).await;
        for to in ["+390655550150", "+393335550150", "+2250707550150", "+242065550150", "+24106550150"] {
            let (status, answer) = post(&deployment, &api, to, &["sms"]).await;
            assert_eq!(status, 202, "{check}: {answer}");
            wait::until(to, async || deployment.accepted(to).await == 1).await;
        }
        // In France and Germany the zero does not belong to the number.
        for to in ["+49030555501", "+330631966543"] {
            assert_eq!(post(&deployment, &api, to, &["sms"]).await.0, 422, "{check}: {to}");
        }
    }
    let (deployment, api, _process) = deployment("[numbers]\ncheck = \"valid\"\n").await;
    let (status, problem) = post(&deployment, &api, "+441115550150", &["sms"]).await;
    assert_eq!(status, 422, "it has the right length, and is in no range: {problem}");
}

/// Fails if every refusal has the same sentence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_not_possible_is_refused_with_the_cause() {
    let (deployment, api, _process) = deployment("").await;
    for (to, why) in [
        ("+22507550150", "has the country lengthened its numbers"),
        ("+5215555550150", "the 1 of +52 1 (Mexico, until 2019)"),
        ("+4407700900150", "leave out the 0 after the country code"),
        ("+12025550", "it lacks the area code"),
        ("+54111555550150", "the 15 before a mobile of Argentina"),
    ] {
        let (status, problem) = post(&deployment, &api, to, &["sms"]).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert_eq!((status, problem["reason"].as_str()), (422, Some("number_not_possible")), "{to}");
        assert!(detail.contains(why), "{to}: {detail}");
    }
}
