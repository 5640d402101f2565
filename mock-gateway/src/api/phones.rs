//! `GET /api/phones`: the content of the page.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use crate::record::{RequestRecord, View};
use crate::shared::Shared;

const MAX_PHONES: usize = 60;
const MAX_MESSAGES_PER_PHONE: usize = 12;

/// Maximum number of entries that one query reads. The page queries every second.
const MAX_SCANNED_ENTRIES: usize = 20_000;

#[derive(Deserialize)]
pub(super) struct Search {
    /// Part of a number, a sender or a text. The case does not matter.
    #[serde(default)]
    q: String,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the field is a name of the API")]
pub(super) struct Phones {
    phones: Vec<Phone>,
    /// Number of texts and calls accepted since the start.
    accepted: u64,
    /// Number of those that are no longer kept.
    dropped: u64,
}

/// One number with its latest texts and calls, newest first.
#[derive(Serialize)]
struct Phone {
    number: String,
    messages: Vec<View>,
}

pub(super) async fn phones(State(shared): State<Arc<Shared>>, Query(search): Query<Search>) -> Json<Phones> {
    let search = search.q.trim().to_lowercase();
    let mut phones: Vec<Phone> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut before = u64::MAX;
    let mut looked = 0;
    while looked < MAX_SCANNED_ENTRIES {
        let block = shared.record.accepted_before(before);
        let Some((last, _)) = block.last() else {
            break;
        };
        before = *last;
        looked += block.len();
        for (seq, entry) in block {
            let number = entry.request.to.clone().unwrap_or_default();
            if !matches(&entry.request, &search) {
                continue;
            }
            let place = places.get(&number).copied().or_else(|| {
                (phones.len() < MAX_PHONES).then(|| {
                    places.insert(number.clone(), phones.len());
                    phones.push(Phone { number, messages: Vec::new() });
                    phones.len() - 1
                })
            });
            if let Some(phone) = place.and_then(|place| phones.get_mut(place))
                && phone.messages.len() < MAX_MESSAGES_PER_PHONE
            {
                phone.messages.push(View::new((seq, entry)));
            }
        }
    }
    let (accepted, dropped) = shared.record.accepted_totals();
    Json(Phones { phones, accepted, dropped })
}

fn matches(request: &RequestRecord, search: &str) -> bool {
    let texts = [&request.to, &request.from, &request.body, &request.transcript];
    search.is_empty() || texts.into_iter().flatten().any(|text| text.to_lowercase().contains(search))
}
