//! What otpost has on the broker: every name, every argument, every binding. Arguments of a queue can never be changed.

use std::fmt::Write as _;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::problem::{Asked, BrokerError};

/// The direct exchange that everything but events goes to.
pub const JOBS: &str = "otpost";
/// The topic exchange that events go to; the routing key is `dispatch.<state>`.
pub const EVENTS: &str = "otpost.events";

/// The queue that workers read: jobs, wake-ups, feedback, `next` and `cancel`.
pub const DISPATCH: &str = "otpost.dispatch";
/// The queue of messages that came back often: read one at a time, so that one which kills its reader is alone.
pub const SUSPECT: &str = "otpost.suspect";
/// The queue of what could not be used, for people to look at.
pub const DEAD: &str = "otpost.dead";
/// The queue of receipts that came while the ledger was away.
pub const RECEIPTS: &str = "otpost.receipts";

/// Routing keys on the exchange `otpost`.
pub mod key {
    /// A job, to `otpost.dispatch`.
    pub const DISPATCH: &str = "dispatch";
    /// A wake-up of otpost's own, to `otpost.dispatch`.
    pub const WAKE: &str = "wake";
    /// What the user did with a code, to `otpost.dispatch`.
    pub const FEEDBACK: &str = "feedback";
    /// The order to take the plan's next step, to `otpost.dispatch`.
    pub const NEXT: &str = "next";
    /// The order to end a dispatch, to `otpost.dispatch`.
    pub const CANCEL: &str = "cancel";
    /// To `otpost.suspect`.
    pub const SUSPECT: &str = "suspect";
    /// To `otpost.dead`.
    pub const DEAD: &str = "dead";
    /// To `otpost.receipts`.
    pub const RECEIPT: &str = "receipt";
}

/// AMQP's delivery mode of what survives a restart of the broker: that of every message.
pub const PERSISTENT: u8 = 2;

/// Headers of messages.
pub mod header {
    /// The W3C trace context of a job's sender.
    pub const TRACEPARENT: &str = "traceparent";
    /// Of a dead letter: the field that is wrong,
    pub const FIELD: &str = "x-otpost-field";
    /// what must hold for it,
    pub const REASON: &str = "x-otpost-reason";
    /// and how many bytes its body had.
    pub const BYTES: &str = "x-otpost-bytes";
}

/// An exchange, durable.
pub struct Exchange {
    /// Its name.
    pub name: &'static str,
    /// Its type: `direct` or `topic`.
    pub kind: &'static str,
}

/// A queue, durable, bound to the exchange `otpost`.
pub struct Queue {
    /// Its name.
    pub name: &'static str,
    /// The routing keys that bring messages to it.
    pub keys: &'static [&'static str],
    /// After so many returns the broker lets go of a message.
    limit: i32,
    /// It then moves it to `otpost.dead`, confirmed.
    buries: bool,
}

/// RabbitMQ 4 lets go of a message after 20 returns where nothing else is said. What must never be lost says this.
const NEVER: i32 = 1_000_000;

/// The exchanges, durable.
pub const EXCHANGES: [Exchange; 2] =
    [Exchange { name: JOBS, kind: "direct" }, Exchange { name: EVENTS, kind: "topic" }];

/// In the order in which they are made: where a queue's messages go when they die is there before it.
pub const QUEUES: [Queue; 4] = [
    Queue { name: DEAD, keys: &[key::DEAD], limit: NEVER, buries: false },
    Queue { name: SUSPECT, keys: &[key::SUSPECT], limit: 6, buries: true },
    Queue {
        name: DISPATCH,
        keys: &[key::DISPATCH, key::WAKE, key::FEEDBACK, key::NEXT, key::CANCEL],
        limit: 20,
        buries: true,
    },
    Queue { name: RECEIPTS, keys: &[key::RECEIPT], limit: NEVER, buries: false },
];

/// The value of a queue's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Argument {
    /// A long string.
    Text(&'static str),
    /// A long int.
    Number(i32),
}

impl Queue {
    /// What it is declared with.
    pub fn arguments(&self) -> Vec<(&'static str, Argument)> {
        let mut arguments = vec![
            ("x-queue-type", Argument::Text("quorum")),
            ("x-delivery-limit", Argument::Number(self.limit)),
        ];
        if self.buries {
            arguments.extend([
                ("x-dead-letter-exchange", Argument::Text(JOBS)),
                ("x-dead-letter-routing-key", Argument::Text(key::DEAD)),
                // Both are needed: without reject-publish RabbitMQ silently dead-letters at most once.
                ("x-dead-letter-strategy", Argument::Text("at-least-once")),
                ("x-overflow", Argument::Text("reject-publish")),
            ]);
        }
        arguments
    }

    fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in self.arguments() {
            let value = match value {
                Argument::Text(text) => AMQPValue::LongString(text.into()),
                Argument::Number(number) => AMQPValue::LongInt(number),
            };
            table.insert(name.into(), value);
        }
        table
    }
}

/// Makes what is missing, or with `declare` false only looks whether everything is there.
pub(super) async fn ensure(channel: &Channel, declare: bool) -> Result<(), BrokerError> {
    for Exchange { name, kind } in EXCHANGES {
        let kind = if kind == "topic" { ExchangeKind::Topic } else { ExchangeKind::Direct };
        let options =
            ExchangeDeclareOptions { durable: true, passive: !declare, ..ExchangeDeclareOptions::default() };
        channel
            .exchange_declare(name.into(), kind, options, FieldTable::default())
            .await
            .map_err(|e| BrokerError::of(&e, Asked::Exchange(name)))?;
    }
    for queue in &QUEUES {
        let failed = |e| BrokerError::of(&e, Asked::Queue(queue.name));
        let options =
            QueueDeclareOptions { durable: true, passive: !declare, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.name.into(), options, queue.table()).await.map_err(failed)?;
        if !declare {
            continue; // AMQP has no way to look at a binding
        }
        for key in queue.keys {
            channel
                .queue_bind(
                    queue.name.into(),
                    JOBS.into(),
                    (*key).into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .map_err(failed)?;
        }
    }
    Ok(())
}

/// The same as text, for those who make it by other means.
pub(super) fn describe() -> String {
    let mut text = String::new();
    for Exchange { name, kind } in EXCHANGES {
        let _ = writeln!(text, "exchange {name}  type={kind} durable=true");
    }
    for queue in &QUEUES {
        let _ = write!(text, "queue {}  durable=true", queue.name);
        for (name, value) in queue.arguments() {
            let _ = match value {
                Argument::Text(value) => write!(text, " {name}={value}"),
                Argument::Number(value) => write!(text, " {name}={value}"),
            };
        }
        text.push('\n');
        for key in queue.keys {
            let _ = writeln!(text, "binding {JOBS} -> {}  routing_key={key}", queue.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn the_description_names_every_part_with_its_arguments() {
        assert_eq!(
            describe(),
            "\
exchange otpost  type=direct durable=true
exchange otpost.events  type=topic durable=true
queue otpost.dead  durable=true x-queue-type=quorum x-delivery-limit=1000000
binding otpost -> otpost.dead  routing_key=dead
queue otpost.suspect  durable=true x-queue-type=quorum x-delivery-limit=6 x-dead-letter-exchange=otpost \
x-dead-letter-routing-key=dead x-dead-letter-strategy=at-least-once x-overflow=reject-publish
binding otpost -> otpost.suspect  routing_key=suspect
queue otpost.dispatch  durable=true x-queue-type=quorum x-delivery-limit=20 x-dead-letter-exchange=otpost \
x-dead-letter-routing-key=dead x-dead-letter-strategy=at-least-once x-overflow=reject-publish
binding otpost -> otpost.dispatch  routing_key=dispatch
binding otpost -> otpost.dispatch  routing_key=wake
binding otpost -> otpost.dispatch  routing_key=feedback
binding otpost -> otpost.dispatch  routing_key=next
binding otpost -> otpost.dispatch  routing_key=cancel
queue otpost.receipts  durable=true x-queue-type=quorum x-delivery-limit=1000000
binding otpost -> otpost.receipts  routing_key=receipt
"
        );
    }
}
