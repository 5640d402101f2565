//! The floor: what any service pays that keeps a challenge in PostgreSQL. Four transactions of one or two statements each,
//! prepared, on connections of their own: the challenge, its code and the order, the order's confirmation, the proof.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio_postgres::Client;

use crate::place::Place;

const TABLES: &str = "\
create table floor_challenge (id bigint primary key, state text not null, code text);
create table floor_outbox (id bigint primary key, body text not null);";

/// Runs so many, and returns what each took.
pub(crate) async fn run(place: &Place, times: usize, at_once: usize) -> anyhow::Result<Vec<Duration>> {
    crate::ledger::connect(&place.ledger_url()).await?.batch_execute(TABLES).await?;
    let share = times.div_ceil(at_once);
    let tasks = (0..at_once).map(async |task| {
        let mut database = crate::ledger::connect(&place.ledger_url()).await?;
        let mut took = vec![];
        for n in task * share..((task + 1) * share).min(times) {
            let began = Instant::now();
            one(&mut database, i64::try_from(n)?).await?;
            took.push(began.elapsed());
        }
        anyhow::Ok(took)
    });
    Ok(try_join_all(tasks).await?.concat())
}

async fn one(database: &mut Client, id: i64) -> anyhow::Result<()> {
    let insert = database.prepare("insert into floor_challenge values ($1, 'open', null)").await?;
    let code = database.prepare("update floor_challenge set code = '123456' where id = $1").await?;
    let order = database.prepare("insert into floor_outbox values ($1, 'job')").await?;
    let confirm = database.prepare("delete from floor_outbox where id = $1").await?;
    let lock = database.prepare("select state, code from floor_challenge where id = $1 for update").await?;
    let prove = database.prepare("update floor_challenge set state = 'verified' where id = $1").await?;
    for statements in [vec![&insert], vec![&code, &order], vec![&confirm], vec![&lock, &prove]] {
        let transaction = database.transaction().await?;
        for statement in statements {
            transaction.query(statement, &[&id]).await?;
        }
        transaction.commit().await?;
    }
    Ok(())
}
