//! The contract of the ledger's operations for operators, on both databases.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use otpost::domain::attempt::{AttemptId, Receipt, ReceiptStatus, State};
use otpost::domain::dispatch::Stop;
use otpost::domain::restrictions::BlockKind;
use otpost::ledger::{
    Admission, AttemptReceipt, DispatchSearch, EraseStep, NewAuditRecord, NewBlock, NewPause, OperatorAct,
    Refusal, RetryResult, SearchBy, StopRequest,
};
use uuid::Uuid;

use crate::support::ledger_driver::{LedgerDriver, SMS, accepted, job, limit, with_begin};
use crate::support::on_both;
use crate::support::world::{Backend, World, connect};

fn record(p: &LedgerDriver, act: OperatorAct, subject: &str) -> NewAuditRecord {
    p.world.ledger.new_record("key1", act, subject, Some("a test"))
}

fn number_search(keys: &[&str], limit: usize) -> DispatchSearch {
    DispatchSearch {
        by: SearchBy::Number(keys.iter().map(|key| format!("number {key}")).collect()),
        from: jiff::Timestamp::UNIX_EPOCH,
        to: None,
        before: None,
        state: None,
        tenant: None,
        limit,
    }
}

/// A uid of this time after time zero.
fn uid_at(p: &LedgerDriver, seconds: f64) -> Uuid {
    let millis = u64::try_from(p.world.time(seconds).as_millisecond()).unwrap();
    uuid::Builder::from_unix_timestamp_millis(millis, &rand()).into_uuid()
}

fn rand() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&Uuid::new_v4().as_bytes()[..10]);
    bytes
}

/// The tables with a row that contains one of these texts.
async fn tables_with(world: &World, needles: &[String]) -> Vec<String> {
    let mut found = vec![];
    if let Some(path) = world.url.strip_prefix("sqlite:") {
        let db = rusqlite::Connection::open(path).unwrap();
        let names = |sql: &str| -> Vec<String> {
            let mut statement = db.prepare(sql).unwrap();
            statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
        };
        for table in names("select name from sqlite_master where type = 'table'") {
            for column in names(&format!("select name from pragma_table_info('{table}')")) {
                for needle in needles {
                    let sql = format!("select count(*) from {table} where instr({column}, ?1) > 0");
                    let rows: i64 = db.query_row(&sql, [needle], |r| r.get(0)).unwrap();
                    found.extend((rows > 0).then(|| format!("{table}.{column}: {needle}")));
                }
            }
        }
        return found;
    }
    let db = connect(&world.url).await;
    let tables =
        "select table_name::text from information_schema.tables where table_schema = current_schema()";
    for row in db.query(tables, &[]).await.unwrap() {
        let table: String = row.get(0);
        for needle in needles {
            let sql = format!("select count(*) from {table} t where strpos(t::text, $1) > 0");
            let rows: i64 = db.query_one(&sql, &[needle]).await.unwrap().get(0);
            found.extend((rows > 0).then(|| format!("{table}: {needle}")));
        }
    }
    found
}

on_both! {

async fn a_pause_holds_until_it_ends_or_is_resumed(p) {
    let ledger = &p.world.ledger;
    let empty = ledger.restriction_revision().await.unwrap();
    let pause = |carrier: &str, seconds: Option<u64>| NewPause {
        carrier: carrier.to_owned(), country: None, reason: "no receipts".to_owned(), duration: seconds.map(Duration::from_secs),
    };
    let audit = record(&p, OperatorAct::CarrierPause, "carrier c1");
    ledger.pause_carrier(&pause("c1", None), &audit).await.unwrap();
    ledger.pause_carrier(&pause("c1", None), &audit).await.unwrap();
    ledger.pause_carrier(&pause("c2", Some(60)), &record(&p, OperatorAct::CarrierPause, "carrier c2")).await.unwrap();
    let mut stored = ledger.restrictions().await.unwrap();
    assert_ne!(stored.revision, empty);
    assert_eq!(stored.revision, ledger.restriction_revision().await.unwrap());
    let first = &stored.pauses[0];
    assert_eq!((first.carrier.as_str(), first.reason.as_str(), first.paused_by.as_str()), ("c1", "no receipts", "key1"));
    assert_eq!((first.paused_at, first.until), (p.t(0), None));
    assert_eq!((stored.pauses[1].until, stored.next_end()), (Some(p.t(60)), Some(p.t(60))));
    assert!(stored.in_force().is_paused("c2", None));
    stored.retain_in_force(p.t(60));
    assert!(stored.in_force().is_paused("c1", None) && !stored.in_force().is_paused("c2", None));

    // A second pause replaces the first, and removes those that have ended.
    p.world.at(61.0).await;
    ledger.pause_carrier(&pause("c1", Some(10)), &record(&p, OperatorAct::CarrierPause, "carrier c1")).await.unwrap();
    let stored = ledger.restrictions().await.unwrap();
    assert_eq!(stored.pauses.iter().map(|pause| (pause.carrier.as_str(), pause.until)).collect::<Vec<_>>(), [("c1", Some(p.t(71)))]);
    let resume = record(&p, OperatorAct::CarrierResume, "carrier c1");
    assert!(ledger.resume_carrier("c1", None, &resume).await.unwrap());
    let revision = ledger.restriction_revision().await.unwrap();
    assert_ne!(revision, stored.revision);
    assert!(!ledger.resume_carrier("c1", None, &record(&p, OperatorAct::CarrierResume, "carrier c1")).await.unwrap());
    ledger.pause_carrier(&pause("c3", Some(1)), &record(&p, OperatorAct::CarrierPause, "carrier c3")).await.unwrap();
    p.world.at(70.0).await;
    assert!(!ledger.resume_carrier("c3", None, &record(&p, OperatorAct::CarrierResume, "carrier c3")).await.unwrap(), "it has ended");

    let audit = ledger.audit(jiff::Timestamp::UNIX_EPOCH, None, 100).await.unwrap();
    let mut acts: Vec<(&str, &str)> = audit.iter().map(|r| (r.act.as_str(), r.subject.as_str())).collect();
    acts.sort_unstable();
    let pauses = ["c1", "c1", "c2", "c3"].map(|c| format!("carrier {c}"));
    let mut expected: Vec<(&str, &str)> = pauses.iter().map(|c| ("carrier_pause", c.as_str())).collect();
    expected.push(("carrier_resume", "carrier c1"));
    assert_eq!(acts, expected, "a repeated write is one record, and an act without effect is none");
    let first = audit.last().unwrap();
    assert_eq!((first.at, first.who.as_str(), first.reason.as_deref()), (p.t(0), "key1", Some("a test")));
}

/// Fails if a pause in one country replaces or ends with another one, or if a carrier that is resumed everywhere stays paused in a country.
async fn pauses_of_a_carrier_in_countries_are_independent(p) {
    let ledger = &p.world.ledger;
    let pause = async |country: Option<&str>, seconds: Option<u64>| {
        let (carrier, country) = ("c1".to_owned(), country.map(str::to_owned));
        let pause = NewPause { carrier, country, reason: "loses texts".to_owned(), duration: seconds.map(Duration::from_secs) };
        ledger.pause_carrier(&pause, &record(&p, OperatorAct::CarrierPause, "carrier c1")).await.unwrap();
    };
    let resume = async |carrier: &str, country: Option<&str>| {
        let record = record(&p, OperatorAct::CarrierResume, "carrier c1");
        ledger.resume_carrier(carrier, country, &record).await.unwrap()
    };
    let stored = async || {
        let pauses = ledger.restrictions().await.unwrap().pauses;
        pauses.into_iter().map(|pause| (pause.country, pause.until)).collect::<Vec<_>>()
    };
    let id = || Some("ID".to_owned());
    pause(Some("NG"), Some(30)).await;
    pause(Some("ID"), None).await;
    pause(None, Some(60)).await;
    let ng = (Some("NG".to_owned()), Some(p.t(30)));
    assert_eq!(stored().await, [(None, Some(p.t(60))), (id(), None), ng.clone()]);
    pause(Some("ID"), Some(90)).await;
    assert_eq!(stored().await, [(None, Some(p.t(60))), (id(), Some(p.t(90))), ng], "it replaces its own country's");

    // Each ends by itself.
    let mut restrictions = ledger.restrictions().await.unwrap();
    for (seconds, countries) in [(0, [true, true, true]), (30, [true, true, true]), (60, [false, true, false]), (90, [false; 3])] {
        restrictions.retain_in_force(p.t(seconds));
        let in_force = restrictions.in_force();
        let paused = [None, Some("ID"), Some("NG")].map(|country| in_force.is_paused("c1", country));
        assert_eq!(paused, countries, "after {seconds} s");
    }
    p.world.at(61.0).await;
    pause(Some("DE"), None).await;
    let de = || (Some("DE".to_owned()), None);
    assert_eq!(stored().await, [de(), (id(), Some(p.t(90)))], "only those that have ended are gone");

    // With a country, only its pause ends; without one, all of them.
    assert!(!resume("c1", Some("NG")).await && !resume("c2", None).await, "there is none");
    assert!(resume("c1", Some("ID")).await && !resume("c1", Some("ID")).await);
    assert_eq!(stored().await, [de()]);
    pause(Some("ID"), None).await;
    pause(None, None).await;
    let before = ledger.restriction_revision().await.unwrap();
    assert!(resume("c1", None).await && !resume("c1", None).await);
    assert_eq!(stored().await, []);
    assert_ne!(ledger.restriction_revision().await.unwrap(), before);
}

async fn probes_are_stored_with_their_time(p) {
    let ledger = &p.world.ledger;
    let probe = record(&p, OperatorAct::CarrierProbe, "carrier c1");
    ledger.probe_carrier("c1", &probe).await.unwrap();
    p.world.at(5.0).await;
    let before = ledger.restrictions().await.unwrap();
    assert_eq!((before.probes[0].carrier.as_str(), before.probes[0].probe_at), ("c1", p.t(0)));
    ledger.probe_carrier("c1", &record(&p, OperatorAct::CarrierProbe, "carrier c1")).await.unwrap();
    let after = ledger.restrictions().await.unwrap();
    assert_eq!((after.probes.len(), after.probes[0].probe_at), (1, p.t(5)));
    assert_ne!(before.revision, after.revision);
}

async fn blocks_are_stored_replaced_and_removed(p) {
    let ledger = &p.world.ledger;
    let block = |kind, value: &str, seconds: Option<u64>| NewBlock {
        kind, value: value.to_owned(), shown: format!("shown {value}"), reason: "fraud".to_owned(),
        duration: seconds.map(Duration::from_secs),
    };
    let add = async |new: &NewBlock| ledger.add_block(new, &record(&p, OperatorAct::BlockAdd, &new.shown)).await.unwrap();
    add(&block(BlockKind::Number, "hash", Some(30))).await;
    add(&block(BlockKind::Prefix, "+4479", None)).await;
    add(&block(BlockKind::Country, "GB", None)).await;
    add(&block(BlockKind::Country, "GB", Some(90))).await;
    let mut stored = ledger.restrictions().await.unwrap();
    assert_eq!(stored.blocks.len(), 3);
    let number = stored.blocks.iter().find(|b| b.kind == BlockKind::Number).unwrap();
    assert_eq!((number.value.as_str(), number.shown.as_str(), number.blocked_by.as_str()), ("hash", "shown hash", "key1"));
    assert_eq!((number.reason.as_str(), number.blocked_at, number.until), ("fraud", p.t(0), Some(p.t(30))));
    stored.retain_in_force(p.t(30));
    assert_eq!(stored.blocks.len(), 2);
    let remove = async |kind, value: &str| {
        ledger.remove_block(kind, value, &record(&p, OperatorAct::BlockRemove, value)).await.unwrap()
    };
    assert!(!remove(BlockKind::Number, "+4479").await, "another kind");
    assert!(remove(BlockKind::Prefix, "+4479").await);
    assert!(!remove(BlockKind::Prefix, "+4479").await);
    p.world.at(31.0).await;
    assert!(!remove(BlockKind::Number, "hash").await, "it has ended");
    let revision = ledger.restriction_revision().await.unwrap();
    add(&block(BlockKind::Prefix, "+1", None)).await;
    assert_ne!(ledger.restriction_revision().await.unwrap(), revision);
    let stored = ledger.restrictions().await.unwrap();
    let mut values: Vec<&str> = stored.blocks.iter().map(|b| b.value.as_str()).collect();
    values.sort_unstable();
    assert_eq!(values, ["+1", "GB"], "a new block removes those that have ended");
}

async fn dispatches_are_found_by_number_id_and_time_page_by_page(p) {
    let ledger = &p.world.ledger;
    let mut uids = vec![];
    for n in 0..5u32 {
        let mut new = job(&[SMS], if n == 4 { "b" } else { "a" }, p.t(300));
        Arc::make_mut(&mut new.order).uid = uid_at(&p, f64::from(n));
        new.limits = vec![];
        if n == 3 {
            "shop".clone_into(&mut Arc::make_mut(&mut new.order).tenant);
            new.refusal = Some(Refusal { state: State::Refused, reason: otpost::domain::attempt::Reason::Country });
        }
        uids.push(p.admit(&new).await);
    }
    let found = async |search: &DispatchSearch| {
        let page = ledger.search(search).await.unwrap();
        (page.dispatches.iter().map(|d| d.order.uid).collect::<Vec<_>>(), page.next)
    };
    let newest_first = |picked: &[usize]| picked.iter().map(|n| uids[*n]).collect::<Vec<_>>();

    let by_number = number_search(&["a"], 2);
    let (first, next) = found(&by_number).await;
    assert_eq!((first, next), (newest_first(&[3, 2]), Some(uids[2])));
    let (second, next) = found(&DispatchSearch { before: next, ..by_number.clone() }).await;
    assert_eq!((second, next), (newest_first(&[1, 0]), Some(uids[0])));
    assert_eq!(found(&DispatchSearch { before: next, ..by_number }).await, (vec![], None));
    assert_eq!(found(&number_search(&["a", "b"], 9)).await.0, newest_first(&[4, 3, 2, 1, 0]), "both spellings");

    let all = number_search(&["a", "b"], 9);
    assert_eq!(found(&DispatchSearch { tenant: Some("shop".to_owned()), ..all.clone() }).await.0, newest_first(&[3]));
    assert_eq!(found(&DispatchSearch { state: Some(State::Refused), ..all.clone() }).await.0, newest_first(&[3]));
    let period = DispatchSearch { by: SearchBy::Period, from: p.t(1), to: Some(p.t(4)), ..all.clone() };
    assert_eq!(found(&period).await, (newest_first(&[3, 2, 1]), None), "the end is exclusive");
    assert_eq!(found(&DispatchSearch { state: Some(State::Queued), ..period }).await.0, newest_first(&[2, 1]));

    let sender_id = ledger.read(uids[3]).await.unwrap().unwrap().order.id;
    let by_id = |id, tenants: &[&str]| DispatchSearch {
        by: SearchBy::Id { id, tenants: tenants.iter().map(|t| (*t).to_owned()).collect() }, ..all.clone()
    };
    assert_eq!(found(&by_id(sender_id, &["default", "shop"])).await.0, newest_first(&[3]));
    assert!(found(&by_id(sender_id, &["default"])).await.0.is_empty());
    assert_eq!(found(&by_id(uids[4], &["default"])).await.0, newest_first(&[4]));
}

async fn a_retry_ends_a_wait_for_a_carrier_and_nothing_else(p) {
    let ledger = &p.world.ledger;
    let waiting = p.admit(&job(&[SMS], "a", p.t(300))).await;
    p.turn_without_capacity(waiting).await;
    let before = p.read(waiting).await;
    assert!(before.snoozed_until.is_some() && ledger.take(waiting).await.unwrap().is_none(), "it waits");
    assert_eq!(ledger.retry_dispatch(waiting).await.unwrap(), RetryResult::Due { state: State::Queued });
    let after = p.read(waiting).await;
    assert_eq!((after.version, after.snoozed_until, after.wake_at), (before.version + 1, None, Some(p.t(0))));
    let begin = p.turn(waiting).await;
    assert!(begin.is_some(), "it begins");
    let row = p.begin(waiting, begin).await;
    assert_eq!(ledger.retry_dispatch(waiting).await.unwrap(), RetryResult::UnderWay { state: State::Sending });
    p.finish(&row, accepted("R1")).await;
    assert_eq!(ledger.retry_dispatch(waiting).await.unwrap(), RetryResult::UnderWay { state: State::Sent });
    p.delivered(waiting, 1).await;
    p.turn(waiting).await;
    assert_eq!(ledger.retry_dispatch(waiting).await.unwrap(), RetryResult::Final { state: State::Delivered });

    let stopped = job(&[SMS], "b", p.t(300));
    p.admit(&stopped).await;
    p.stop(&stopped, Stop::Cancel).await;
    let result = ledger.retry_dispatch(stopped.order.uid).await.unwrap();
    assert_eq!(result, RetryResult::Stopped { stop: Stop::Cancel });
    assert_eq!(ledger.retry_dispatch(Uuid::now_v7()).await.unwrap(), RetryResult::Unknown);
}

async fn a_reset_frees_a_full_quota(p) {
    let ledger = &p.world.ledger;
    let new = || Admission { limits: vec![limit("q1", &["1/10m"])], ..job(&[SMS], "a", p.t(300)) };
    p.admit(&new()).await;
    let keys = ["q1".to_owned(), "q2".to_owned()];
    let quotas = ledger.quotas(&keys).await.unwrap();
    assert_eq!((quotas.uses("q1"), quotas.uses("q2")), (&[p.t(0)][..], &[][..]));
    let refused = new();
    p.admit(&refused).await;
    assert_eq!(p.read(refused.order.uid).await.state, State::Limited);
    let audit = record(&p, OperatorAct::QuotaReset, "number +44•••23");
    assert_eq!(ledger.delete_quotas(&keys, &audit).await.unwrap(), 1);
    let again = new();
    p.admit(&again).await;
    assert_eq!(p.read(again.order.uid).await.state, State::Queued);
    let audit = ledger.audit(jiff::Timestamp::UNIX_EPOCH, None, 9).await.unwrap();
    assert_eq!(audit.iter().map(|r| r.act.as_str()).collect::<Vec<_>>(), ["quota_reset"]);
}

// Fails if a row of the number stays in any table, or if one of another number goes with it.
async fn an_erased_number_is_in_no_table(p) {
    let ledger = &p.world.ledger;
    let of = |number: &str| Admission {
        content: format!("content of {number}"),
        limits: vec![limit(&format!("quota of {number}"), &["9/10m"])],
        ..job(&[SMS], number, p.t(300))
    };
    let refused = |number: &str| Admission {
        refusal: Some(Refusal { state: State::Refused, reason: otpost::domain::attempt::Reason::Country }), ..of(number)
    };
    // Their events share a row of the outbox if they are in one group.
    let (gone, kept) = (refused("gone"), refused("kept"));
    join_all([&gone, &kept].map(|job| p.admit(job))).await;
    let sent = with_begin(of("gone"));
    let uid = p.admit(&sent).await;
    let row = p.read(uid).await.d;
    ledger.store_message_id("c1", "M1", AttemptId { uid, n: 1 }).await.unwrap();
    p.finish(&row, accepted("M1")).await;
    let stray = Receipt { status: ReceiptStatus::Delivered, reason: None, carrier_code: None, message_id: None };
    ledger.record(AttemptReceipt { uid, n: 7, carrier: "c1".to_owned(), receipt: stray }).await.unwrap();
    let under_way = p.admit(&of("gone")).await;
    p.admit(&with_begin(of("kept"))).await;

    let erase = async || {
        let number_keys = vec!["number gone".to_owned(), "number of another spelling".to_owned()];
        let audit = record(&p, OperatorAct::Erase, "dispatches of one number: deleted");
        ledger.erase(&EraseStep { number_keys, limit: 100, audit }).await.unwrap()
    };
    let first = erase().await;
    assert_eq!((first.dispatches, first.left.len(), first.is_partial), (1, 2, false), "{first:?}");
    assert!(first.left.iter().all(|left| !left.is_stopped));

    // A delivered one; and one that is stopped, which its worker has for a lease.
    p.world.at(1.0).await;
    p.delivered(uid, 1).await;
    p.turn(uid).await;
    let id = ledger.read(under_way).await.unwrap().unwrap().order.id;
    ledger.stop(StopRequest { tenant: "default".to_owned(), id, stop: Stop::Cancel }).await.unwrap();
    let taken = p.take(under_way).await;
    let second = erase().await;
    assert_eq!((second.dispatches, second.left.len()), (1, 1), "{second:?}");
    assert!(second.left[0].is_stopped && second.quota_keys.contains("quota of gone"), "{second:?}");
    p.decide(&taken).await;
    let third = erase().await;
    assert_eq!((third.dispatches, third.left.len()), (1, 0), "{third:?}");
    assert_eq!(erase().await.dispatches, 0);
    ledger.delete_quotas(&["quota of gone".to_owned()], &record(&p, OperatorAct::Erase, "one number")).await.unwrap();

    let mut needles: Vec<String> = ["number gone", "content of gone", "quota of gone", "M1"].map(str::to_owned).into();
    needles.extend([&gone, &sent].map(|job| job.order.id.to_string()));
    assert_eq!(tables_with(&p.world, &needles).await, Vec::<String>::new());
    let uids = [gone.order.uid, uid, under_way].map(|uid| uid.to_string());
    let mut tables = tables_with(&p.world, &uids).await;
    // A timer holds nothing but uids, and goes when it is due.
    tables.retain(|table| !table.starts_with("timer:"));
    assert_eq!(tables, Vec::<String>::new());
    assert!(!tables_with(&p.world, &["number kept".to_owned()]).await.is_empty(), "the search finds rows that exist");
    assert_eq!(p.read(kept.order.uid).await.pending_events.len(), 1, "the events of others stay");
    let audit = ledger.audit(jiff::Timestamp::UNIX_EPOCH, None, 9).await.unwrap();
    assert_eq!(audit.len(), 4, "a step that deletes nothing is not recorded: {audit:?}");
}

async fn a_step_of_an_erasure_is_bounded(p) {
    for _ in 0..5 {
        let refusal = Some(Refusal { state: State::Refused, reason: otpost::domain::attempt::Reason::Country });
        p.admit(&Admission { refusal, ..job(&[SMS], "gone", p.t(300)) }).await;
    }
    let mut steps = vec![];
    loop {
        let audit = record(&p, OperatorAct::Erase, "dispatches of one number: deleted");
        let step = EraseStep { number_keys: vec!["number gone".to_owned()], limit: 2, audit };
        let erased = p.world.ledger.erase(&step).await.unwrap();
        steps.push(erased.dispatches);
        if !erased.is_partial {
            break;
        }
    }
    assert_eq!(steps, [2, 2, 1]);
}

async fn the_audit_is_read_from_a_time_on_and_page_by_page(p) {
    let ledger = &p.world.ledger;
    for n in 0..5 {
        p.world.at(f64::from(n) * 10.0).await;
        ledger.check().await.unwrap();
        ledger.record_act(&record(&p, OperatorAct::DispatchCancel, &format!("dispatch {n}"))).await.unwrap();
    }
    let read = async |since, before, limit| {
        let records = ledger.audit(since, before, limit).await.unwrap();
        let last = records.last().map(|record| record.id);
        (records.iter().map(|r| r.subject.trim_start_matches("dispatch ").to_owned()).collect::<Vec<_>>(), last)
    };
    let (newest, last) = read(p.t(0), None, 2).await;
    assert_eq!(newest, ["4", "3"]);
    assert_eq!(read(p.t(0), last, 2).await.0, ["2", "1"]);
    assert_eq!(read(p.t(25), None, 9).await.0, ["4", "3"]);
}

}
