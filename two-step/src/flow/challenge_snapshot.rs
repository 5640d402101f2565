//! The data that a challenge's page shows.

use jiff::Timestamp;
use uuid::Uuid;

use super::send::may_prove;
use super::{Core, FlowError, LockedRows, Requester, lock_challenge};
use crate::account::Account;
use crate::app_request::AppRequest;
use crate::challenge::{Challenge, ChallengeState};
use crate::code::Code;
use crate::method::{Kind, Method};
use crate::store::{Dispatch, OutboxRow, Tx, Value, id_time};

/// A challenge, and the data that its page shows.
#[derive(Debug, Clone)]
pub struct ChallengeSnapshot {
    /// The account.
    pub account: Account,
    /// The challenge.
    pub challenge: Challenge,
    /// The account's methods that are not removed.
    pub methods: Vec<Method>,
    /// The newest dispatch for the method of the page.
    pub dispatch: Option<Dispatch>,
    /// The state of the newest mail, if the page shows an e-mail address that was sent one.
    pub mail: Option<MailState>,
    /// The newest request to the app, if the page shows an app.
    pub request: Option<AppRequest>,
    /// The database's time.
    pub now: Timestamp,
}

/// The state of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailState {
    /// In our outbox.
    Waiting {
        /// The time of its creation.
        since: Timestamp,
    },
    /// The mail server accepted it.
    Sent,
    /// The mail server rejected it, or there is none.
    Refused,
}

impl ChallengeSnapshot {
    /// The method of the page.
    pub fn method(&self) -> Option<&Method> {
        self.challenge.method.and_then(|id| self.methods.iter().find(|m| m.id == id))
    }

    /// Returns whether a method can prove the challenge.
    pub fn may_prove(&self, method: &Method, email_second_step: bool) -> bool {
        may_prove(method, &self.challenge, email_second_step)
    }
}

impl Core {
    /// Reads a challenge for its page.
    pub async fn challenge_snapshot(
        &self, challenge: Uuid, who: &Requester,
    ) -> Result<ChallengeSnapshot, FlowError> {
        let mut tx = self.store.begin().await?;
        let (locked, challenge) = lock_challenge(&mut tx, challenge).await?;
        who.must_own(self, &locked.account, &challenge)?;
        let snapshot = challenge_snapshot_in(&mut tx, locked, challenge).await?;
        tx.commit().await?;
        Ok(snapshot)
    }

    /// Cancels a challenge for the user or the product.
    pub async fn cancel(&self, challenge: Uuid, who: &Requester) -> Result<Option<String>, FlowError> {
        let mut tx = self.store.begin().await?;
        let (locked, mut challenge) = lock_challenge(&mut tx, challenge).await?;
        who.must_own(self, &locked.account, &challenge)?;
        if challenge.state.is_live() {
            challenge.end(ChallengeState::Cancelled, locked.now);
            tx.update(&challenge).await?;
            self.delete_codes(&mut tx, &challenge, locked.now).await?;
        }
        tx.commit().await?;
        Ok(self.location(&challenge))
    }
}

/// The same in a transaction that holds the locks.
pub(super) async fn challenge_snapshot_in(
    tx: &mut Tx, locked: LockedRows, challenge: Challenge,
) -> Result<ChallengeSnapshot, FlowError> {
    let dispatch = match challenge.method {
        Some(method) => newest_dispatch(tx, challenge.id, method).await?,
        None => None,
    };
    let shown = challenge.method.and_then(|id| locked.method(id));
    let mail = match shown.filter(|m| m.kind == Kind::Email) {
        Some(mailbox) => mail_state(tx, challenge.id, mailbox.id).await?,
        None => None,
    };
    let request = match shown.filter(|m| m.kind == Kind::App) {
        Some(app) => newest_request(tx, challenge.id, app.id).await?,
        None => None,
    };
    let LockedRows { account, methods, now } = locked;
    Ok(ChallengeSnapshot { account, challenge, methods, dispatch, mail, request, now })
}

async fn mail_state(tx: &mut Tx, challenge: Uuid, method: Uuid) -> Result<Option<MailState>, FlowError> {
    let newest = "where challenge = $1 and method = $2 order by created_at desc, id desc limit 1";
    let code = tx.find::<Code>(newest, &[Value::Uuid(challenge), Value::Uuid(method)]).await?;
    let Some(code) = code else { return Ok(None) };
    if code.undelivered {
        return Ok(Some(MailState::Refused));
    }
    let waiting = "where subject = $1 order by id desc limit 1";
    let row = tx.find::<OutboxRow>(waiting, &[Value::Uuid(code.group_id)]).await?;
    Ok(Some(row.map_or(MailState::Sent, |row| MailState::Waiting { since: id_time(row.id) })))
}

/// Returns the newest request of a challenge to one app.
async fn newest_request(tx: &mut Tx, challenge: Uuid, method: Uuid) -> Result<Option<AppRequest>, FlowError> {
    let newest = "where challenge = $1 and method = $2 order by id desc limit 1";
    Ok(tx.find::<AppRequest>(newest, &[Value::Uuid(challenge), Value::Uuid(method)]).await?)
}

async fn newest_dispatch(tx: &mut Tx, challenge: Uuid, method: Uuid) -> Result<Option<Dispatch>, FlowError> {
    let newest = "where challenge = $1 and method = $2 order by issued_at desc, id desc limit 1";
    Ok(tx.find::<Dispatch>(newest, &[Value::Uuid(challenge), Value::Uuid(method)]).await?)
}
