//! All exchanges, queues, arguments and bindings of otpost. RabbitMQ cannot change the arguments of an existing queue.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::problem::{BrokerError, Operation};

/// The direct exchange for all messages except events.
pub const JOBS: &str = "otpost";
/// The topic exchange for events. The routing key is `dispatch.<state>`.
pub const EVENTS: &str = "otpost.events";

/// The queue that workers consume: jobs, wake-ups, feedback, `next` and `cancel`.
pub const DISPATCH: &str = "otpost.dispatch";
/// The quarantine queue, for messages that were redelivered often. Workers process one at a time, so that a message that
/// crashes its worker affects no other message.
pub const SUSPECT: &str = "otpost.suspect";
/// The queue of dead letters: messages that could not be processed, sealed and kept for inspection.
pub const DEAD: &str = "otpost.dead";
/// The queue of messages that RabbitMQ itself has dead-lettered, as their producer published them. Workers seal them and move them to
/// another queue.
pub const RETURNED: &str = "otpost.returned";
/// The queue of delivery receipts that arrived while the ledger was unreachable.
pub const RECEIPTS: &str = "otpost.receipts";

/// Routing keys on the exchange `otpost`.
pub mod key {
    /// A job, to `otpost.dispatch`.
    pub const DISPATCH: &str = "dispatch";
    /// A wake-up that otpost sends to itself, to `otpost.dispatch`.
    pub const WAKE: &str = "wake";
    /// Feedback: whether the user entered the right code. Goes to `otpost.dispatch`.
    pub const FEEDBACK: &str = "feedback";
    /// The request for the plan's next step, to `otpost.dispatch`.
    pub const NEXT: &str = "next";
    /// The request to cancel a dispatch, to `otpost.dispatch`.
    pub const CANCEL: &str = "cancel";
    /// A quarantined message, to `otpost.suspect`.
    pub const SUSPECT: &str = "suspect";
    /// A message that RabbitMQ dead-letters, to `otpost.returned`. It is an argument of the queues, which cannot be changed.
    pub const RETURNED: &str = "dead";
    /// A sealed dead letter, to `otpost.dead`.
    pub const DEAD: &str = "dead-letter";
    /// A delivery receipt, to `otpost.receipts`.
    pub const RECEIPT: &str = "receipt";
}

/// AMQP's delivery mode for messages that survive a restart of RabbitMQ. Every message has it.
pub const PERSISTENT: u8 = 2;

/// Names of message headers.
pub mod header {
    /// The W3C trace context of the job's sender.
    pub const TRACEPARENT: &str = "traceparent";
    /// Dead letters: the field that is invalid.
    pub const FIELD: &str = "x-otpost-field";
    /// Dead letters: the rule that the field breaks.
    pub const REASON: &str = "x-otpost-reason";
    /// Dead letters: the size of the original body in bytes.
    pub const BYTES: &str = "x-otpost-bytes";
}

/// A durable exchange.
pub struct ExchangeDeclaration {
    /// Exchange name.
    pub name: &'static str,
    /// Exchange type: `direct` or `topic`.
    pub kind: &'static str,
}

/// A durable quorum queue, bound to the exchange `otpost`.
pub struct QueueDeclaration {
    /// Queue name.
    pub name: &'static str,
    /// The routing keys of its bindings.
    pub keys: &'static [&'static str],
    /// RabbitMQ drops or dead-letters a message after this many redeliveries.
    delivery_limit: i32,
    /// Whether RabbitMQ then dead-letters the message to `otpost.returned`, with the at-least-once strategy.
    dead_letters: bool,
}

/// Effectively unlimited. RabbitMQ 4 drops a message after 20 redeliveries by default, and these messages must never be lost.
const NO_DELIVERY_LIMIT: i32 = 1_000_000;

/// The exchanges, all durable.
pub const EXCHANGES: [ExchangeDeclaration; 2] =
    [ExchangeDeclaration { name: JOBS, kind: "direct" }, ExchangeDeclaration { name: EVENTS, kind: "topic" }];

/// The queues in the order of declaration: a dead-letter queue exists before the queues that use it.
pub const QUEUES: [QueueDeclaration; 5] = [
    QueueDeclaration {
        name: RETURNED,
        keys: &[key::RETURNED],
        delivery_limit: NO_DELIVERY_LIMIT,
        dead_letters: false,
    },
    QueueDeclaration {
        name: DEAD,
        keys: &[key::DEAD],
        delivery_limit: NO_DELIVERY_LIMIT,
        dead_letters: false,
    },
    QueueDeclaration { name: SUSPECT, keys: &[key::SUSPECT], delivery_limit: 6, dead_letters: true },
    QueueDeclaration {
        name: DISPATCH,
        keys: &[key::DISPATCH, key::WAKE, key::FEEDBACK, key::NEXT, key::CANCEL],
        delivery_limit: 20,
        dead_letters: true,
    },
    QueueDeclaration {
        name: RECEIPTS,
        keys: &[key::RECEIPT],
        delivery_limit: NO_DELIVERY_LIMIT,
        dead_letters: false,
    },
];

/// Bindings to the exchange `otpost` that former versions declared: queue and routing key. They are removed, so that no message lies
/// unsealed in `otpost.dead`.
const FORMER_BINDINGS: [(&str, &str); 1] = [(DEAD, key::RETURNED)];

/// The length of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLength {
    /// Number of messages, without those that a consumer holds.
    pub messages: u32,
    /// Number of consumers, of all processes.
    pub consumers: u32,
}

/// The length of each queue.
pub type QueueLengths = BTreeMap<&'static str, QueueLength>;

/// The value of a queue argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Argument {
    /// An AMQP long string.
    Text(&'static str),
    /// An AMQP long int.
    Number(i32),
}

impl QueueDeclaration {
    /// The arguments of the queue's declaration.
    pub fn arguments(&self) -> Vec<(&'static str, Argument)> {
        let mut arguments = vec![
            ("x-queue-type", Argument::Text("quorum")),
            ("x-delivery-limit", Argument::Number(self.delivery_limit)),
        ];
        if self.dead_letters {
            arguments.extend([
                ("x-dead-letter-exchange", Argument::Text(JOBS)),
                ("x-dead-letter-routing-key", Argument::Text(key::RETURNED)),
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

/// Declares what is missing, and removes the bindings of former versions. With `declare` false it checks exchanges and queues only.
/// Returns the lengths of the queues.
pub(super) async fn ensure(channel: &Channel, declare: bool) -> Result<QueueLengths, BrokerError> {
    let mut lengths = QueueLengths::new();
    for ExchangeDeclaration { name, kind } in EXCHANGES {
        let kind = if kind == "topic" { ExchangeKind::Topic } else { ExchangeKind::Direct };
        let options =
            ExchangeDeclareOptions { durable: true, passive: !declare, ..ExchangeDeclareOptions::default() };
        channel
            .exchange_declare(name.into(), kind, options, FieldTable::default())
            .await
            .map_err(|e| BrokerError::of(&e, Operation::Exchange(name)))?;
    }
    for queue in &QUEUES {
        let failed = |e| BrokerError::of(&e, Operation::Queue(queue.name));
        let options =
            QueueDeclareOptions { durable: true, passive: !declare, ..QueueDeclareOptions::default() };
        let declared =
            channel.queue_declare(queue.name.into(), options, queue.table()).await.map_err(failed)?;
        let (messages, consumers) = (declared.message_count(), declared.consumer_count());
        lengths.insert(queue.name, QueueLength { messages, consumers });
        if !declare {
            continue; // AMQP has no way to check a binding
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
    if declare {
        remove_former_bindings(channel).await?;
    }
    Ok(lengths)
}

/// Removes the bindings of former versions. A process of such a version declares them again each time that it connects.
pub(super) async fn remove_former_bindings(channel: &Channel) -> Result<(), BrokerError> {
    for (queue, key) in FORMER_BINDINGS {
        let unbinding = channel.queue_unbind(queue.into(), JOBS.into(), key.into(), FieldTable::default());
        unbinding.await.map_err(|e| BrokerError::of(&e, Operation::Queue(queue)))?;
    }
    Ok(())
}

/// The topology as text, for operators who declare it with other tools.
pub(super) fn describe() -> String {
    let mut text = String::new();
    for ExchangeDeclaration { name, kind } in EXCHANGES {
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
    for (queue, key) in FORMER_BINDINGS {
        let _ = writeln!(text, "removed binding {JOBS} -> {queue}  routing_key={key}");
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
queue otpost.returned  durable=true x-queue-type=quorum x-delivery-limit=1000000
binding otpost -> otpost.returned  routing_key=dead
queue otpost.dead  durable=true x-queue-type=quorum x-delivery-limit=1000000
binding otpost -> otpost.dead  routing_key=dead-letter
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
removed binding otpost -> otpost.dead  routing_key=dead
"
        );
    }
}
