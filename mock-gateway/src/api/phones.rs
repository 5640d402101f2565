//! `GET /api/phones`: what the page shows.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use crate::record::{Asked, View};
use crate::switchboard::Switchboard;

const PHONES: usize = 60;
const MESSAGES_OF_A_PHONE: usize = 12;

/// How far back a look goes: the page asks every second, and nobody reads further down.
const LOOKED_THROUGH: usize = 20_000;

#[derive(Deserialize)]
pub(super) struct Search {
    /// In a number, a sender or a text, whatever the case.
    #[serde(default)]
    q: String,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the field is a name of the API")]
pub(super) struct Phones {
    phones: Vec<Phone>,
    /// How many texts and calls were ever accepted.
    accepted: u64,
    /// How many of them are no longer kept.
    dropped: u64,
}

/// One number with its latest texts and calls, newest first.
#[derive(Serialize)]
struct Phone {
    number: String,
    messages: Vec<View>,
}

pub(super) async fn phones(
    State(board): State<Arc<Switchboard>>, Query(search): Query<Search>,
) -> Json<Phones> {
    let search = search.q.trim().to_lowercase();
    let mut phones: Vec<Phone> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut before = u64::MAX;
    let mut looked = 0;
    while looked < LOOKED_THROUGH {
        let block = board.record.accepted_before(before);
        let Some((last, _)) = block.last() else {
            break;
        };
        before = *last;
        looked += block.len();
        for (seq, entry) in block {
            let number = entry.asked.to.clone().unwrap_or_default();
            if !matches(&entry.asked, &search) {
                continue;
            }
            let place = places.get(&number).copied().or_else(|| {
                (phones.len() < PHONES).then(|| {
                    places.insert(number.clone(), phones.len());
                    phones.push(Phone { number, messages: Vec::new() });
                    phones.len() - 1
                })
            });
            if let Some(phone) = place.and_then(|place| phones.get_mut(place))
                && phone.messages.len() < MESSAGES_OF_A_PHONE
            {
                phone.messages.push(View::new((seq, entry)));
            }
        }
    }
    let (accepted, dropped) = board.record.accepted_totals();
    Json(Phones { phones, accepted, dropped })
}

fn matches(asked: &Asked, search: &str) -> bool {
    let texts = [&asked.to, &asked.from, &asked.body, &asked.transcript];
    search.is_empty() || texts.into_iter().flatten().any(|text| text.to_lowercase().contains(search))
}
