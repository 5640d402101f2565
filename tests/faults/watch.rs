//! Reads the rows repeatedly while a scenario runs, to check the states in between, and not only the final
//! ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use otpost::domain::attempt::State;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of rows per look.
const MAX_ROWS: usize = 3_000;

/// The observed states of one dispatch in order, each with the version at which it was first seen.
type Seen = BTreeMap<Uuid, Vec<(i64, State)>>;

#[derive(Default)]
struct Looks {
    seen: Seen,
    wrong: Vec<String>,
    times: usize,
}

/// Looks until it is dropped.
pub(crate) struct Watch {
    looks: Arc<Mutex<Looks>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn begin(url: &str) -> Self {
        let looks = Arc::<Mutex<Looks>>::default();
        let task = tokio::spawn(watch(url.to_owned(), Arc::clone(&looks)));
        Self { looks, task }
    }

    /// Panics if a look found an error.
    pub(crate) fn assert_right(&self) {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(looks.wrong.is_empty(), "{:#?}", looks.wrong);
    }

    /// Returns the errors so far, and the observed final states of each dispatch.
    pub(crate) fn findings(&self) -> (Vec<String>, BTreeMap<Uuid, Vec<State>>) {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wrong = looks.wrong.clone();
        if looks.times == 0 || self.task.is_finished() {
            wrong.push(format!("the watch stopped early, after {} looks", looks.times));
        }
        let ends =
            |states: &Vec<(i64, State)>| states.iter().map(|(_, s)| *s).filter(|s| s.is_final()).collect();
        (wrong, looks.seen.iter().map(|(id, states)| (*id, ends(states))).collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server may stop meanwhile and start again.
async fn watch(url: String, looks: Arc<Mutex<Looks>>) {
    let mut times = interval(LOOK_INTERVAL);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else {
            continue;
        };
        let connection = tokio::spawn(connection);
        while look(&client, &looks).await.is_ok() {
            times.tick().await;
        }
        connection.abort();
    }
}

async fn look(client: &tokio_postgres::Client, looks: &Mutex<Looks>) -> Result<(), tokio_postgres::Error> {
    let sql = "select id, version, state, wake_at is not null from dispatch limit $1";
    let rows = client.query(sql, &[&(MAX_ROWS as i64)]).await?;
    let mut looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
    looks.times += 1;
    for row in rows {
        let (id, version, wakes): (Uuid, i64, bool) = (row.get(0), row.get(1), row.get(3));
        let state: State = row.get::<_, String>(2).parse().unwrap();
        if !state.is_final() && !wakes {
            looks.wrong.push(format!("O7: {id} is {state} at version {version}, but wake_at is null"));
        }
        let before = looks.seen.entry(id).or_default().last().copied();
        let Some((was_version, was)) = before else {
            looks.seen.insert(id, vec![(version, state)]);
            continue;
        };
        if version < was_version {
            looks.wrong.push(format!("O4: {id} went from version {was_version} back to {version}"));
        }
        if state == was {
            continue;
        }
        // Between two looks the dispatch may have passed through `sending` and `sent`.
        let passed = [State::Sending, State::Sent];
        let by_way = |from: State, to: State| {
            from.may_become(to)
                || passed
                    .iter()
                    .any(|p| from.may_become(*p) && (p.may_become(to) || State::Sent.may_become(to)))
        };
        if !by_way(was, state) {
            looks.wrong.push(format!("O4: {id} went from {was} to {state}"));
        }
        looks.seen.entry(id).or_default().push((version, state));
    }
    Ok(())
}
