//! The meaning of PostgreSQL's errors.

use tokio_postgres::error::SqlState;

use crate::ledger::LedgerError;

pub(super) const NO_ANSWER: &str =
    "the ledger's answer is incomplete: its schema is of another version; run: otpost migrate";

/// The keys of rows that another transaction may have inserted since we looked. The group runs again and finds them.
const INSERTED_MEANWHILE: &[&str] = &["dispatch_id", "quota_pkey"];

/// Maps a database error. The server's message is dropped, because it quotes values.
pub(super) fn ledger_error(e: &tokio_postgres::Error) -> LedgerError {
    let Some(db) = e.as_db_error() else {
        return LedgerError::Unreachable(
            if e.is_closed() { "connection closed" } else { "connection lost" }.to_owned(),
        );
    };
    let state = db.code();
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(state) {
        return LedgerError::Conflict;
    }
    let constraint = db.constraint().map(str::to_owned);
    if *state == SqlState::UNIQUE_VIOLATION
        && constraint.as_deref().is_some_and(|name| INSERTED_MEANWHILE.contains(&name))
    {
        return LedgerError::Conflict;
    }
    match *state {
        SqlState::INSUFFICIENT_PRIVILEGE => {
            return LedgerError::Unusable(
                "the user in ledger.url lacks a right (SQLSTATE 42501): `otpost migrate` needs CREATE on the schema; the service needs \
                 SELECT, INSERT, UPDATE and DELETE on all of its tables"
                    .to_owned(),
            );
        }
        // This process was frozen in a transaction, and the server has rolled it back.
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => return LedgerError::Conflict,
        SqlState::QUERY_CANCELED => return LedgerError::TooSlow("a statement reached its time limit (SQLSTATE 57014)"),
        SqlState::LOCK_NOT_AVAILABLE => return LedgerError::TooSlow("a lock was not free in time (SQLSTATE 55P03)"),
        SqlState::DISK_FULL => {
            return LedgerError::Unwritable("the ledger's disk is full; free space on the PostgreSQL server");
        }
        SqlState::IO_ERROR => {
            return LedgerError::Unwritable(
                "the ledger's disk reports errors; see the PostgreSQL server's log",
            );
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            return LedgerError::Unwritable(
                "the ledger is read-only; check that ledger.url does not name a standby, and check default_transaction_read_only",
            );
        }
        _ => {}
    }
    match &state.code()[..2] {
        "22" | "23" => LedgerError::Data { sqlstate: state.code().to_owned(), constraint },
        "42" | "3F" => LedgerError::Unusable(format!(
            "the ledger has no schema of this version (SQLSTATE {}); run: otpost migrate",
            state.code()
        )),
        "28" | "3D" => LedgerError::Unusable(format!(
            "PostgreSQL rejects the login (SQLSTATE {}); check user, password and database in ledger.url",
            state.code()
        )),
        _ => LedgerError::Unreachable(format!("SQLSTATE {}", state.code())),
    }
}
