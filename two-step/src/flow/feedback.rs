//! Sends feedback about codes to otpost, and cancels dispatches that are not needed any more.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::events::OutboxHeader;
use super::{Core, FlowError};
use crate::challenge::Challenge;
use crate::clock::after;
use crate::store::{Dispatch, OutboxKind, Tx, Value};

/// How long publishing feedback is retried.
const RETRY_LIFE: Duration = Duration::from_secs(600);

impl Core {
    /// Reports a right code to otpost, and cancels dispatches in progress.
    pub(super) async fn report_right_code(
        &self, tx: &mut Tx, challenge: &Challenge, group: Option<Uuid>, now: Timestamp,
    ) -> Result<(), FlowError> {
        let rows = tx
            .select::<Dispatch>(
                "where challenge = $1 order by issued_at desc, id desc",
                &[Value::Uuid(challenge.id)],
            )
            .await?;
        let mut told = false;
        for dispatch in rows {
            if !told && group == Some(dispatch.group_id) {
                told = true;
                let body = json!({"id": dispatch.id, "verified": true});
                self.enqueue(tx, feedback(&dispatch, challenge), &body, challenge.expires_at, now).await?;
            } else if !dispatch.state.is_final() {
                self.enqueue_cancel(tx, &dispatch, Some(challenge.account), now).await?;
            }
        }
        Ok(())
    }

    /// Reports a wrong code to otpost.
    pub(super) async fn report_wrong_code(
        &self, tx: &mut Tx, challenge: &Challenge, now: Timestamp,
    ) -> Result<(), FlowError> {
        let newest = "where challenge = $1 order by issued_at desc, id desc limit 1";
        if let Some(dispatch) = tx.find::<Dispatch>(newest, &[Value::Uuid(challenge.id)]).await? {
            let body = json!({"id": dispatch.id, "verified": false});
            let until = after(now, RETRY_LIFE);
            self.enqueue(tx, feedback(&dispatch, challenge), &body, until, now).await?;
        }
        Ok(())
    }

    /// Deletes the codes of an ended challenge, and cancels its dispatches.
    pub(super) async fn delete_codes(
        &self, tx: &mut Tx, challenge: &Challenge, now: Timestamp,
    ) -> Result<(), FlowError> {
        let id = [Value::Uuid(challenge.id)];
        tx.execute("delete from code where challenge = $1", &id).await?;
        let all = tx.select::<Dispatch>("where challenge = $1 order by issued_at desc, id desc", &id).await?;
        for dispatch in all.iter().filter(|d| !d.state.is_final()) {
            self.enqueue_cancel(tx, dispatch, Some(challenge.account), now).await?;
        }
        Ok(())
    }

    /// Cancels a dispatch at otpost. `account` is `None` if the user is erased.
    pub(super) async fn enqueue_cancel(
        &self, tx: &mut Tx, dispatch: &Dispatch, account: Option<Uuid>, now: Timestamp,
    ) -> Result<(), FlowError> {
        let body = json!({"id": dispatch.id});
        let header = OutboxHeader { kind: OutboxKind::Cancel, subject: dispatch.id, account };
        self.enqueue(tx, header, &body, after(now, RETRY_LIFE), now).await
    }
}

fn feedback(dispatch: &Dispatch, challenge: &Challenge) -> OutboxHeader {
    OutboxHeader { kind: OutboxKind::Feedback, subject: dispatch.id, account: Some(challenge.account) }
}
