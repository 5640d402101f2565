//! The SQLite driver: one connection, one transaction at a time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement, ToSql};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Row, StoreError, Value};

/// Maximum wait for the previous transaction.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of cached prepared statements.
const CACHED_STATEMENTS: usize = 200;

/// One SQLite file.
#[derive(Clone)]
pub(super) struct Sqlite {
    pub(super) connection: Arc<Mutex<Connection>>,
}

impl Sqlite {
    pub(super) fn open(path: &str) -> Result<Self, StoreError> {
        let path = Path::new(path);
        let cannot = |_| {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists());
            let why = folder.map_or_else(String::new, |p| format!(": the folder {} is missing", p.display()));
            StoreError::Url(format!("{} cannot be opened{why}", path.display()))
        };
        let connection = Connection::open(path).map_err(cannot)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection
            .execute_batch(
                "pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 5000; pragma secure_delete = on;",
            )
            .map_err(cannot)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    pub(super) async fn begin(&self) -> Result<SqliteTx, StoreError> {
        let lock = Arc::clone(&self.connection).lock_owned();
        let connection = tokio::time::timeout(LOCK_TIMEOUT, lock)
            .await
            .map_err(|_| StoreError::Unreachable("the SQLite file is busy".to_owned()))?;
        connection.execute_batch("begin immediate").map_err(|e| error_of(&e))?;
        Ok(SqliteTx { connection, open: true })
    }
}

/// A transaction. Statements take microseconds, so they run on the calling thread.
pub(super) struct SqliteTx {
    connection: OwnedMutexGuard<Connection>,
    open: bool,
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        if self.open {
            let _ = self.connection.execute_batch("rollback");
        }
    }
}

impl SqliteTx {
    pub(super) fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| error_of(&e))?;
        let columns = statement.column_count();
        bind(&mut statement, values).map_err(|e| error_of(&e))?;
        let mut rows = statement.raw_query();
        let mut out = vec![];
        while let Some(row) = rows.next().map_err(|e| error_of(&e))? {
            let cells: Result<Vec<Value>, _> = (0..columns).map(|n| row.get_ref(n).map(cell)).collect();
            out.push(Row(cells.map_err(|e| error_of(&e))?));
        }
        Ok(out)
    }

    pub(super) fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| error_of(&e))?;
        bind(&mut statement, values).map_err(|e| error_of(&e))?;
        let changed = statement.raw_execute().map_err(|e| error_of(&e))?;
        Ok(changed as u64)
    }

    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        self.connection.execute_batch("commit").map_err(|e| error_of(&e))?;
        self.open = false;
        Ok(())
    }
}

/// Binds the values to `$1`, `$2` and so on. SQLite treats `$1` as a name, and numbers names by their first occurrence in
/// the statement.
fn bind(statement: &mut Statement<'_>, values: &[Value]) -> rusqlite::Result<()> {
    let count = statement.parameter_count();
    let unfit = || rusqlite::Error::InvalidParameterCount(values.len(), count);
    for place in 1..=count {
        let name = statement.parameter_name(place).and_then(|name| name.strip_prefix('$'));
        let number = name.and_then(|n| n.parse::<usize>().ok()).and_then(|n| n.checked_sub(1));
        let value = number.and_then(|n| values.get(n)).ok_or_else(unfit)?;
        statement.raw_bind_parameter(place, value)?;
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(rusqlite::types::Value::Null),
            Self::Int(n) => ToSqlOutput::Owned((*n).into()),
            Self::Bool(b) => ToSqlOutput::Owned(i64::from(*b).into()),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Uuid(id) => ToSqlOutput::Owned(id.to_string().into()),
        })
    }
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Integer(n) => Value::Int(n),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        _ => Value::Null,
    }
}

pub(super) fn error_of(e: &rusqlite::Error) -> StoreError {
    match e {
        rusqlite::Error::SqliteFailure(failure, message) => match failure.code {
            ErrorCode::ConstraintViolation => StoreError::Exists,
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly => StoreError::Unreachable(format!("SQLite error {:?}", failure.code)),
            _ if message.as_deref().is_some_and(|m| m.starts_with("no such")) => {
                StoreError::Schema("the schema is missing or older: run `two-step migrate`".to_owned())
            }
            code => StoreError::Refused(format!("{code:?}")),
        },
        rusqlite::Error::SqlInputError { msg, .. } if msg.starts_with("no such") => {
            StoreError::Schema("the schema is missing or older: run `two-step migrate`".to_owned())
        }
        _ => StoreError::Refused("an invalid statement".to_owned()),
    }
}
