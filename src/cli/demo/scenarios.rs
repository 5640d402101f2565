//! The scenarios and their expected results. The last four digits of a number select the behaviour of the mock carrier.

use std::pin::Pin;

use serde_json::json;

use super::{Ending, Failure, Lab};
use crate::domain::attempt::{Reason, State};
use crate::domain::channel::Channel;
use crate::http::timeline::Timeline;

type Playing = Pin<Box<dyn Future<Output = Result<Ending, Failure>> + Send>>;

/// An example of what otpost does.
pub(super) struct Scenario {
    pub(super) title: &'static str,
    pub(super) play: fn(Lab) -> Playing,
}

macro_rules! scenarios {
    ($($title:literal => $play:ident),+ $(,)?) => {
        /// The scenarios in the order of the table.
        pub(super) const SCENARIOS: &[Scenario] =
            &[$(Scenario { title: $title, play: |lab| Box::pin($play(lab)) }),+];
    };
}

scenarios! {
    "a text is delivered" => text,
    "a call is delivered" => call,
    "a text is not delivered, a call follows at once" => fallback,
    "the same id is sent twice" => twice,
    "one code more than the number's quota" => quota,
    "a code expires while the carrier throttles requests" => expired,
    "an impossible number" => impossible,
    "the carrier answers 503 twice, then recovers" => recovers,
    "the carrier accepts and hangs up" => hangs_up,
}

fn ending(well: bool, saw: impl Into<String>) -> Ending {
    Ending { well, saw: saw.into() }
}

async fn text(lab: Lab) -> Result<Ending, Failure> {
    let to = "+447700901001";
    let (_, _, id) = lab.post(to, json!({})).await?;
    let timeline = lab.follow(id).await?;
    let texts = lab.accepted(to, "sms").await?;
    Ok(ending(timeline.state == State::Delivered && texts == 1, format!("{}, {texts} text", timeline.state)))
}

async fn call(lab: Lab) -> Result<Ending, Failure> {
    let to = "+447700901002";
    let (_, _, id) = lab.post(to, json!({"channels": ["voice"]})).await?;
    let timeline = lab.follow(id).await?;
    let calls = lab.accepted(to, "voice").await?;
    Ok(ending(timeline.state == State::Delivered && calls == 1, format!("{}, {calls} call", timeline.state)))
}

async fn fallback(lab: Lab) -> Result<Ending, Failure> {
    let to = "+447700900102";
    let (_, _, id) = lab.post(to, json!({"channels": ["sms", "voice"]})).await?;
    let timeline = lab.follow(id).await?;
    let gap = gap_ms(&timeline).unwrap_or(i64::MAX);
    let well = timeline.state == State::Delivered && gap < 1000;
    Ok(ending(well, format!("{}, the call {gap} ms after the receipt", timeline.state)))
}

/// Milliseconds from the bad receipt of the text to the begin of the call.
fn gap_ms(timeline: &Timeline) -> Option<i64> {
    let receipt = timeline.attempts.iter().find(|a| a.channel == Channel::Sms)?.receipt_at?;
    let call = timeline.attempts.iter().find(|a| a.channel == Channel::Voice)?;
    Some(call.begun_at.as_millisecond() - receipt.as_millisecond())
}

async fn twice(lab: Lab) -> Result<Ending, Failure> {
    let to = "+447700901004";
    let (first, _, id) = lab.post(to, json!({})).await?;
    let (second, body, _) = lab.post(to, json!({"id": id})).await?;
    let known = body["state"].as_str().unwrap_or("?").to_owned();
    let timeline = lab.follow(id).await?;
    let texts = lab.accepted(to, "sms").await?;
    let well = (first, second, texts) == (202, 200, 1) && timeline.state == State::Delivered;
    Ok(ending(well, format!("{first}, then {second} ({known}), {texts} text")))
}

async fn quota(lab: Lab) -> Result<Ending, Failure> {
    let to = "+447700901005";
    let mut ids = vec![];
    for n in 1..=5 {
        let (status, _, id) = lab.post(to, json!({})).await?;
        lab.show(format!("{n} of 5: {status}"));
        ids.push(id);
    }
    let (status, body, _) = lab.post(to, json!({})).await?;
    let wait = body["retry_after_s"].as_u64().unwrap_or(0);
    for id in ids {
        lab.follow(id).await?;
    }
    let texts = lab.accepted(to, "sms").await?;
    let well = status == 429 && (590..=600).contains(&wait) && texts == 5;
    Ok(ending(well, format!("{texts} texts, then {status}, the next in {wait} s")))
}

async fn expired(lab: Lab) -> Result<Ending, Failure> {
    let to = "+447700900109";
    let (_, _, id) = lab.post(to, json!({"life_s": 14})).await?;
    let timeline = lab.follow(id).await?;
    let texts = lab.accepted(to, "sms").await?;
    Ok(ending(timeline.state == State::Expired && texts == 0, format!("{}, {texts} texts", timeline.state)))
}

async fn impossible(lab: Lab) -> Result<Ending, Failure> {
    let (status, body, _) = lab.post("+9991234567", json!({})).await?;
    let well = status == 422 && body["reason"] == Reason::NumberNotPossible.as_str();
    Ok(ending(well, format!("{status}, {}", body["detail"].as_str().unwrap_or("no reason"))))
}

async fn recovers(lab: Lab) -> Result<Ending, Failure> {
    let to = "+447700900105";
    let (_, _, id) = lab.post(to, json!({})).await?;
    let timeline = lab.follow(id).await?;
    let texts = lab.accepted(to, "sms").await?;
    let well = timeline.state == State::Delivered && texts == 1 && timeline.attempts.len() == 3;
    Ok(ending(well, format!("{} at the {}rd request, {texts} text", timeline.state, timeline.attempts.len())))
}

async fn hangs_up(lab: Lab) -> Result<Ending, Failure> {
    let to = "+447700900106";
    let (_, _, id) = lab.post(to, json!({})).await?;
    let timeline = lab.follow(id).await?;
    let texts = lab.accepted(to, "sms").await?;
    let told = timeline
        .attempts
        .get(1)
        .is_some_and(|a| a.repeats.is_some() && a.says.contains("whose outcome is unknown"));
    let well = timeline.state == State::Delivered && texts == 2 && told;
    Ok(ending(well, format!("{}, one text more, and the timeline says why", timeline.state)))
}
