//! Posts an event to a product's webhook, signed by the rules of Standard Webhooks.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value as Json;
use sha2::Sha256;

use crate::config::Config;

/// Time-out of a webhook request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts an event. `Err` has a reason for the log, and the event is retried.
pub(super) async fn post(config: &Config, client: &reqwest::Client, body: &Json) -> Result<(), String> {
    let product = body["product"].as_str().unwrap_or_default();
    let Some(webhook) = config.product(product).and_then(|p| p.webhook.as_ref()) else { return Ok(()) };
    let key = webhook.key().ok_or_else(|| "the webhook's secret is invalid".to_owned())?;
    let id = body["id"].as_str().unwrap_or_default();
    let timestamp = crate::clock::machine_now().as_second();
    let text = body.to_string();
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&key).map_err(|_| "the webhook's secret is invalid".to_owned())?;
    mac.update(format!("{id}.{timestamp}.{text}").as_bytes());
    let signature = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
    let request = client
        .post(&webhook.url)
        .timeout(TIMEOUT)
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(text);
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("the webhook answered {}", answer.status().as_u16())),
        Err(_) => Err("the webhook cannot be reached".to_owned()),
    }
}
