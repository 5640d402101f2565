//! Sends a challenge's request ("Is this you?") to an app.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::counting::{LimitFor, count, limited_until};
use super::events::OutboxHeader;
use super::{ChallengeSnapshot, Core, FlowError, LockedRows};
use crate::account::Account;
use crate::app_key::AppKey;
use crate::app_request::{AppRequest, RequestState, digits_of};
use crate::challenge::{Challenge, EntryRefused, Purpose, SendRefused};
use crate::clock::after;
use crate::config::Config;
use crate::method::Method;
use crate::seal::{Hashed, Sealed};
use crate::store::{OutboxKind, Tx, Value, new_id_at};

/// Maximum age of a push. After this time the page has offered other methods.
const PUSH_LIFE: Duration = Duration::from_secs(60);

impl Core {
    /// Creates a request in a transaction that holds the locks. An account has one open request. A second call for the same
    /// challenge changes nothing.
    pub(super) async fn create_app_request(
        &self, tx: &mut Tx, locked: &LockedRows, challenge: &Challenge, method: &Method,
    ) -> Result<Result<(), SendRefused>, FlowError> {
        if challenge.purpose == Purpose::Enrol {
            return Ok(Ok(()));
        }
        let now = locked.now;
        match challenge.may_enter(&locked.account, now) {
            Err(EntryRefused::Ended(state)) => return Ok(Err(SendRefused::Ended(state))),
            Err(EntryRefused::Paused { until }) => return Ok(Err(SendRefused::Limited { until })),
            Ok(()) => {}
        }
        let open = "where account = $1 and state = 'open' order by id";
        let mut open = tx.select_locked::<AppRequest>(open, &[Value::Uuid(locked.account.id)]).await?;
        if open.iter().any(|r| r.challenge == challenge.id && r.method == method.id) {
            return Ok(Ok(()));
        }
        let Some(key) = tx.get::<AppKey>(method.id).await? else { return Ok(Err(SendRefused::Method)) };
        let config = self.config();
        let limit = app_requests(&config, &locked.account);
        if let Some(until) = count(tx, &self.keys, &[limit], now).await? {
            return Ok(Err(SendRefused::Limited { until }));
        }
        for older in &mut open {
            older.state = RequestState::Replaced;
            tx.update(older).await?;
        }
        let request = AppRequest::new(new_id_at(now), challenge.id, locked.account.id, method.id, now);
        tx.insert(&request).await?;
        if let Some(sealed) = &key.push_sealed {
            let endpoint = self.keys.open_text(Sealed::Push, method.id, sealed)?;
            let body = json!({"endpoint": *endpoint, "method": method.id});
            let header =
                OutboxHeader { kind: OutboxKind::Push, subject: request.id, account: Some(request.account) };
            self.enqueue(tx, header, &body, after(now, PUSH_LIFE), now).await?;
        }
        tx.wake_after_commit(&self.app_waits.changed);
        Ok(Ok(()))
    }

    /// Returns until when the limit of requests to the account's apps is reached.
    pub(super) async fn app_requests_blocked_until(
        &self, snapshot: &ChallengeSnapshot,
    ) -> Result<Option<Timestamp>, FlowError> {
        let config = self.config();
        let limit = app_requests(&config, &snapshot.account);
        let mut tx = self.store.begin().await?;
        limited_until(&mut tx, &self.keys, &[limit], snapshot.now).await
    }

    /// Returns the digits that the page of a request shows.
    pub fn app_digits(&self, request: Uuid) -> String {
        let mac = self.keys.hash_bytes(Hashed::AppDigits, &[request.as_bytes()]);
        digits_of(&mac, self.config().app.number_digits)
    }
}

/// The limit of approval requests of an account.
pub(super) fn app_requests<'c>(config: &'c Config, account: &Account) -> LimitFor<'c> {
    LimitFor { name: "app_requests", subject: account.id.to_string(), rules: &config.limits.app_requests }
}
