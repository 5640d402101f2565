//! otpost's names on the broker, and the benchmark's queries.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

pub(crate) const JOBS: &str = "otpost";
pub(crate) const EVENTS: &str = "otpost.events";
pub(crate) const DISPATCH: &str = "otpost.dispatch";
pub(crate) const DISPATCH_KEY: &str = "dispatch";
const QUEUES: [&str; 5] = [DISPATCH, "otpost.suspect", "otpost.receipts", "otpost.returned", "otpost.dead"];

pub(crate) async fn connect(url: &str, purpose: &str) -> anyhow::Result<Connection> {
    let properties =
        ConnectionProperties::default().with_connection_name(format!("benches {purpose}").into());
    Ok(Connection::connect(url, properties).await?)
}

/// Deletes otpost's queues. Every measurement begins with new ones, whose log is empty.
pub(crate) async fn delete_queues(url: &str) -> anyhow::Result<()> {
    let connection = connect(url, "deleting").await?;
    let channel = connection.create_channel().await?;
    for queue in QUEUES {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}

/// Returns the number of messages in a queue without unacknowledged ones.
pub(crate) async fn waiting(connection: &Connection, queue: &str) -> anyhow::Result<usize> {
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let waiting = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?.message_count();
    channel.close(200, "done".into()).await?;
    Ok(waiting as usize)
}
