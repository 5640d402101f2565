//! Costs outside the worker during a measurement.

use tokio_postgres::Client;

use crate::ledger;
use crate::place::Place;
use crate::processes;
use crate::standin::StandIn;

/// Processor time of all processes except the worker, in microseconds, and bytes of write-ahead log.
#[derive(Debug, Clone)]
pub(crate) struct Costs {
    pub(crate) postgres: Option<u64>,
    pub(crate) rabbitmq: Option<u64>,
    pub(crate) carrier: u64,
    pub(crate) own: u64,
    pub(crate) machine: u64,
    pub(crate) wal_bytes: Option<u64>,
}

impl Costs {
    pub(crate) async fn now(client: &Client, place: &Place, carrier: &StandIn) -> anyhow::Result<Self> {
        Ok(Self {
            postgres: ledger::postmaster(client).await?.map(processes::family_cpu_us).transpose()?,
            rabbitmq: (!place.rabbitmq_pid.is_empty())
                .then(|| processes::sum_cpu_us(&place.rabbitmq_pid))
                .transpose()?,
            carrier: carrier.cpu_us()?,
            own: processes::cpu_us(std::process::id())?,
            machine: processes::machine_cpu_us()?,
            wal_bytes: Some(ledger::wal_position(client).await?),
        })
    }

    /// Returns the costs between two measurements.
    pub(crate) fn since(self, before: &Self) -> Self {
        let both = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            postgres: both(self.postgres, before.postgres),
            rabbitmq: both(self.rabbitmq, before.rabbitmq),
            carrier: self.carrier - before.carrier,
            own: self.own - before.own,
            machine: self.machine - before.machine,
            wal_bytes: both(self.wal_bytes, before.wal_bytes),
        }
    }
}
