//! Searches for secrets in logs, tables, queues, events and webhooks.

use uuid::Uuid;

use crate::journal::Journal;
use crate::site::Site;

/// Fails if one of the recorded secrets appears in clear text.
pub(crate) async fn check(site: &Site) {
    let mut places = vec![("the logs".to_owned(), site.logs())];
    assert!(places[0].1.contains("INFO"), "the logs were written");
    for (table, row) in site.database.dump().await {
        places.push((format!("the table {table}"), row));
    }
    for (key, body) in site.tap.drain().await {
        places
            .push((format!("a message on the broker ({key})"), String::from_utf8_lossy(&body).into_owned()));
    }
    for body in site.receiver.bodies() {
        places.push(("a webhook".to_owned(), body));
    }
    for event in site.backend.events(Uuid::nil()).await {
        places.push(("an event".to_owned(), event.to_string()));
    }
    let found = find(&site.journal, &places);
    assert!(found.is_empty(), "in clear text: {found:#?}");
}

/// Names the secrets that were found, and where. The secrets are not printed.
fn find(journal: &Journal, places: &[(String, String)]) -> Vec<String> {
    let secrets = journal.notes().secrets.clone();
    let mut found = vec![];
    for (place, text) in places {
        for (what, secret) in &secrets {
            if contains(text, secret) {
                found.push(format!("a {what} is in {place}: {}", around(text, secret)));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Returns whether a secret is in a text. Six digits count only as a whole number: in a longer number, a time or an id they
/// are a coincidence.
fn contains(text: &str, secret: &str) -> bool {
    if secret.len() > 6 {
        return text.contains(secret);
    }
    text.match_indices(secret).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + secret.len()..].chars().next();
        ![before, after].iter().flatten().any(|c| c.is_alphanumeric() || *c == '.')
    })
}

/// Returns the text around a secret, without it.
fn around(text: &str, secret: &str) -> String {
    let at = text.find(secret).unwrap_or_default();
    let before: String = text[..at].chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
    let after: String = text[at + secret.len()..].chars().take(30).collect();
    format!("{before}…{after}")
}
