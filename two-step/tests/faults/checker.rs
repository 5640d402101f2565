//! Checks the invariants after every scenario, from the clients' records, both databases, and the carrier's record.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use tokio_postgres::Client;
use uuid::Uuid;

use crate::journal::{Entry, Notes, ObservedResult};
use crate::secrets;
use crate::site::Site;
use crate::wait;

/// Maximum time until the outbox is empty and otpost's events have arrived after the last fault.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(75);
/// `limits.wrong_per_challenge`.
const WRONG_ENTRIES: usize = 5;

/// A challenge in the database.
struct Challenge {
    id: Uuid,
    state: String,
    wrong: usize,
    proof: Option<String>,
    has_device: bool,
    jti: Option<Uuid>,
}

/// A dispatch in two-step's database.
#[derive(Debug)]
struct Dispatch {
    id: Uuid,
    account: Uuid,
    challenge: Option<Uuid>,
    state: String,
}

/// The same dispatch in otpost's database.
#[derive(Debug)]
struct OtpostDispatch {
    state: String,
    /// Attempts that a carrier accepted, by channel.
    accepted: BTreeMap<String, u64>,
    /// Cancelled while it was unknown whether its text was sent. otpost waits for a receipt until the code expires.
    awaits_receipt: bool,
}

/// Waits until both services agree, then checks all invariants.
pub(crate) async fn check(site: &Site) {
    let (ours, theirs) = (site.database.connect_directly().await, site.ledger.connect_directly().await);
    settle(site).await;
    let notes = copy_notes(site);
    let challenges = challenges(&ours).await;
    nothing_is_accepted_twice(&notes);
    for challenge in &challenges {
        let entries: Vec<&Entry> = notes.entries.iter().filter(|e| e.challenge == challenge.id).collect();
        wrong_entries_are_counted(challenge, &entries);
        verified_challenges_have_a_proof(challenge, &entries, &notes);
    }
    reported_delivery_is_correct(site, &ours, &theirs, &notes).await;
    nothing_is_sent_twice(site, &ours, &theirs, &notes).await;
    webhooks_are_complete(site).await;
    secrets::check(site).await;
    report(site, &notes, challenges.len()).await;
}

/// Returns a copy of the records.
fn copy_notes(site: &Site) -> Notes {
    let notes = site.journal.notes();
    Notes {
        secrets: notes.secrets.clone(),
        entries: notes.entries.clone(),
        results: notes.results.clone(),
        tickets: notes.tickets.clone(),
        deliveries: notes.deliveries.clone(),
        users: notes.users.clone(),
        faults: notes.faults,
        receipts_are_lost: notes.receipts_are_lost,
    }
}

/// Waits until the outbox is empty and both services agree on every dispatch.
pub(crate) async fn settle(site: &Site) {
    let (ours, theirs) = (&site.database.connect_directly().await, &site.ledger.connect_directly().await);
    let is_over = |state: &str| is_final(state) || state == "sent" && site.journal.notes().receipts_are_lost;
    let mut left = String::new();
    let settled = wait::retry(SETTLE_TIMEOUT, async || {
        let rows = "select kind || ' (' || tries || ' tries)' from outbox";
        let outbox: Vec<String> = ours.query(rows, &[]).await.unwrap().iter().map(|r| r.get(0)).collect();
        let mut open = vec![];
        for dispatch in dispatches(ours).await {
            let carried = otpost_dispatch(theirs, dispatch.id).await;
            let is_settled = match &carried {
                Some(carried) if carried.awaits_receipt => !is_final(&dispatch.state),
                Some(carried) => is_over(&carried.state) && carried.state == dispatch.state,
                None => is_final(&dispatch.state),
            };
            if !is_settled {
                let row = row_at_otpost(theirs, dispatch.id).await;
                open.push(format!("{dispatch:?}, at otpost: {carried:?}, {row}"));
            }
        }
        if outbox.is_empty() && open.is_empty() {
            return Ok(());
        }
        left = format!("outbox: {outbox:?}, dispatches: {open:#?}");
        Err(Duration::from_millis(200))
    })
    .await;
    assert!(settled.is_some(), "(T5) lost, or never reported: {left}");
}

fn is_final(state: &str) -> bool {
    !["waiting", "queued", "sending", "sent"].contains(&state)
}

async fn challenges(ours: &Client) -> Vec<Challenge> {
    let sql = "select id, state, wrong::int, proof, device is not null, jti from challenge where purpose in ('sign_in', 'confirm')";
    let rows = ours.query(sql, &[]).await.unwrap();
    let read = |row: &tokio_postgres::Row| Challenge {
        id: row.get(0),
        state: row.get(1),
        wrong: row.get::<_, i32>(2) as usize,
        proof: row.get(3),
        has_device: row.get(4),
        jti: row.get(5),
    };
    rows.iter().map(read).collect()
}

async fn dispatches(ours: &Client) -> Vec<Dispatch> {
    let sql = "select d.id, m.account, d.challenge, d.state from dispatch d join method m on m.id = d.method";
    let rows = ours.query(sql, &[]).await.unwrap();
    let read = |row: &tokio_postgres::Row| Dispatch {
        id: row.get(0),
        account: row.get(1),
        challenge: row.get(2),
        state: row.get(3),
    };
    rows.iter().map(read).collect()
}

async fn otpost_dispatch(theirs: &Client, id: Uuid) -> Option<OtpostDispatch> {
    let sql = "select uid, state, state in ('queued', 'sending') and stop is not null and (outcome = 'unknown' or exists (
                 select from jsonb_array_elements(coalesce(d.earlier_attempts, '[]')::jsonb) a where a->>'outcome' = 'unknown'))
               from dispatch d where id = $1";
    let row = theirs.query_opt(sql, &[&id]).await.unwrap()?;
    let (uid, state, awaits_receipt): (Uuid, String, bool) = (row.get(0), row.get(1), row.get(2));
    // The newest attempt is in the dispatch's own row.
    let sql = "select channel, count(*) from (
                 select a->>'channel' as channel, a->>'outcome' as outcome
                   from dispatch d, jsonb_array_elements(coalesce(d.earlier_attempts, '[]')::jsonb) a where d.uid = $1
                 union all select channel, outcome from dispatch where uid = $1 and n > 0) a
               where outcome = 'accepted' group by channel";
    let accepted = theirs.query(sql, &[&uid]).await.unwrap();
    let accepted = accepted.iter().map(|row| (row.get(0), row.get::<_, i64>(1) as u64)).collect();
    Some(OtpostDispatch { state, accepted, awaits_receipt })
}

/// A dispatch's row at otpost and its earlier attempts, as PostgreSQL text.
async fn row_at_otpost(theirs: &Client, id: Uuid) -> String {
    let sql = "select row_to_json(d)::text || ' at ' || now()::text from dispatch d where id = $1";
    theirs.query_opt(sql, &[&id]).await.unwrap().map_or_else(String::new, |row| row.get(0))
}

/// (T1) One proof, one ticket, one result, for any number of the same right code.
fn nothing_is_accepted_twice(notes: &Notes) {
    let mut jtis = BTreeMap::<Uuid, BTreeSet<Uuid>>::new();
    for proven in &notes.results {
        jtis.entry(proven.challenge).or_default().insert(proven.jti);
    }
    let all: BTreeSet<Uuid> = jtis.values().flatten().copied().collect();
    assert_eq!(all.len(), jtis.len(), "(T1) one result for each challenge: {jtis:?}");
    let mut tickets = BTreeMap::<Uuid, BTreeSet<&str>>::new();
    for (challenge, ticket) in &notes.tickets {
        tickets.entry(*challenge).or_default().insert(ticket);
    }
    for (challenge, tickets) in tickets {
        assert_eq!(tickets.len(), 1, "(T1) one ticket for the challenge {challenge}");
    }
}

/// (T2) Exactly the allowed number of wrong entries counts.
fn wrong_entries_are_counted(challenge: &Challenge, entries: &[&Entry]) {
    let observed = |what: ObservedResult| entries.iter().filter(|e| e.observed == what && !e.right).count();
    let (wrong, unknown) = (observed(ObservedResult::Wrong), observed(ObservedResult::Unknown));
    let (at_least, at_most) = (wrong, wrong + unknown + usize::from(observed(ObservedResult::Locked) > 0));
    let Challenge { id, state, .. } = challenge;
    assert!(
        (at_least..=at_most).contains(&challenge.wrong) || challenge.wrong == 0 && state == "verified",
        "(T2) {id} counts {} wrong entries; its clients saw {wrong}, and {unknown} without an answer",
        challenge.wrong
    );
    assert!(challenge.wrong <= WRONG_ENTRIES, "(T2) {id} accepted {} wrong entries", challenge.wrong);
    assert!(wrong < WRONG_ENTRIES, "(T2) {id} answered `wrong` {wrong} times");
    assert_eq!(
        state == "locked",
        challenge.wrong == WRONG_ENTRIES,
        "(T2) {id} is {state} after {}",
        challenge.wrong
    );
}

/// (T3) Every verified user has entered a code that was sent to them, or has a trusted device.
fn verified_challenges_have_a_proof(challenge: &Challenge, entries: &[&Entry], notes: &Notes) {
    let id = challenge.id;
    let is_proven = ["verified", "redeemed", "lapsed"].contains(&challenge.state.as_str());
    let by_device = challenge.proof.as_deref() == Some("trust") && challenge.has_device;
    let right = entries
        .iter()
        .any(|e| e.right && matches!(e.observed, ObservedResult::Verified | ObservedResult::Unknown));
    assert!(
        !is_proven || right || by_device,
        "(T3) {id} is {}, and its code was not entered",
        challenge.state
    );
    let verified: Vec<&&Entry> = entries.iter().filter(|e| e.observed == ObservedResult::Verified).collect();
    let results = notes.results.iter().filter(|p| p.challenge == id);
    if !verified.is_empty() || results.clone().count() > 0 {
        assert!(is_proven, "(T3) a client got a result of {id}, which is {}", challenge.state);
    }
    assert!(verified.iter().all(|e| e.right), "(T3) {id} accepted a wrong code");
    for proven in results {
        assert_eq!(Some(proven.jti), challenge.jti, "(T3) a result of {id} that is not in the database");
    }
}

/// (T4) The delivery that two-step reports is the one that otpost recorded.
async fn reported_delivery_is_correct(site: &Site, ours: &Client, theirs: &Client, notes: &Notes) {
    let all = dispatches(ours).await;
    for dispatch in &all {
        match otpost_dispatch(theirs, dispatch.id).await {
            Some(carried) if carried.awaits_receipt => {
                assert!(!is_final(&dispatch.state), "(T4) {dispatch:?}");
            }
            Some(carried) => assert_eq!(dispatch.state, carried.state, "(T4) {dispatch:?}"),
            // otpost never received it.
            None => assert!(
                ["expired", "refused", "limited", "superseded", "cancelled"]
                    .contains(&dispatch.state.as_str()),
                "(T4) otpost does not know {dispatch:?}"
            ),
        }
    }
    for (challenge, delivery) in notes.deliveries.iter().filter(|(_, delivery)| delivery == "delivered") {
        let mut delivered = false;
        for dispatch in all.iter().filter(|d| d.challenge == Some(*challenge)) {
            let carried = otpost_dispatch(theirs, dispatch.id).await;
            delivered |= carried.is_some_and(|c| c.state == "delivered");
        }
        assert!(delivered, "(T4) the API reported {delivery} for {challenge}, and otpost did not");
    }
    let challenges: BTreeSet<Uuid> = notes.entries.iter().map(|e| e.challenge).collect();
    for challenge in challenges {
        let shown = site.backend.show(challenge).await.body["delivery"].as_str().map(str::to_owned);
        let newest =
            "select state from dispatch where challenge = $1 order by issued_at desc, id desc limit 1";
        let newest = ours.query_opt(newest, &[&challenge]).await.unwrap().map(|row| row.get::<_, String>(0));
        assert!(
            shown.is_none() || shown == newest,
            "(T4) the API reports {shown:?}, the table has {newest:?}"
        );
    }
}

/// (T5) No dispatch was sent to a phone twice.
async fn nothing_is_sent_twice(site: &Site, ours: &Client, theirs: &Client, notes: &Notes) {
    let all = dispatches(ours).await;
    for (user, number) in &notes.users {
        let account = ours.query_opt("select id from account where user_ref = $1", &[user]).await.unwrap();
        let account: Option<Uuid> = account.map(|row| row.get(0));
        let mut sent = 0;
        for dispatch in all.iter().filter(|d| Some(d.account) == account) {
            let Some(carried) = otpost_dispatch(theirs, dispatch.id).await else { continue };
            for (channel, times) in carried.accepted {
                assert_eq!(times, 1, "(T5) {dispatch:?} was accepted {times} times as {channel}");
                sent += times;
            }
        }
        let taken = site.phones.accepted(number).await.len() as u64;
        assert_eq!(taken, sent, "(T5) messages at the phone of {user}, and sent dispatches");
    }
}

/// (T5) The product's receiver got every event, and those of one user in order.
async fn webhooks_are_complete(site: &Site) {
    let mut observed = BTreeMap::<String, Vec<String>>::new();
    for body in site.receiver.bodies() {
        let event: serde_json::Value = serde_json::from_str(&body).unwrap();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let of_user = observed.entry(text("user")).or_default();
        if !of_user.contains(&text("id")) {
            of_user.push(text("id"));
        }
    }
    let mut happened = BTreeMap::<String, Vec<String>>::new();
    for event in site.backend.events(Uuid::nil()).await {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        happened.entry(text("user")).or_default().push(text("id"));
    }
    assert_eq!(observed, happened, "(T5) webhooks and events");
}

/// Writes a summary for the end of the run: challenges, entries, sign-ins, texts and calls, faults.
async fn report(site: &Site, notes: &Notes, challenges: usize) {
    let Ok(file) = std::env::var("TWO_STEP_FAULTS_REPORTS") else { return };
    let mut texts = 0;
    for (_, number) in &notes.users {
        texts += site.phones.accepted(number).await.len();
    }
    let verified: BTreeSet<Uuid> = notes
        .entries
        .iter()
        .filter(|e| e.observed == ObservedResult::Verified)
        .map(|e| e.challenge)
        .collect();
    let (entries, faults) = (notes.entries.len(), notes.faults);
    let line = format!("{challenges} {entries} {} {texts} {faults}\n", verified.len());
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}
