//! The carriers' message ids in PostgreSQL.

use async_trait::async_trait;
use serde_json::Value;

use super::Postgres;
use crate::domain::attempt::{AttemptId, Receipt};
use crate::ledger::message_ids::MessageIds;
use crate::ledger::store::RECEIPT_KEPT;
use crate::ledger::{AttemptReceipt, LedgerError};

#[derive(serde::Deserialize)]
struct NamedRow {
    uid: uuid::Uuid,
    n: u16,
}

#[async_trait]
impl MessageIds for Postgres {
    async fn store_message_id(
        &self, carrier: &str, message_id: &str, attempt: AttemptId,
    ) -> Result<(), LedgerError> {
        let sql = "with named as (insert into carrier_message
                                  select $1, $2, d.uid, $4 from dispatch d where d.uid = $3
                                  on conflict do nothing)
                   select to_jsonb(1)";
        let n = attempt.n as i16;
        let _: Vec<Value> = self.json(sql, &[&carrier, &message_id, &attempt.uid, &n]).await?;
        Ok(())
    }

    async fn named_attempt(&self, carrier: &str, message_id: &str) -> Result<Option<AttemptId>, LedgerError> {
        let sql = "select to_jsonb(r) from carrier_message r where carrier = $1 and message_id = $2";
        let row: Option<NamedRow> = self.json(sql, &[&carrier, &message_id]).await?.pop();
        Ok(row.map(|row| AttemptId { uid: row.uid, n: row.n }))
    }

    async fn keep_unmatched(
        &self, carrier: &str, message_id: &str, receipt: &Receipt,
    ) -> Result<(), LedgerError> {
        let sql =
            "with kept as (insert into unmatched_receipt values ($1, $2, jsonb_strip_nulls($3), clock_timestamp())
                           on conflict do nothing)
             select to_jsonb(1)";
        let receipt = serde_json::to_value(receipt).map_err(|e| LedgerError::Unusable(e.to_string()))?;
        let _: Vec<Value> = self.json(sql, &[&carrier, &message_id, &receipt]).await?;
        Ok(())
    }

    async fn has_unmatched(&self, carrier: &str, message_id: &str) -> Result<bool, LedgerError> {
        let sql =
            "select to_jsonb(exists (select from unmatched_receipt where carrier = $1 and message_id = $2))";
        Ok(self.json(sql, &[&carrier, &message_id]).await?.pop().unwrap_or(false))
    }

    async fn matched(&self, most: usize) -> Result<Vec<AttemptReceipt>, LedgerError> {
        // The choice is random, so that those that cannot be recorded do not keep back the others.
        let sql =
            "with old as (delete from unmatched_receipt where received_at < clock_timestamp() - make_interval(secs => $2)),
                  chosen as (select u.carrier, u.receipt, u.received_at, r.uid, r.n
                               from unmatched_receipt u join carrier_message r using (carrier, message_id)
                              order by random() limit $1)
             select c.receipt || jsonb_build_object('uid', c.uid, 'n', c.n, 'carrier', c.carrier)
               from chosen c order by c.received_at";
        self.readable_json(sql, &[&(most as i64), &RECEIPT_KEPT.as_secs_f64()]).await
    }

    async fn forget_unmatched(
        &self, carrier: &str, message_id: &str, receipt: &Receipt,
    ) -> Result<(), LedgerError> {
        let sql = "delete from unmatched_receipt where carrier = $1 and message_id = $2 and receipt = jsonb_strip_nulls($3)";
        let receipt = serde_json::to_value(receipt).map_err(|e| LedgerError::Unusable(e.to_string()))?;
        self.execute(sql, &[&carrier, &message_id, &receipt]).await.map(drop)
    }
}
