//! The state that all parts of a running gateway share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::callbacks::{CallbackResult, CallbackSender};
use crate::carrier_message::{Spoken, StateChange};
use crate::choice::Choice;
use crate::config::Config;
use crate::record::{Accepted, Record};

/// The shared state. Each part has its own lock; no lock is held across an await.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) choice: Choice,
    pub(crate) record: Record,
    pub(crate) callbacks: CallbackSender,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Shared {
    /// Stores the new state of a message, and sends its callback if `wanted` and there is a callback URL.
    pub(crate) async fn report(
        &self, accepted: &Arc<Accepted>, change: &StateChange, wanted: bool,
    ) -> Option<CallbackResult> {
        accepted.advance(change);
        if !wanted {
            return None;
        }
        let callback = accepted.message.callback(change, &self.config)?;
        let result = self.callbacks.send(callback, change.status.clone().into_owned()).await;
        self.record.add_callback(accepted, result.clone());
        Some(result)
    }

    /// Presses a key in a call that asks for one, and records what the call then says.
    pub(crate) async fn press_key(&self, accepted: &Arc<Accepted>) {
        let Some(request) = accepted.message.key_request(&self.config) else { return };
        let spoken = match self.callbacks.fetch(&request).await {
            Ok(answer) => accepted.message.speech(&answer),
            Err(reason) => {
                tracing::warn!(url = request.url, reason, "the speech of a call cannot be fetched");
                Spoken { transcript: format!("(no speech: {reason})"), language: None }
            }
        };
        self.record.add_speech(accepted, spoken);
    }

    /// Runs a future until shutdown. `None` after shutdown.
    pub(crate) async fn while_running<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.stopping.clone();
        // An error means that the gateway was dropped without `shutdown`.
        tokio::select! {
            done = work => Some(done),
            _ = stopping.wait_for(|stop| *stop) => None,
        }
    }

    /// Waits for this time, or until shutdown.
    pub(crate) async fn pause(&self, time: Duration) {
        self.while_running(tokio::time::sleep(time)).await;
    }
}
