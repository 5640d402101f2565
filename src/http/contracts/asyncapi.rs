//! The contract of the broker: an `AsyncAPI` 3.0 document, generated from the topology and the message schemas.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{received, sent};
use crate::broker::topology::{self, EVENTS, EXCHANGES, JOBS, PERSISTENT, QUEUES, header, key};
use crate::domain::attempt::State;
use crate::intake::envelope;
use crate::intake::{CancelShape, FeedbackShape, JobShape, NextShape};
use crate::outbox::cloud_event::{self, CloudEvent};

const BINDING: &str = "0.3.0";

pub(super) fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "otpost",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0"},
            "description": "Jobs and acts in, events out, over RabbitMQ. Publish persistent, mandatory, and confirmed; a \
                message without a confirm may be published again, because no id is sent twice. The body has at most 64 KiB.",
        },
        "defaultContentType": "application/json",
        "channels": channels(),
        "operations": operations(),
        "components": {"messages": messages()},
    })
}

/// The message of a routing key on the exchange `otpost`.
struct Brings {
    message: &'static str,
    about: &'static str,
}

fn channel_of(routing_key: &str) -> Brings {
    let (message, about) = match routing_key {
        key::DISPATCH => ("job", "Jobs: each delivers a code or a notice to a number."),
        key::FEEDBACK => ("feedback", "Feedback: whether users entered the right code."),
        key::NEXT => ("next", "Requests to begin the next step of a plan at once."),
        key::CANCEL => ("cancel", "Requests to cancel a dispatch."),
        key::DEAD => ("dead", "Dead letters: messages that could not be processed, sealed."),
        _ => ("own", "Internal to otpost. Do not publish to it or consume it."),
    };
    Brings { message, about }
}

fn channels() -> Value {
    let mut channels = Map::new();
    for queue in &QUEUES {
        let mut held = Map::new();
        for routing_key in queue.keys {
            let Brings { message, about } = channel_of(routing_key);
            let messages = json!({message: {"$ref": format!("#/components/messages/{message}")}});
            held.extend(messages.as_object().cloned().unwrap_or_default());
            let channel = json!({
                "address": routing_key,
                "description": about,
                "messages": messages,
                "bindings": {"amqp": bound(JOBS)},
                "x-queue": queue.name,
            });
            channels.insert((*routing_key).to_owned(), channel);
        }
        let arguments: Map<String, Value> =
            queue.arguments().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let channel = json!({
            "address": queue.name,
            "description": "A queue that `otpost migrate` declares. RabbitMQ cannot change its arguments later.",
            "messages": held,
            "bindings": {"amqp": {
                "is": "queue",
                "queue": {"name": queue.name, "durable": true, "exclusive": false, "autoDelete": false},
                "bindingVersion": BINDING,
                "x-arguments": arguments,
                "x-routing-keys": queue.keys,
            }},
        });
        channels.insert(queue.name.to_owned(), channel);
    }
    let states: Vec<&State> = State::ALL.iter().filter(|s| s.is_final() || **s == State::Sent).collect();
    channels.insert(
        "events".to_owned(),
        json!({
            "address": "dispatch.{state}",
            "description": "Changes of state of dispatches: `sent` per step, each final state, and a correction, a late \
                `delivered`. At least once. Bind a queue of your own.",
            "parameters": {"state": {"description": "The new state", "enum": states}},
            "messages": {"event": {"$ref": "#/components/messages/event"}},
            "bindings": {"amqp": bound(EVENTS)},
        }),
    );
    channels.into()
}

/// The AMQP binding of a channel to an exchange.
fn bound(exchange: &str) -> Value {
    let kind = EXCHANGES.iter().find(|e| e.name == exchange).map(|e| e.kind);
    json!({
        "is": "routingKey",
        "exchange": {"name": exchange, "type": kind, "durable": true, "autoDelete": false},
        "bindingVersion": BINDING,
    })
}

fn operations() -> Value {
    let mut operations = Map::new();
    for routing_key in [key::DISPATCH, key::FEEDBACK, key::NEXT, key::CANCEL] {
        operations.insert(
            format!("receive-{}", channel_of(routing_key).message),
            json!({
                "action": "receive",
                "summary": "Publish it persistent, mandatory and confirmed",
                "channel": {"$ref": format!("#/channels/{routing_key}")},
                "bindings": {"amqp": {
                    "deliveryMode": PERSISTENT, "mandatory": true, "ack": true, "bindingVersion": BINDING,
                    "x-publisher-confirms": true,
                }},
            }),
        );
    }
    for (name, channel, mandatory) in [("send-event", "events", false), ("send-dead", key::DEAD, true)] {
        operations.insert(
            name.to_owned(),
            json!({
                "action": "send",
                "channel": {"$ref": format!("#/channels/{channel}")},
                "bindings": {"amqp": {
                    "deliveryMode": PERSISTENT, "mandatory": mandatory, "timestamp": true, "bindingVersion": BINDING,
                    "x-publisher-confirms": true,
                }},
            }),
        );
    }
    operations.into()
}

fn messages() -> Value {
    let user_id =
        "The broker user of your connection; RabbitMQ checks it. Required if `amqp.users` is configured.";
    let read = |title: &str, payload: Value| {
        let examples = payload["schema"]["examples"].as_array().cloned().unwrap_or_default();
        json!({
            "title": title,
            "contentType": "application/json",
            "headers": {"type": "object", "properties": traced()},
            "payload": payload,
            "examples": examples.into_iter().map(|e| json!({"payload": e})).collect::<Vec<_>>(),
            "x-properties": {"user_id": user_id},
        })
    };
    let event = payload::<CloudEvent>(sent());
    json!({
        "job": read("A job", payload::<JobShape>(received())),
        "feedback": read("Feedback", payload::<FeedbackShape>(received())),
        "next": read("The next step", payload::<NextShape>(received())),
        "cancel": read("Cancel", payload::<CancelShape>(received())),
        "event": {
            "title": "An event",
            "contentType": cloud_event::CONTENT_TYPE,
            "headers": {"type": "object", "properties": traced()},
            "examples": [{"payload": event["schema"]["examples"][0]}],
            "payload": event,
            "bindings": {"amqp": {"messageType": "event", "bindingVersion": BINDING}},
            "x-properties": {"message_id": "The event's id. A repeated event has the same id."},
        },
        "dead": {
            "title": "A dead letter",
            "summary": "A dead letter: the whole message, sealed, with the reason in the headers. RabbitMQ deletes it after \
                `amqp.dead_letter_days`. Read them with `otpost dead`.",
            "contentType": envelope::CONTENT_TYPE,
            "headers": {
                "type": "object",
                "required": [header::FIELD, header::REASON, header::BYTES],
                "properties": {
                    header::FIELD: {"type": "string", "description": "The invalid field; `body` for the whole body"},
                    header::REASON: {"type": "string", "description": "The violated rule; it quotes no value"},
                    header::BYTES: {"type": "string", "pattern": "^[0-9]+$", "description": "Size of the body in bytes"},
                },
            },
            "payload": {"type": "string", "pattern": "^v1\\.[a-z0-9-]{1,16}\\.[0-9A-Za-z_-]+$"},
            "bindings": {"amqp": {"messageType": "sealed", "bindingVersion": BINDING}},
        },
        "own": {"title": "otpost's own", "summary": "Its format may change in any version."},
    })
}

fn traced() -> Value {
    json!({topology::header::TRACEPARENT: {"type": "string", "description": "W3C trace context; ignored if it is not valid"}})
}

/// The schema of a payload, with all references inlined, because `AsyncAPI` resolves references by its own rules.
fn payload<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let settings = settings.with(|s| s.inline_subschemas = true);
    json!({
        "schemaFormat": "application/schema+json;version=draft-2020-12",
        "schema": settings.into_generator().into_root_schema_for::<T>(),
    })
}
