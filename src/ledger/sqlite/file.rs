//! The file of the ledger, and the lock file beside it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;
use crate::ledger::LedgerError;

/// The oldest accepted SQLite version, 3.51.3. Earlier versions can corrupt a WAL file (sqlite.org/wal.html, "WAL-reset bug").
const MIN_SQLITE_VERSION: i32 = 3_051_003;

/// Takes the lock file, which excludes other processes while the file is open.
pub(super) fn lock(path: &Path) -> Result<File, LedgerError> {
    let mut name = PathBuf::from(path).into_os_string();
    name.push(".lock");
    let cannot =
        |_| LedgerError::Unusable(format!("cannot write beside {}; check ledger.url", path.display()));
    let file = File::options().create(true).truncate(false).write(true).open(name).map_err(cannot)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        LedgerError::Unusable(format!(
            "{} is in use by another otpost; stop that one, use its HTTP API, or choose another file: ledger.url, or otpost dev --data FOLDER",
            path.display()
        ))
    })?;
    Ok(file)
}

/// Creates the file with mode 0600. SQLite gives its WAL and shared-memory files the same mode.
fn make_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let _ = File::options().create_new(true).write(true).mode(0o600).open(path);
}

/// Opens the file, and creates it if it does not exist.
pub(super) fn connect(path: &Path) -> Result<Connection, LedgerError> {
    if rusqlite::version_number() < MIN_SQLITE_VERSION {
        return Err(LedgerError::Unusable(format!(
            "SQLite {} is too old; 3.51.3 or newer is needed",
            rusqlite::version()
        )));
    }
    Ok(open(path).map_err(Fault::from)?)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    make_private(path);
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "secure_delete", "on")?;
    db.pragma_update(None, "foreign_keys", "on")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}
