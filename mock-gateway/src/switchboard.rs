//! What all parts of a running gateway share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::choice::Choice;
use crate::config::Config;
use crate::courier::{Courier, Told};
use crate::item::News;
use crate::record::{Accepted, Record};

/// The shared parts. Each guards itself; none of their locks is held while anything waits.
pub(crate) struct Switchboard {
    pub(crate) config: Config,
    pub(crate) choice: Choice,
    pub(crate) record: Record,
    pub(crate) courier: Courier,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Switchboard {
    /// A text or call got into a new state: note it, and tell the customer if `wanted` says so and there is
    /// an address.
    pub(crate) async fn tell(&self, accepted: &Arc<Accepted>, news: &News, wanted: bool) -> Option<Told> {
        accepted.advance(news);
        if !wanted {
            return None;
        }
        let callback = accepted.item.callback(news, &self.config)?;
        let told = self.courier.carry(callback, news.status.clone().into_owned()).await;
        self.record.told(accepted, told.clone());
        Some(told)
    }

    /// Do something, but not longer than the gateway lives. None when it was stopped first.
    pub(crate) async fn while_running<T>(&self, doing: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.stopping.clone();
        // An error means that the gateway was dropped without a word, which is a stop as well.
        tokio::select! {
            done = doing => Some(done),
            _ = stopping.wait_for(|stop| *stop) => None,
        }
    }

    /// Wait, but not longer than the gateway lives.
    pub(crate) async fn pause(&self, time: Duration) {
        self.while_running(tokio::time::sleep(time)).await;
    }
}
