//! Errors of the SQLite file, and the ledger errors they map to.

use crate::ledger::LedgerError;

/// An error inside the file's thread.
pub(super) enum Fault {
    Sql(rusqlite::Error),
    BadRow,
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sql(e)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(_: serde_json::Error) -> Self {
        Self::BadRow
    }
}

impl From<Fault> for LedgerError {
    fn from(fault: Fault) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, ConstraintViolation, DatabaseBusy, DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly,
            SystemIoFailure, TypeMismatch,
        };
        let Fault::Sql(e) = fault else {
            return Self::Unusable("the ledger's file holds a row of another form".to_owned());
        };
        match e.sqlite_error_code() {
            Some(ConstraintViolation | TypeMismatch) => {
                Self::Data { sqlstate: "23000".to_owned(), constraint: None }
            }
            Some(DatabaseBusy) => Self::Conflict,
            Some(DatabaseCorrupt | NotADatabase) => {
                Self::Unusable("the ledger's file is damaged, or no ledger".to_owned())
            }
            Some(DiskFull) => Self::Unwritable("the ledger's disk is full; make room on it"),
            Some(SystemIoFailure) => Self::Unwritable(
                "the ledger's disk fails; see the system's log, and whether the disk has to be replaced",
            ),
            Some(ReadOnly | CannotOpen) => Self::Unwritable(
                "the ledger's file cannot be written; see its folder's mount and permissions",
            ),
            Some(code) => Self::Unreachable(format!("{code:?}")),
            None => Self::Unusable("the ledger's file has another schema; run: otpost migrate".to_owned()),
        }
    }
}
