//! All that a measurement needs: empty queues, a schema, a stand-in for a carrier, and a configuration of otpost.

use tokio_postgres::Client;

use crate::broker;
use crate::ledger;
use crate::otpost::Otpost;
use crate::place::Place;
use crate::standin::StandIn;

pub(crate) struct Setup {
    pub(crate) place: Place,
    pub(crate) client: Client,
    pub(crate) carrier: StandIn,
    pub(crate) otpost: Otpost,
}

impl Setup {
    /// Prepares empty queues and a new schema with otpost's tables. The hand-written workers read the same queue as otpost.
    pub(crate) async fn fresh(place: &Place, carrier: StandIn) -> anyhow::Result<Self> {
        Self::with_settings(place, carrier, "").await
    }

    /// The same, with more lines in otpost's configuration.
    pub(crate) async fn with_settings(
        place: &Place, carrier: StandIn, settings: &str,
    ) -> anyhow::Result<Self> {
        let client = ledger::connect(&place.ledger_url()).await?;
        ledger::recreate_schema(&client, place).await?;
        Self::on(place, client, carrier, settings).await
    }

    /// Prepares empty queues, and keeps the schema.
    pub(crate) async fn keeping_ledger(place: &Place, carrier: StandIn) -> anyhow::Result<Self> {
        let client = ledger::connect(&place.ledger_url()).await?;
        client.batch_execute("set enable_seqscan = off").await?;
        Self::on(place, client, carrier, "").await
    }

    async fn on(place: &Place, client: Client, carrier: StandIn, settings: &str) -> anyhow::Result<Self> {
        broker::delete_queues(&place.amqp_url).await?;
        let otpost = Otpost::new(&place.ledger_url(), Some(&place.amqp_url), &carrier.url(), settings)?;
        otpost.migrate()?;
        Ok(Self { place: place.clone(), client, carrier, otpost })
    }
}
