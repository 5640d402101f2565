//! The reference worker's event: published to the topic exchange on a separate connection, and confirmed.

use anyhow::ensure;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use serde_json::json;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::broker;
use crate::jobs;

pub(super) struct Events {
    /// Locked during a publish, but not while its confirm is awaited.
    channel: Mutex<Channel>,
    /// Kept open until drop.
    _connection: Connection,
}

impl Events {
    pub(super) async fn connect(url: &str) -> anyhow::Result<Self> {
        let connection = broker::connect(url, "reference worker publishing").await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel: Mutex::new(channel), _connection: connection })
    }

    /// Publishes that a job was sent. Returns after the broker's confirm.
    pub(super) async fn sent(&self, id: Uuid) -> anyhow::Result<()> {
        let event = json!({
            "specversion": "1.0",
            "id": format!("{id}/1"),
            "source": "/worker",
            "type": "io.otpost.dispatch.sent",
            "time": jobs::now(),
            "datacontenttype": "application/json",
            "data": { "id": id, "state": "sent", "channel": "sms", "attempt": format!("{id}-1") },
        });
        let body = serde_json::to_vec(&event)?;
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/cloudevents+json".into())
            .with_message_id(format!("{id}/1").into());
        let confirm = self
            .channel
            .lock()
            .await
            .basic_publish(
                broker::EVENTS.into(),
                "dispatch.sent".into(),
                BasicPublishOptions::default(),
                &body,
                properties,
            )
            .await?;
        ensure!(matches!(confirm.await?, Confirmation::Ack(_)), "the broker did not confirm an event");
        Ok(())
    }
}
