//! The smaller messages of the queue: acts by each of their routing keys, and wake-ups. A parsed message can
//! be written again and is the same. An error quotes no value.

use otpost::intake::{Act, ActKind, Verb};
use serde_json::json;

use super::job::quotes_nothing;

/// Fails if a body over HTTP can set its tenant (`tenant_without_id`).
pub fn holds(input: &[u8]) {
    for verb in Verb::ALL {
        match Act::decode(*verb, input, None) {
            Err(bad) => quotes_nothing(&bad),
            Ok(act) => {
                let mut text = json!({"tenant": act.tenant, "id": act.id});
                match act.kind {
                    ActKind::Feedback { verified } => text["verified"] = json!(verified),
                    ActKind::Next { step } => text["step"] = json!(step),
                    ActKind::Cancel => {}
                }
                assert_eq!(Act::decode(*verb, text.to_string().as_bytes(), None), Ok(act.clone()));
                assert!((1..=64).contains(&act.tenant.len()));
            }
        }
        // Over HTTP the tenant comes from the API key; the body cannot name another.
        let door = Some(("shop", uuid::Uuid::nil()));
        if let Ok(act) = Act::decode(*verb, input, door) {
            assert_eq!((act.tenant.as_str(), act.id), ("shop", uuid::Uuid::nil()));
        }
    }
    if let Some(uid) = otpost::delivery::wake::read(input) {
        assert_eq!(
            otpost::delivery::wake::read(json!({"v": 1, "uid": uid}).to_string().as_bytes()),
            Some(uid)
        );
    }
}
