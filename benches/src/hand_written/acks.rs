//! The hand-written workers' acks: one frame for all jobs that have finished in a row.

use std::collections::BTreeSet;

use lapin::Channel;
use lapin::options::BasicAckOptions;
use tokio::sync::mpsc;

/// Handle to a task that acknowledges jobs.
pub(super) struct Acks(mpsc::UnboundedSender<u64>);

impl Acks {
    /// Starts the task for a channel that has delivered nothing yet, so that its first tag is 1.
    pub(super) fn start(channel: Channel) -> Self {
        let (sender, mut finished) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let (mut last, mut later) = (0, BTreeSet::new());
            while let Some(tag) = finished.recv().await {
                later.insert(tag);
                while let Ok(tag) = finished.try_recv() {
                    later.insert(tag);
                }
                let before = last;
                while later.remove(&(last + 1)) {
                    last += 1;
                }
                if last > before && channel.basic_ack(last, BasicAckOptions { multiple: true }).await.is_err()
                {
                    return;
                }
            }
        });
        Self(sender)
    }

    /// Acknowledges a job with the others that have finished.
    pub(super) fn ack(&self, tag: u64) -> anyhow::Result<()> {
        self.0.send(tag).map_err(|_| anyhow::anyhow!("an ack was not sent"))
    }
}
