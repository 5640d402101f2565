//! O6: no code and no number anywhere but in a carrier's request.

use aho_corasick::AhoCorasick;
use serde_json::Value;

use crate::load::Sent;
use crate::site::Site;
use crate::support::world::connect;

/// Looks for all of them in tables, events, logs, and what was left in queues.
pub(crate) async fn leaks(
    site: &Site, sent: &[Sent], events: &[Value], queued: Vec<(String, String)>,
) -> Vec<String> {
    let mut places = queued;
    let look = connect(&site.house.ledger_url).await;
    let tables = "select tablename::text from pg_tables where schemaname = current_schema()";
    for table in look.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let rows = look.query(&format!("select t::text from {table} t"), &[]).await.unwrap();
        places.push((table, rows.iter().map(|r| r.get::<_, String>(0)).collect::<Vec<_>>().join("\n")));
    }
    places.push(("events".to_owned(), events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")));
    places.extend(site.house.logs().into_iter().map(|(name, text)| (format!("the log of {name}"), text)));
    // Numbers without what all of a country begin with.
    let words: Vec<&str> = sent.iter().flat_map(|job| [job.code.as_str(), &job.to[3..]]).collect();
    let all = AhoCorasick::new(&words).unwrap();
    let mut wrong = vec![];
    for (place, text) in &places {
        let found = all.find_iter(text).map(|found| words[found.pattern()]);
        wrong.extend(found.map(|secret| format!("O6: {secret} is in {place}")));
    }
    wrong
}
