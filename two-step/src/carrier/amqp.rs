//! otpost over RabbitMQ.
use super::{
    Brought, CancellationToken, Carrier, CarrierAway, Event, Heard, Json, OutboxKind, TenantKey, Uuid,
    async_trait, mpsc,
};
use crate::config::BadConfig;

pub(super) struct Amqp;
impl Amqp {
    pub(super) fn new(_url: &str, _tenant: String, _key: Option<TenantKey>) -> Result<Self, BadConfig> {
        Err(BadConfig("otpost.mode = \"amqp\" comes with the next version: use http".to_owned()))
    }
}
#[async_trait]
impl Carrier for Amqp {
    async fn bring(&self, _: OutboxKind, _: &Json) -> Result<Brought, CarrierAway> {
        Err(CarrierAway(String::new()))
    }
    async fn hear(&self, _: mpsc::Sender<Event>, _: CancellationToken) {}
    async fn read_back(&self, _: Uuid) -> Result<Option<Heard>, CarrierAway> {
        Ok(None)
    }
    fn may_have_missed(&self) -> bool {
        false
    }
}
