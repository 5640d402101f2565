//! The floors' tables in `PostgreSQL`, with one statement for each job before its request and one after it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use jiff::Timestamp;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::Floor;
use crate::ledger;

/// Like otpost's default.
const CONNECTIONS: usize = 8;

impl Floor {
    /// Returns the tables and functions.
    pub(crate) fn schema(self) -> &'static str {
        match self {
            Self::Bare => include_str!("bare.sql"),
            Self::Honest => include_str!("honest.sql"),
        }
    }

    /// Returns a script that fills the tables with old finished jobs.
    pub(crate) fn filling(self) -> &'static str {
        match self {
            Self::Bare => include_str!("../fill/bare.sql"),
            Self::Honest => include_str!("../fill/honest.sql"),
        }
    }

    /// Returns the statement that claims a job. It returns whether the worker may send it.
    fn claim(self) -> &'static str {
        match self {
            Self::Bare => {
                "insert into floor_dispatch values ($1, $2, $3, $4, 'sending', null, clock_timestamp())
                 on conflict do nothing returning true"
            }
            Self::Honest => "select floor_begin($1, $2, $3, $4)",
        }
    }

    fn finish(self) -> &'static str {
        match self {
            Self::Bare => {
                "update floor_dispatch set state = 'sent', reference = $3, sent_at = clock_timestamp()
                  where id = $1 and claim = $2 and state = 'sending'"
            }
            Self::Honest => {
                "with closed as (update floor_attempt set outcome = 'accepted', reference = $3, closed_at = clock_timestamp()
                                  where id = $1 and n = 1 and claim = $2 and outcome is null returning id, closed_at)
                 update floor_dispatch d set state = 'sent', sent_at = c.closed_at from closed c where d.id = c.id"
            }
        }
    }
}

struct Connection {
    client: Client,
    claim: Statement,
    finish: Statement,
}

/// A few connections, each with its prepared statements. Jobs share them: a statement is sent behind others
/// that wait for an answer (pipelining), so no job waits for a free connection.
pub(super) struct Store {
    connections: Vec<Connection>,
    turn: AtomicUsize,
}

impl Store {
    pub(super) async fn connect(floor: Floor, url: &str) -> anyhow::Result<Self> {
        let mut connections = vec![];
        for _ in 0..CONNECTIONS {
            let client = ledger::connect(url).await?;
            let claim = client.prepare(floor.claim()).await?;
            let finish = client.prepare(floor.finish()).await?;
            connections.push(Connection { client, claim, finish });
        }
        Ok(Self { connections, turn: AtomicUsize::new(0) })
    }

    fn connection(&self) -> &Connection {
        &self.connections[self.turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS]
    }

    /// Commits the claim before the request. Returns false if the id is known, or if the number's quota is
    /// used up.
    pub(super) async fn claim(
        &self, id: Uuid, number: &str, expires_at: Timestamp, claim: Uuid,
    ) -> anyhow::Result<bool> {
        let Connection { client, claim: statement, .. } = self.connection();
        let row = client.query_opt(statement, &[&id, &number, &SystemTime::from(expires_at), &claim]).await?;
        Ok(row.is_some_and(|row| row.get(0)))
    }

    /// Commits the result. Returns false if the claim was lost.
    pub(super) async fn finish(&self, id: Uuid, claim: Uuid, reference: &str) -> anyhow::Result<bool> {
        let Connection { client, finish, .. } = self.connection();
        Ok(client.execute(finish, &[&id, &claim, &reference]).await? == 1)
    }
}
