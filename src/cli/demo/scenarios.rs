//! The scenarios and their expected results. The last four digits of a number select the behaviour of the mock carrier.

use std::pin::Pin;

use serde_json::json;

use super::{Failure, ScenarioContext, ScenarioResult};
use crate::domain::attempt::{Reason, State};
use crate::domain::channel::Channel;
use crate::http::timeline::Timeline;

type ScenarioFuture = Pin<Box<dyn Future<Output = Result<ScenarioResult, Failure>> + Send>>;

/// An example of what otpost does.
pub(super) struct Scenario {
    pub(super) title: &'static str,
    pub(super) play: fn(ScenarioContext) -> ScenarioFuture,
}

macro_rules! scenarios {
    ($($title:literal => $play:ident),+ $(,)?) => {
        /// The scenarios in the order of the table.
        pub(super) const SCENARIOS: &[Scenario] =
            &[$(Scenario { title: $title, play: |context| Box::pin($play(context)) }),+];
    };
}

scenarios! {
    "a text is delivered" => text,
    "a call is delivered" => call,
    "a text is not delivered, a call follows at once" => fallback,
    "the same id is sent twice" => twice,
    "one code more than the quota admits" => quota,
    "a code expires while the carrier throttles requests" => expired,
    "an impossible number" => impossible,
    "the carrier answers 503 twice, then recovers" => recovers,
    "the carrier accepts the request and closes the connection" => hangs_up,
}

fn result(passed: bool, observed: impl Into<String>) -> ScenarioResult {
    ScenarioResult { passed, observed: observed.into() }
}

async fn text(context: ScenarioContext) -> Result<ScenarioResult, Failure> {
    let to = "+447700901001";
    let (_, _, id) = context.post(to, json!({})).await?;
    let timeline = context.follow(id).await?;
    let texts = context.accepted(to, "sms").await?;
    Ok(result(timeline.state == State::Delivered && texts == 1, format!("{}, {texts} text", timeline.state)))
}

async fn call(context: ScenarioContext) -> Result<ScenarioResult, Failure> {
    let to = "+447700901002";
    let (_, _, id) = context.post(to, json!({"channels": ["voice"]})).await?;
    let timeline = context.follow(id).await?;
    let calls = context.accepted(to, "voice").await?;
    Ok(result(timeline.state == State::Delivered && calls == 1, format!("{}, {calls} call", timeline.state)))
}

async fn fallback(context: ScenarioContext) -> Result<ScenarioResult, Failure> {
    let to = "+447700900102";
    let (_, _, id) = context.post(to, json!({"channels": ["sms", "voice"]})).await?;
    let timeline = context.follow(id).await?;
    let gap = gap_ms(&timeline).unwrap_or(i64::MAX);
    let passed = timeline.state == State::Delivered && gap < 1000;
    Ok(result(passed, format!("{}, the call {gap} ms after the receipt", timeline.state)))
}

/// Milliseconds from the bad receipt of the text to the begin of the call.
fn gap_ms(timeline: &Timeline) -> Option<i64> {
    let receipt = timeline.attempts.iter().find(|a| a.channel == Channel::Sms)?.receipt_at?;
    let call = timeline.attempts.iter().find(|a| a.channel == Channel::Voice)?;
    Some(call.begun_at.as_millisecond() - receipt.as_millisecond())
}

async fn twice(context: ScenarioContext) -> Result<ScenarioResult, Failure> {
    let to = "+447700901004";
    let (first, _, id) = context.post(to, json!({})).await?;
    let (second, body, _) = context.post(to, json!({"id": id})).await?;
    let known = body["state"].as_str().unwrap_or("?").to_owned();
    let timeline = context.follow(id).await?;
    let texts = context.accepted(to, "sms").await?;
    let passed = (first, second, texts) == (202, 200, 1) && timeline.state == State::Delivered;
    Ok(result(passed, format!("{first}, then {second} ({known}), {texts} text")))
}

async fn quota(context: ScenarioContext) -> Result<ScenarioResult, Failure> {
    let to = "+447700901005";
    let mut ids = vec![];
    for n in 1..=5 {
        let (status, _, id) = context.post(to, json!({})).await?;
        context.show(format!("{n} of 5: {status}"));
        ids.push(id);
    }
    let (status, body, _) = context.post(to, json!({})).await?;
    let wait = body["retry_after_s"].as_u64().unwrap_or(0);
    for id in ids {
        context.follow(id).await?;
    }
    let texts = context.accepted(to, "sms").await?;
    let passed = status == 429 && (590..=600).contains(&wait) && texts == 5;
    Ok(result(passed, format!("{texts} texts, then {status}, the next in {wait} s")))
}

async fn expired(context: ScenarioContext) -> Result<ScenarioResult, Failure> {
    let to = "+447700900109";
    let (_, _, id) = context.post(to, json!({"life_s": 14})).await?;
    let timeline = context.follow(id).await?;
    let texts = context.accepted(to, "sms").await?;
    Ok(result(timeline.state == State::Expired && texts == 0, format!("{}, {texts} texts", timeline.state)))
}

async fn impossible(context: ScenarioContext) -> Result<ScenarioResult, Failure> {
    let (status, body, _) = context.post("+9991234567", json!({})).await?;
    let passed = status == 422 && body["reason"] == Reason::NumberNotPossible.as_str();
    Ok(result(passed, format!("{status}, {}", body["detail"].as_str().unwrap_or("no reason"))))
}

async fn recovers(context: ScenarioContext) -> Result<ScenarioResult, Failure> {
    let to = "+447700900105";
    let (_, _, id) = context.post(to, json!({})).await?;
    let timeline = context.follow(id).await?;
    let texts = context.accepted(to, "sms").await?;
    let passed = timeline.state == State::Delivered && texts == 1 && timeline.attempts.len() == 3;
    Ok(result(passed, format!("{} by request {}, {texts} text", timeline.state, timeline.attempts.len())))
}

async fn hangs_up(context: ScenarioContext) -> Result<ScenarioResult, Failure> {
    let to = "+447700900106";
    let (_, _, id) = context.post(to, json!({})).await?;
    let timeline = context.follow(id).await?;
    let texts = context.accepted(to, "sms").await?;
    let explained = timeline
        .attempts
        .get(1)
        .is_some_and(|a| a.repeats.is_some() && a.says.contains("whose outcome is unknown"));
    let passed = timeline.state == State::Delivered && texts == 2 && explained;
    Ok(result(passed, format!("{}, one extra text; the timeline says why", timeline.state)))
}
