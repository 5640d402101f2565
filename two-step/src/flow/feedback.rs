//! otpost hears whether codes came back right, and what it need not send any more.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{Core, FlowError};
use crate::challenge::Challenge;
use crate::store::{Dispatch, OutboxKind, Tx, Value};

impl Core {
    /// Tells otpost that a code came back right, and takes back what is still under way.
    pub(super) async fn settle_dispatches(
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
                self.enqueue(tx, OutboxKind::Feedback, dispatch.id, &body, challenge.expires_at, now).await?;
            } else if !dispatch.state.is_final() {
                let body = json!({"id": dispatch.id});
                self.enqueue(tx, OutboxKind::Cancel, dispatch.id, &body, challenge.expires_at, now).await?;
            }
        }
        Ok(())
    }

    /// Tells otpost that a code came back wrong, or, once a challenge is over, to send nothing more.
    pub(super) async fn feedback(
        &self, tx: &mut Tx, challenge: &Challenge, verified: bool, over: Option<()>, now: Timestamp,
    ) -> Result<(), FlowError> {
        let rows = tx
            .select::<Dispatch>(
                "where challenge = $1 order by issued_at desc, id desc",
                &[Value::Uuid(challenge.id)],
            )
            .await?;
        let open = rows.iter().filter(|d| over.is_none() || !d.state.is_final());
        let until = crate::clock::after(now, std::time::Duration::from_secs(600));
        for dispatch in open.take(if over.is_some() { usize::MAX } else { 1 }) {
            let (kind, body) = match over {
                None => (OutboxKind::Feedback, json!({"id": dispatch.id, "verified": verified})),
                Some(()) => (OutboxKind::Cancel, json!({"id": dispatch.id})),
            };
            self.enqueue(tx, kind, dispatch.id, &body, until, now).await?;
        }
        Ok(())
    }
}
