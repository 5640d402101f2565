//! The ledger's schema: other versions of it, migrations at the same time, rights, and rows of another version. On PostgreSQL, which
//! several processes share; migrations of an older schema on SQLite too.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use otpost::domain::attempt::{Reason, Receipt, ReceiptStatus, State};
use otpost::domain::clock::{Clock, after, now};
use otpost::ledger::{
    Admission, AttemptReceipt, BeginRequest, Destinations, Ledger, LedgerError, NewAttempt, NewPause,
    OperatorAct, Receiver, RecordResult, Refusal,
};
use support::ledger_driver::{SMS, job, with_begin};
use support::world::{Backend, TempDir, World, connect, fresh_schema, ledger_at};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

fn queued(number: &str) -> Admission {
    job(&[SMS], number, after(now(), Duration::from_secs(300)))
}

/// Fails if a process wants the schema's version to equal its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_schema_is_used_if_it_is_compatible() {
    let world = World::with_system_clock(Backend::Postgres).await;
    let look = connect(&world.url).await;
    let later = "insert into refinery_schema_history (version, name, applied_on, checksum)
                 select max(version) + 1, 'later', max(applied_on), '0' from refinery_schema_history";
    look.execute(later, &[]).await.unwrap();
    world.ledger.check().await.unwrap();
    world.ledger.migrate().await.unwrap();
    world.ledger.admit(queued("a")).await.unwrap();
    look.execute("update compatibility set oldest_version = 99", &[]).await.unwrap();
    let problem = world.ledger.check().await.unwrap_err().to_string();
    assert!(
        problem.contains("with otpost's schema 99 or later") && problem.ends_with("; update otpost"),
        "{problem}"
    );
}

/// The migrations of the schema that had no pauses in one country.
macro_rules! third_schema {
    ($database:literal) => {
        [
            ("V1__ledger", include_str!(concat!("../migrations/", $database, "/0001_ledger.sql"))),
            (
                "V2__housekeeping",
                include_str!(concat!("../migrations/", $database, "/0002_housekeeping.sql")),
            ),
            ("V3__operations", include_str!(concat!("../migrations/", $database, "/0003_operations.sql"))),
        ]
        .map(|(name, sql)| refinery::Migration::unapplied(name, sql).unwrap())
    };
}

/// Statements of the version with that schema. It may run beside the new one.
const OLD_PAUSE: &str = "insert into carrier_pause (carrier, reason, paused_by, paused_at, until) values ('c1', 'no receipts', 'key1', ";
const OLD_READ: &str = "select carrier, reason, paused_by from carrier_pause order by carrier";

/// Migrates a ledger that has a pause, and adds one in a country.
async fn keep_the_pause(url: &str) {
    let ledger = ledger_at(url, Clock::System);
    ledger.migrate().await.unwrap();
    ledger.check().await.unwrap();
    let country = Some("ID".to_owned());
    let pause =
        NewPause { carrier: "c1".to_owned(), country, reason: "loses texts".to_owned(), duration: None };
    let record = ledger.new_record("key1", OperatorAct::CarrierPause, "carrier c1 in ID", None);
    ledger.pause_carrier(&pause, &record).await.unwrap();
    let pauses = ledger.restrictions().await.unwrap().pauses;
    let pauses: Vec<_> =
        pauses.iter().map(|p| (p.country.as_deref(), p.reason.as_str(), p.until.is_some())).collect();
    assert_eq!(pauses, [(None, "no receipts", true), (Some("ID"), "loses texts", false)]);
}

/// Fails if the migration loses a pause or makes it one for a country, or if the version before cannot read the new schema.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_an_older_schema_holds_everywhere_after_the_migration() {
    let url = fresh_schema().await;
    let mut old = connect(&url).await;
    refinery::Runner::new(&third_schema!("postgres")).run_async(&mut old).await.unwrap();
    let until = "clock_timestamp(), clock_timestamp() + make_interval(hours => 1))";
    old.batch_execute(&format!("{OLD_PAUSE} {until}")).await.unwrap();
    keep_the_pause(&url).await;
    let carriers: Vec<String> =
        old.query(OLD_READ, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(carriers, ["c1", "c1"]);
    let pause = format!("{OLD_PAUSE} {until} on conflict (carrier) do update set reason = excluded.reason");
    let refused = old.batch_execute(&pause).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INVALID_COLUMN_REFERENCE), "it cannot pause: {refused}");
    let resume =
        "delete from carrier_pause where carrier = 'c1' and (until is null or until > clock_timestamp())";
    assert_eq!(old.execute(resume, &[]).await.unwrap(), 2, "its resume ends all pauses of the carrier");
    let oldest = old.query_one("select max(oldest_version) from compatibility", &[]).await.unwrap();
    assert!(oldest.get::<_, i32>(0) <= 3, "the version before may run on it");
}

/// The same in a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_an_older_schema_in_a_file_holds_everywhere_after_the_migration() {
    let folder = TempDir::new();
    let file = folder.0.join("ledger.db");
    let mut old = rusqlite::Connection::open(&file).unwrap();
    refinery::Runner::new(&third_schema!("sqlite")).run(&mut old).unwrap();
    old.execute_batch(&format!("{OLD_PAUSE} 1767268800000000, 4102444800000000)")).unwrap();
    keep_the_pause(&format!("sqlite:{}", file.display())).await;
    let replaced = OLD_PAUSE.replace("insert", "insert or replace");
    old.execute_batch(&format!("{replaced} 1767268800000000, null)")).unwrap();
    let mut statement = old.prepare(OLD_READ).unwrap();
    let reasons: Vec<String> =
        statement.query_map([], |row| row.get(1)).unwrap().map(Result::unwrap).collect();
    assert_eq!(reasons.len(), 2, "a pause of the version before replaces the one everywhere: {reasons:?}");
    let oldest: i64 =
        old.query_row("select max(oldest_version) from compatibility", [], |row| row.get(0)).unwrap();
    assert!(oldest <= 3, "the version before may run on it");
}

/// Fails without the advisory lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_at_the_same_time_wait_for_each_other() {
    let url = fresh_schema().await;
    let ledgers: Vec<_> = (0..4).map(|_| ledger_at(&url, Clock::System)).collect();
    for migrated in join_all(ledgers.iter().map(Ledger::migrate)).await {
        migrated.unwrap();
    }
    ledgers[0].check().await.unwrap();
}

/// Fails if the error says only that the schema is of another version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_somebody_else_is_named_as_the_reason() {
    let url = fresh_schema().await;
    connect(&url).await.batch_execute("create table worker (hours int)").await.unwrap();
    let problem = ledger_at(&url, Clock::System).migrate().await.unwrap_err().to_string();
    assert!(problem.ends_with("name an empty schema in ledger.url"), "{problem}");
}

/// `migrate` needs CREATE. The service needs no more than to read and write rows.
///
/// Fails if a statement of the service needs TRUNCATE or another right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named_and_row_rights_are_enough_for_the_service() {
    let url = fresh_schema().await;
    let schema = url.rsplit_once("%3D").unwrap().1;
    let admin = connect(&url).await;
    let role = format!("r_{}", Uuid::now_v7().simple());
    let run = async |sql: String| admin.batch_execute(&sql).await.unwrap();
    run(format!("create role {role} login password 'secret'")).await;
    let (_, place) = url.split_once('@').unwrap();
    let theirs = ledger_at(&format!("postgres://{role}:secret@{place}"), Clock::System);
    let elsewhere = url.replace(schema, "nowhere");
    let problem = ledger_at(&elsewhere, Clock::System).migrate().await.unwrap_err().to_string();
    assert!(problem.contains("the schema in ledger.url (its search_path) does not exist"), "{problem}");
    let usage = format!("GRANT USAGE ON SCHEMA {schema} TO it");
    let problem = theirs.migrate().await.unwrap_err().to_string();
    assert!(problem.contains(&usage), "{problem}");
    run(format!("grant usage on schema {schema} to {role}")).await;
    let problem = theirs.migrate().await.unwrap_err().to_string();
    assert!(problem.contains("needs CREATE on the schema"), "{problem}");
    run(format!("revoke usage on schema {schema} from {role}")).await;
    ledger_at(&url, Clock::System).migrate().await.unwrap();
    let problem = theirs.check().await.unwrap_err().to_string();
    assert!(problem.contains(&usage), "{problem}");
    run(format!("grant usage on schema {schema} to {role}")).await;
    let problem = theirs.check().await.unwrap_err().to_string();
    assert!(problem.contains("GRANT SELECT, INSERT, UPDATE, DELETE ON "), "{problem}");
    run(format!("grant select on all tables in schema {schema} to {role}")).await;
    let problem = theirs.check().await.unwrap_err().to_string();
    assert!(problem.contains("lacks the right INSERT on the table api_key"), "{problem}");
    run(format!("grant insert, update, delete on all tables in schema {schema} to {role}")).await;
    run(format!("revoke delete on quota from {role}")).await;
    let problem = theirs.check().await.unwrap_err().to_string();
    assert!(problem.contains("lacks the right DELETE on the table quota"), "{problem}");
    run(format!("grant delete on quota to {role}")).await;
    theirs.check().await.unwrap();
    let uid = {
        let job = queued("a");
        theirs.admit(job.clone()).await.unwrap();
        job.order.uid
    };
    assert_eq!(theirs.take_due(8, 8).await.unwrap()[0].order.uid, uid);
    theirs.purge(now(), 10).await.unwrap();
    theirs.purge_quotas(10).await.unwrap();
    // After an outage a trial write decides whether the ledger accepts writes again. It needs no other right.
    let set = async |change: &str| {
        let cut = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'");
        admin.batch_execute(&format!("alter role {role} {change}; {cut}")).await.unwrap();
    };
    set("set default_transaction_read_only = on").await;
    let refused =
        async || theirs.admit(queued("b")).await.err().filter(|e| matches!(e, LedgerError::Unwritable(_)));
    assert!(support::wait::within(support::wait::TIMEOUT, refused).await.is_some());
    theirs.check().await.unwrap_err();
    set("reset default_transaction_read_only").await;
    let accepts = async || theirs.check().await.ok();
    assert!(support::wait::within(support::wait::TIMEOUT, accepts).await.is_some());
    theirs.admit(queued("c")).await.unwrap();
    admin.batch_execute(&format!("drop owned by {role}; drop role {role}")).await.unwrap();
}

/// Somebody has dropped or renamed a table, or restored a part of the database.
///
/// Fails if a process starts without the table, or if it is told to run migrations that have run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_table_is_named_and_nothing_is_lost_when_it_is_back() {
    let url = fresh_schema().await;
    let admin = connect(&url).await;
    let ledger = ledger_at(&url, Clock::System);
    ledger.migrate().await.unwrap();
    let job = queued("a");
    ledger.admit(job.clone()).await.unwrap();
    admin.batch_execute("alter table timer rename to elsewhere").await.unwrap();
    let without = ledger_at(&url, Clock::System);
    for problem in [without.check().await.map(drop), without.migrate().await] {
        let problem = problem.unwrap_err().to_string();
        assert!(problem.contains("table timer is missing") && problem.contains("from a backup"), "{problem}");
    }
    admin.batch_execute("alter table elsewhere rename to timer").await.unwrap();
    without.check().await.unwrap();
    assert_eq!(without.take_due(8, 8).await.unwrap()[0].order.uid, job.order.uid);
}

/// Another version has written a state that this one does not know.
///
/// Fails if a row that cannot be read makes its whole group fail, or counts as a lost commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_another_version_is_left_alone_and_its_neighbours_go_on() {
    let world = World::with_system_clock(Backend::Postgres).await;
    let ledger = &world.ledger;
    let jobs = ["a", "b", "c"].map(queued);
    for job in &jobs {
        ledger.admit(job.clone()).await.unwrap();
    }
    let sent = with_begin(queued("d"));
    ledger.admit(sent.clone()).await.unwrap();
    let look = connect(&world.url).await;
    let park = "update dispatch set state = 'parked' where uid = any($1)";
    look.execute(park, &[&vec![jobs[1].order.uid, sent.order.uid]]).await.unwrap();
    let taken: Vec<Uuid> = ledger.take_due(8, 8).await.unwrap().iter().map(|d| d.order.uid).collect();
    assert_eq!(taken.len(), 2, "{taken:?}");
    assert!(!taken.contains(&jobs[1].order.uid));
    let attempt = NewAttempt::new(SMS, "c1", Duration::from_secs(10), None);
    let uid = jobs[1].order.uid;
    let begin = BeginRequest { uid, expected_version: 1, step: 1, attempt, channel_limit: None };
    assert_eq!(
        ledger.begin(begin).await,
        Err(LedgerError::UnknownForm),
        "a row that cannot be read is not lost"
    );
    // A receipt for it is kept, and matched later.
    let receipt =
        Receipt { status: ReceiptStatus::Delivered, reason: None, carrier_code: None, message_id: None };
    let of_another = AttemptReceipt { uid: sent.order.uid, n: 1, carrier: "c1".to_owned(), receipt };
    assert_eq!(ledger.record(of_another).await.unwrap(), RecordResult::Stray);
    look.execute("update dispatch set state = 'sending' where uid = $1", &[&sent.order.uid]).await.unwrap();
    assert_eq!(ledger.match_strays().await.unwrap(), 1);
}

/// Fails if an event that cannot be read is deleted with the other events of its outbox row, or keeps them back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_another_version_is_left_alone_and_its_neighbours_go_on() {
    let world = World::with_system_clock(Backend::Postgres).await;
    let ledger = &world.ledger;
    let refusal = Some(Refusal { state: State::Expired, reason: Reason::Life });
    let jobs: Vec<Admission> = (0..3).map(|n| Admission { refusal, ..queued(&n.to_string()) }).collect();
    join_all(jobs.iter().map(|job| ledger.admit(job.clone()))).await;
    let look = connect(&world.url).await;
    let park = "update outbox set due_at = clock_timestamp(),
                       events = array(select case when e ~ $1 then replace(e, '\"expired\"', '\"parked\"') else e end from unnest(events) e)";
    look.execute(park, &[&jobs[1].order.uid.to_string()]).await.unwrap();
    let mut read = vec![];
    for batch in ledger.take_events(&Receiver::Broker, 100).await.unwrap() {
        read.extend(batch.events.iter().map(|pending| pending.uid));
        ledger.mark_delivered(&batch);
    }
    ledger.delete_delivered().await.unwrap();
    read.sort_unstable();
    assert_eq!(read, [jobs[0].order.uid, jobs[2].order.uid]);
    let left = look.query_one("select uids, events[1] from outbox", &[]).await.unwrap();
    assert_eq!(left.get::<_, Vec<Uuid>>(0), [jobs[1].order.uid]);
    assert!(left.get::<_, &str>(1).contains("parked"));
}

/// Fails if a replay of one event loses its neighbours that cannot be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_keeps_the_events_of_another_version() {
    let world = World::with_system_clock(Backend::Postgres).await;
    let ledger = &world.ledger;
    let refusal = Some(Refusal { state: State::Expired, reason: Reason::Life });
    let destinations = Destinations { broker: false, webhook: true };
    let jobs: Vec<Admission> =
        (0..4).map(|n| Admission { refusal, destinations, ..queued(&n.to_string()) }).collect();
    join_all(jobs.iter().map(|job| ledger.admit(job.clone()))).await;
    let look = connect(&world.url).await;
    // The events have failed. Those of one row, but one, are of another version.
    let park = "update outbox set due_at = null,
                       events = array(select case when e ~ $1 then e else replace(e, '\"expired\"', '\"parked\"') end from unnest(events) e)";
    look.execute(park, &[&jobs[2].order.uid.to_string()]).await.unwrap();
    let parked = "select coalesce(sum(cardinality(uids)), 0)::bigint from outbox where due_at is null";
    assert_eq!(look.query_one(parked, &[]).await.unwrap().get::<_, i64>(0), 4);
    assert_eq!(ledger.replay_webhooks("default", Some((jobs[2].order.uid, 1))).await.unwrap(), 1);
    assert_eq!(look.query_one(parked, &[]).await.unwrap().get::<_, i64>(0), 3);
    let due = ledger.take_events(&Receiver::Webhook("default".to_owned()), 10).await.unwrap();
    let due: Vec<Uuid> = due.iter().flat_map(|batch| &batch.events).map(|pending| pending.uid).collect();
    assert_eq!(due, [jobs[2].order.uid]);
}
