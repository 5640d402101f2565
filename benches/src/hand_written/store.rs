//! The hand-written workers' tables in `PostgreSQL`: one statement before the request and one after it. The simple worker writes each job by itself, the
//! reference worker writes groups.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::HandWritten;
use super::groups::Groups;
use crate::ledger;

/// Like otpost's default.
const CONNECTIONS: usize = 8;
/// How long a small group of results waits for more. Claims wait for nothing, because their request waits for them.
const GATHERING: Duration = Duration::from_millis(3);
/// The planner left alone costs four times as much on fresh tables.
const PINNED: &str =
    "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_hashjoin = off;
                      set enable_mergejoin = off; set jit = off";

impl HandWritten {
    /// Returns the tables.
    pub(crate) fn schema(self) -> &'static str {
        match self {
            Self::Simple => include_str!("simple.sql"),
            Self::Reference => include_str!("reference.sql"),
        }
    }
}

const CLAIM: &str = "insert into worker_dispatch values ($1, $2, $3, $4, 'sending', null, clock_timestamp())
                     on conflict do nothing returning true";
const FINISH: &str = "update worker_dispatch set state = 'sent', reference = $3, sent_at = clock_timestamp()
                       where id = $1 and claim = $2 and state = 'sending'";

/// Takes a quota use of 5/10m and 10/1d under the lock of each number's row, and writes the attempts. The upsert waits for that lock
/// and then reads the current row, so exactly as many pass as the rules allow, with any number of workers. Returns the jobs that may
/// be sent. A group has distinct ids and numbers.
const CLAIM_GROUP: &str = "
    with jobs as materialized (
        select j.* from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::uuid[]) as j(id, number, expires_at, claim)
         where not exists (select from worker_dispatch d where d.id = j.id) order by j.number),
    passed as (
        insert into worker_quota as q select number, array[clock_timestamp()] from jobs
        on conflict (number) do update
           set slots = (q.slots || clock_timestamp())[greatest(1, cardinality(q.slots) - 8):]
         where (cardinality(q.slots) < 5 or q.slots[cardinality(q.slots) - 4] <= clock_timestamp() - interval '10 minutes')
           and (cardinality(q.slots) < 10 or q.slots[cardinality(q.slots) - 9] <= clock_timestamp() - interval '1 day')
        returning number)
    insert into worker_dispatch
    select id, number, expires_at, case when number = any(array(select number from passed)) then 'sending' else 'limited' end,
           claim, clock_timestamp() from jobs
    returning id, state = 'sending'";
/// Writes the results of a group, each fenced by its claim. Returns the jobs whose claim was still valid.
const FINISH_GROUP: &str = "
    update worker_dispatch d set state = 'sent', reference = j.reference, sent_at = clock_timestamp()
      from unnest($1::uuid[], $2::uuid[], $3::text[]) as j(id, claim, reference)
     where d.id = j.id and d.claim = j.claim and d.state = 'sending' returning d.id";

pub(super) struct Claim {
    id: Uuid,
    number: String,
    expires_at: SystemTime,
    key: Uuid,
}

pub(super) struct Finish {
    id: Uuid,
    claim: Uuid,
    reference: String,
}

/// The two ways to write.
pub(super) enum Store {
    /// A few connections, each with its prepared statements. Jobs share them: a statement is sent behind others that wait for an
    /// answer (pipelining), so no job waits for a free connection.
    EachJob { connections: Vec<(Client, Statement, Statement)>, turn: AtomicUsize },
    /// One connection for claims and one for results.
    Grouped { claims: Groups<Claim, bool>, results: Groups<Finish, bool> },
}

impl Store {
    pub(super) async fn connect(which: HandWritten, url: &str) -> anyhow::Result<Self> {
        match which {
            HandWritten::Simple => Self::each_job(url).await,
            HandWritten::Reference => Self::grouped(url).await,
        }
    }

    async fn each_job(url: &str) -> anyhow::Result<Self> {
        let mut connections = vec![];
        for _ in 0..CONNECTIONS {
            let client = ledger::connect(url).await?;
            let claim = client.prepare(CLAIM).await?;
            let finish = client.prepare(FINISH).await?;
            connections.push((client, claim, finish));
        }
        Ok(Self::EachJob { connections, turn: AtomicUsize::new(0) })
    }

    async fn grouped(url: &str) -> anyhow::Result<Self> {
        let (claiming, finishing) = (ledger::connect(url).await?, ledger::connect(url).await?);
        for client in [&claiming, &finishing] {
            client.batch_execute(PINNED).await?;
        }
        let (claim, finish) = (claiming.prepare(CLAIM_GROUP).await?, finishing.prepare(FINISH_GROUP).await?);
        let (claims, writing_claims) = Groups::start(
            Duration::ZERO,
            |item: &Claim| item.number.clone(),
            async move |group: &[Claim]| {
                let ids: Vec<Uuid> = group.iter().map(|item| item.id).collect();
                let numbers: Vec<&str> = group.iter().map(|item| item.number.as_str()).collect();
                let expiries: Vec<SystemTime> = group.iter().map(|item| item.expires_at).collect();
                let keys: Vec<Uuid> = group.iter().map(|item| item.key).collect();
                let rows = claiming.query(&claim, &[&ids, &numbers, &expiries, &keys]).await?;
                let passed: HashSet<Uuid> =
                    rows.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
                Ok(ids.iter().map(|id| passed.contains(id)).collect())
            },
        );
        let (results, writing_results) = Groups::start(
            GATHERING,
            |item: &Finish| item.id,
            async move |group: &[Finish]| {
                let mut sorted: Vec<&Finish> = group.iter().collect();
                sorted.sort_unstable_by_key(|item| item.id);
                let ids: Vec<Uuid> = sorted.iter().map(|item| item.id).collect();
                let keys: Vec<Uuid> = sorted.iter().map(|item| item.claim).collect();
                let references: Vec<&str> = sorted.iter().map(|item| item.reference.as_str()).collect();
                let rows = finishing.query(&finish, &[&ids, &keys, &references]).await?;
                let written: HashSet<Uuid> = rows.iter().map(|row| row.get(0)).collect();
                Ok(group.iter().map(|item| written.contains(&item.id)).collect())
            },
        );
        tokio::spawn(writing_claims);
        tokio::spawn(writing_results);
        Ok(Self::Grouped { claims, results })
    }

    /// Commits the claim before the request. Returns false if the id is known, or if the number's quota is used up.
    pub(super) async fn claim(
        &self, id: Uuid, number: &str, expires_at: Timestamp, claim: Uuid,
    ) -> anyhow::Result<bool> {
        let expires_at = SystemTime::from(expires_at);
        match self {
            Self::EachJob { connections, turn } => {
                let (client, statement, _) = &connections[turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS];
                let row = client.query_opt(statement, &[&id, &number, &expires_at, &claim]).await?;
                Ok(row.is_some_and(|row| row.get(0)))
            }
            Self::Grouped { claims, .. } => {
                claims.write(Claim { id, number: number.to_owned(), expires_at, key: claim }).await
            }
        }
    }

    /// Commits the result. Returns false if the claim was lost.
    pub(super) async fn finish(&self, id: Uuid, claim: Uuid, reference: &str) -> anyhow::Result<bool> {
        match self {
            Self::EachJob { connections, turn } => {
                let (client, _, statement) = &connections[turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS];
                Ok(client.execute(statement, &[&id, &claim, &reference]).await? == 1)
            }
            Self::Grouped { results, .. } => {
                results.write(Finish { id, claim, reference: reference.to_owned() }).await
            }
        }
    }
}
