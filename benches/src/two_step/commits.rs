//! Four bare commits: the minimum cost of a service that stores challenges in PostgreSQL. It runs four transactions
//! of one prepared statement each: the challenge, its code and its dispatch, the confirmed dispatch, and the
//! proof. Each task has its own connection.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio_postgres::Client;

use crate::place::Place;

const TABLES: &str = "\
create table bare_challenge (id bigint primary key, state text not null, code text);
create table bare_outbox (id bigint primary key, body text not null);";

/// Runs this many rounds, and returns the duration of each.
pub(crate) async fn run(place: &Place, times: usize, at_once: usize) -> anyhow::Result<Vec<Duration>> {
    crate::ledger::connect(&place.ledger_url()).await?.batch_execute(TABLES).await?;
    let share = times.div_ceil(at_once);
    let tasks = (0..at_once).map(async |task| {
        let database = crate::ledger::connect(&place.ledger_url()).await?;
        let statements = Statements::prepare(&database).await?;
        let mut took = vec![];
        for n in task * share..((task + 1) * share).min(times) {
            let began = Instant::now();
            one(&database, &statements, i64::try_from(n)?).await?;
            took.push(began.elapsed());
        }
        anyhow::Ok(took)
    });
    Ok(try_join_all(tasks).await?.concat())
}

/// The four statements. Each is one transaction and one round trip.
struct Statements([tokio_postgres::Statement; 4]);

impl Statements {
    async fn prepare(database: &Client) -> anyhow::Result<Self> {
        let create = database.prepare("insert into bare_challenge values ($1, 'open', null)").await?;
        let order = database
            .prepare(
                "with coded as (update bare_challenge set code = '123456' where id = $1 returning id) \
                 insert into bare_outbox select id, 'job' from coded",
            )
            .await?;
        let confirm = database.prepare("delete from bare_outbox where id = $1").await?;
        let prove = database
            .prepare("update bare_challenge set state = 'verified' where id = $1 and state = 'open' and code = '123456'")
            .await?;
        Ok(Self([create, order, confirm, prove]))
    }
}

async fn one(database: &Client, Statements(statements): &Statements, id: i64) -> anyhow::Result<()> {
    for statement in statements {
        let changed = database.execute(statement, &[&id]).await?;
        anyhow::ensure!(changed == 1, "the commits wrote {changed} rows instead of one");
    }
    Ok(())
}
