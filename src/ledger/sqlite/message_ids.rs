//! The carriers' message ids in SQLite.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::OptionalExtension;

use super::{Fault, Sqlite};
use crate::domain::attempt::{AttemptId, Receipt};
use crate::ledger::message_ids::MessageIds;
use crate::ledger::store::RECEIPT_KEPT;
use crate::ledger::{AttemptReceipt, LedgerError};

#[async_trait]
impl MessageIds for Sqlite {
    async fn store_message_id(
        &self, carrier: &str, message_id: &str, attempt: AttemptId,
    ) -> Result<(), LedgerError> {
        let (carrier, message_id) = (carrier.to_owned(), message_id.to_owned());
        self.write(move |db, _| {
            let sql = "insert or ignore into carrier_message
                       select ?1, ?2, uid, ?4 from dispatch where uid = ?3";
            db.prepare_cached(sql)?.execute((carrier, message_id, attempt.uid.to_string(), attempt.n))?;
            Ok(())
        })
        .await
    }

    async fn named_attempt(&self, carrier: &str, message_id: &str) -> Result<Option<AttemptId>, LedgerError> {
        let (carrier, message_id) = (carrier.to_owned(), message_id.to_owned());
        self.write(move |db, _| {
            let sql = "select uid, n from carrier_message where carrier = ?1 and message_id = ?2";
            let row: Option<(String, u16)> = db
                .prepare_cached(sql)?
                .query_row((carrier, message_id), |r| Ok((r.get(0)?, r.get(1)?)))
                .optional()?;
            row.map(|(uid, n)| Ok(AttemptId { uid: uid.parse().map_err(|_| Fault::UnknownForm)?, n }))
                .transpose()
        })
        .await
    }

    async fn keep_unmatched(
        &self, carrier: &str, message_id: &str, receipt: &Receipt,
    ) -> Result<(), LedgerError> {
        let (carrier, message_id, receipt) = (carrier.to_owned(), message_id.to_owned(), receipt.clone());
        self.write(move |db, now| {
            let sql = "insert or ignore into unmatched_receipt values (?1, ?2, ?3, ?4)";
            let receipt = serde_json::to_string(&receipt)?;
            db.prepare_cached(sql)?.execute((carrier, message_id, receipt, now.as_microsecond()))?;
            Ok(())
        })
        .await
    }

    async fn has_unmatched(&self, carrier: &str, message_id: &str) -> Result<bool, LedgerError> {
        let (carrier, message_id) = (carrier.to_owned(), message_id.to_owned());
        self.write(move |db, _| {
            let sql =
                "select exists (select 1 from unmatched_receipt where carrier = ?1 and message_id = ?2)";
            Ok(db.prepare_cached(sql)?.query_row((carrier, message_id), |r| r.get(0))?)
        })
        .await
    }

    async fn matched(&self, most: usize) -> Result<Vec<AttemptReceipt>, LedgerError> {
        self.write(move |db, now| {
            let old = now.checked_sub(RECEIPT_KEPT).unwrap_or(Timestamp::MIN).as_microsecond();
            db.execute("delete from unmatched_receipt where received_at < ?1", [old])?;
            // The choice is random, so that those that cannot be recorded do not keep back the others.
            let sql = "select uid, n, carrier, receipt from (
                         select r.uid, r.n, u.carrier, u.receipt, u.received_at
                           from unmatched_receipt u join carrier_message r using (carrier, message_id)
                          order by random() limit ?1) order by received_at";
            super::receipts(db, sql, most)
        })
        .await
    }

    async fn forget_unmatched(
        &self, carrier: &str, message_id: &str, receipt: &Receipt,
    ) -> Result<(), LedgerError> {
        let (carrier, message_id, receipt) = (carrier.to_owned(), message_id.to_owned(), receipt.clone());
        self.write(move |db, _| {
            let sql = "delete from unmatched_receipt where carrier = ?1 and message_id = ?2 and receipt = ?3";
            db.prepare_cached(sql)?.execute((carrier, message_id, serde_json::to_string(&receipt)?))?;
            Ok(())
        })
        .await
    }
}
