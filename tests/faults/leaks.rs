//! O6: codes and numbers appear only in a carrier's request.

use aho_corasick::AhoCorasick;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::load::Sent;
use crate::support::world::connect;

/// Searches tables, events, logs and the remaining messages in queues for all of them.
pub(crate) async fn leaks(
    cluster: &Cluster, sent: &[Sent], events: &[Value], queued: Vec<(String, String)>,
) -> Vec<String> {
    let mut places = queued;
    let look = connect(&cluster.deployment.ledger_url).await;
    let tables = "select tablename::text from pg_tables where schemaname = current_schema()";
    for table in look.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let rows = look.query(&format!("select t::text from {table} t"), &[]).await.unwrap();
        places.push((table, rows.iter().map(|r| r.get::<_, String>(0)).collect::<Vec<_>>().join("\n")));
    }
    places.push(("events".to_owned(), events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")));
    places.extend(
        cluster.deployment.logs().into_iter().map(|(name, text)| (format!("the log of {name}"), text)),
    );
    // Numbers without the prefix that all numbers of a country share.
    let words: Vec<&str> = sent.iter().flat_map(|job| [job.code.as_str(), &job.to[3..]]).collect();
    let all = AhoCorasick::new(&words).unwrap();
    let mut wrong = vec![];
    for (place, text) in &places {
        let found = all.find_iter(text).map(|found| words[found.pattern()]);
        wrong.extend(found.map(|secret| format!("O6: {secret} is in {place}")));
    }
    wrong
}
