//! The contracts keep the shape of the last release: programs written against it still work.
//!
//! `released/` holds each contract of that release without its words (descriptions and examples). After a release, replace its
//! files: `OTPOST_TEST_WRITE_RELEASED=1 cargo test --test contracts released` writes them, and `ADDED` becomes empty.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Additions since that release. All of them are optional, or accept more than before. The routing key of dead letters is different, which
/// only otpost publishes: what RabbitMQ dead-letters has the former key, and is not sealed. The paths of operators are new.
const ADDED: &[&str] = &[
    "asyncapi.json/channels/dead-letter",
    "asyncapi.json/channels/dead/messages/dead is gone",
    "asyncapi.json/channels/dead/messages/own",
    "asyncapi.json/channels/dead/x-queue was \"otpost.dead\" and is \"otpost.returned\"",
    "asyncapi.json/channels/otpost.dead/bindings/amqp/x-routing-keys/0 was \"dead\" and is \"dead-letter\"",
    "asyncapi.json/channels/otpost.returned",
    "asyncapi.json/components/messages/event/payload/schema/properties/data/properties/reason/oneOf has {\"const\":\"expired_in_queue\",\"type\":\"string\"}",
    "asyncapi.json/components/messages/event/payload/schema/properties/data/properties/reason/oneOf has {\"const\":\"no_key\",\"type\":\"string\"}",
    "asyncapi.json/components/messages/event/payload/schema/properties/data/properties/reason/oneOf has {\"const\":\"number_kind\",\"type\":\"string\"}",
    "asyncapi.json/components/messages/event/payload/schema/properties/data/properties/reason/oneOf has {\"const\":\"operator_block\",\"type\":\"string\"}",
    "asyncapi.json/components/messages/job/payload/schema/properties/locale/pattern was \"^[0-9A-Za-z-]+$\" and is \"^[0-9A-Za-z_-]+$\"",
    "asyncapi.json/operations/send-dead/channel/$ref was \"#/channels/dead\" and is \"#/channels/dead-letter\"",
    "event.schema.json/$defs/Reason/oneOf has {\"const\":\"expired_in_queue\",\"type\":\"string\"}",
    "event.schema.json/$defs/Reason/oneOf has {\"const\":\"no_key\",\"type\":\"string\"}",
    "event.schema.json/$defs/Reason/oneOf has {\"const\":\"number_kind\",\"type\":\"string\"}",
    "event.schema.json/$defs/Reason/oneOf has {\"const\":\"operator_block\",\"type\":\"string\"}",
    "job.schema.json/properties/locale/pattern was \"^[0-9A-Za-z-]+$\" and is \"^[0-9A-Za-z_-]+$\"",
    "openapi.json/components/schemas/AttemptStory/properties/corrected_at",
    "openapi.json/components/schemas/AttemptStory/properties/corrected_code",
    "openapi.json/components/schemas/AttemptStory/properties/corrected_reason",
    "openapi.json/components/schemas/AuditAnswer",
    "openapi.json/components/schemas/AuditList",
    "openapi.json/components/schemas/BlockAnswer",
    "openapi.json/components/schemas/BlockBody",
    "openapi.json/components/schemas/BlockKind",
    "openapi.json/components/schemas/BlockList",
    "openapi.json/components/schemas/BreakerAnswer",
    "openapi.json/components/schemas/CarrierAnswer",
    "openapi.json/components/schemas/CarrierList",
    "openapi.json/components/schemas/ChangeAnswer",
    "openapi.json/components/schemas/ConfigAnswer",
    "openapi.json/components/schemas/CountryPauseAnswer",
    "openapi.json/components/schemas/CountsAnswer",
    "openapi.json/components/schemas/DispatchList",
    "openapi.json/components/schemas/DispatchRow",
    "openapi.json/components/schemas/EraseAnswer",
    "openapi.json/components/schemas/EraseBody",
    "openapi.json/components/schemas/FailureAnswer",
    "openapi.json/components/schemas/FindingAnswer",
    "openapi.json/components/schemas/Job/properties/locale/pattern was \"^[0-9A-Za-z-]+$\" and is \"^[0-9A-Za-z_-]+$\"",
    "openapi.json/components/schemas/NamedNumbers",
    "openapi.json/components/schemas/NumbersAnswer",
    "openapi.json/components/schemas/PauseAnswer",
    "openapi.json/components/schemas/PauseBody",
    "openapi.json/components/schemas/PausedAnswer",
    "openapi.json/components/schemas/PointAnswer",
    "openapi.json/components/schemas/ProcessAnswer",
    "openapi.json/components/schemas/QuotaBody",
    "openapi.json/components/schemas/QuotaList",
    "openapi.json/components/schemas/Reason/oneOf has {\"const\":\"expired_in_queue\",\"type\":\"string\"}",
    "openapi.json/components/schemas/Reason/oneOf has {\"const\":\"no_key\",\"type\":\"string\"}",
    "openapi.json/components/schemas/Reason/oneOf has {\"const\":\"number_kind\",\"type\":\"string\"}",
    "openapi.json/components/schemas/Reason/oneOf has {\"const\":\"operator_block\",\"type\":\"string\"}",
    "openapi.json/components/schemas/ResetAnswer",
    "openapi.json/components/schemas/ResumeBody",
    "openapi.json/components/schemas/RuleAnswer",
    "openapi.json/components/schemas/SearchBody",
    "openapi.json/components/schemas/StateAnswer",
    "openapi.json/components/schemas/StatusAnswer",
    "openapi.json/components/schemas/Story/properties/language",
    "openapi.json/components/schemas/Story/properties/locale",
    "openapi.json/components/schemas/Story/properties/waits",
    "openapi.json/components/schemas/UnblockBody",
    "openapi.json/components/schemas/WhyBody",
    "openapi.json/paths//v1/audit",
    "openapi.json/paths//v1/blocks",
    "openapi.json/paths//v1/blocks/remove",
    "openapi.json/paths//v1/carriers",
    "openapi.json/paths//v1/carriers/{name}/pause",
    "openapi.json/paths//v1/carriers/{name}/probe",
    "openapi.json/paths//v1/carriers/{name}/resume",
    "openapi.json/paths//v1/config",
    "openapi.json/paths//v1/erase",
    "openapi.json/paths//v1/operator/dispatches/search",
    "openapi.json/paths//v1/operator/dispatches/{uid}",
    "openapi.json/paths//v1/operator/dispatches/{uid}/cancel",
    "openapi.json/paths//v1/operator/dispatches/{uid}/retry",
    "openapi.json/paths//v1/quota/reset",
    "openapi.json/paths//v1/quota/show",
    "openapi.json/paths//v1/status",
    "openapi.json/tags has {\"name\":\"operators\"}",
];

/// Keywords whose values are words for people.
const WORDS: &[&str] = &["description", "summary", "title", "example", "examples"];

/// Keywords whose members are names of the contract. A member `title` of `properties` is no keyword.
const NAMED: &[&str] = &["properties", "patternProperties", "schemas", "headers"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The contract without its words.
fn shape(value: &Value, members_are_names: bool) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(key, _)| members_are_names || !WORDS.contains(&key.as_str()));
            Value::Object(
                kept.map(|(key, member)| {
                    // `x-properties` is AsyncAPI's list of the message properties: a name, then a description.
                    let member = if key == "x-properties" {
                        names_only(member)
                    } else {
                        shape(member, !members_are_names && NAMED.contains(&key.as_str()))
                    };
                    (key.clone(), member)
                })
                .collect(),
            )
        }
        Value::Array(items) => items.iter().map(|item| shape(item, false)).collect(),
        other => other.clone(),
    }
}

fn names_only(described: &Value) -> Value {
    let names = described.as_object().unwrap().keys();
    Value::Object(names.map(|name| (name.clone(), Value::Null)).collect::<Map<_, _>>())
}

fn differences(released: &Value, current: &Value, at: &str, into: &mut BTreeSet<String>) {
    match (released, current) {
        (Value::Object(before), Value::Object(after)) => {
            for key in before.keys().chain(after.keys()) {
                let at = format!("{at}/{key}");
                match (before.get(key), after.get(key)) {
                    (Some(before), Some(after)) => differences(before, after, &at, into),
                    (Some(_), None) => drop(into.insert(format!("{at} is gone"))),
                    _ => drop(into.insert(at)),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (n, (before, after)) in before.iter().zip(after).enumerate() {
                differences(before, after, &format!("{at}/{n}"), into);
            }
        }
        // Further words of an enum.
        (Value::Array(before), Value::Array(after)) if before.iter().all(|word| after.contains(word)) => {
            let added = after.iter().filter(|word| !before.contains(word));
            into.extend(added.map(|word| format!("{at} has {word}")));
        }
        _ if released == current => {}
        _ => drop(into.insert(format!("{at} was {released} and is {current}"))),
    }
}

/// Fails if a member of a contract is removed, renamed, required or of another type.
#[test]
fn the_contracts_differ_from_the_release_only_in_words_and_additions() {
    let mut found = BTreeSet::new();
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder("docs/contracts")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let current: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let current = shape(&current, false);
        let released = folder("tests/contracts/released").join(&name);
        if env::var_os("OTPOST_TEST_WRITE_RELEASED").is_some() {
            fs::write(&released, format!("{current:#}\n")).unwrap();
        }
        let released: Value = serde_json::from_str(&fs::read_to_string(&released).unwrap()).unwrap();
        differences(&released, &current, &name, &mut found);
        files.insert(name);
    }
    let released = fs::read_dir(folder("tests/contracts/released")).unwrap();
    let released: BTreeSet<String> =
        released.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, released, "each contract has a released shape");
    let found: Vec<String> = found.into_iter().collect();
    assert_eq!(found, ADDED, "left: the differences from the release; right: the additions that are allowed");
}
