//! Errors of the SQLite file, and the ledger errors they map to.

use crate::ledger::LedgerError;

const DISK_IS_FULL: &str = "the ledger's disk is full; make room on it";

/// An error inside the file's thread.
pub(super) enum Fault {
    Sql(rusqlite::Error),
    /// A row has a word or a form that this version does not know.
    UnknownForm,
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        match e {
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => {
                Self::UnknownForm
            }
            e => Self::Sql(e),
        }
    }
}

impl From<serde_json::Error> for Fault {
    fn from(_: serde_json::Error) -> Self {
        Self::UnknownForm
    }
}

impl From<Fault> for LedgerError {
    fn from(fault: Fault) -> Self {
        use rusqlite::ErrorCode::{
            ConstraintViolation, DatabaseBusy, DatabaseCorrupt, NotADatabase, TypeMismatch,
        };
        let Fault::Sql(e) = fault else { return Self::UnknownForm };
        if let Some(error) = disk_error(&e) {
            return error;
        }
        match e.sqlite_error_code() {
            Some(ConstraintViolation | TypeMismatch) => {
                Self::Data { sqlstate: "23000".to_owned(), constraint: None }
            }
            Some(DatabaseBusy) => Self::Conflict,
            Some(DatabaseCorrupt | NotADatabase) => {
                Self::Unusable("the ledger's file is damaged, or no ledger".to_owned())
            }
            Some(code) => Self::Unreachable(format!("{code:?}")),
            None => Self::Unusable("the ledger's file has another schema; run: otpost migrate".to_owned()),
        }
    }
}

/// The ledger error of a disk that accepts no writes. `None` for every other error.
pub(super) fn disk_error(e: &rusqlite::Error) -> Option<LedgerError> {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, ReadOnly, SystemIoFailure};
    // The shared-memory file cannot grow.
    let has_no_room =
        e.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
    let what_to_do = match e.sqlite_error_code()? {
        SystemIoFailure if has_no_room => DISK_IS_FULL,
        DiskFull => DISK_IS_FULL,
        SystemIoFailure => {
            "the ledger's disk fails; see the system's log, and whether the disk has to be replaced"
        }
        ReadOnly | CannotOpen => {
            "the ledger's file cannot be written; see its folder's mount and permissions"
        }
        _ => return None,
    };
    Some(LedgerError::Unwritable(what_to_do))
}
