//! The PostgreSQL driver. Every wait has a time-out: for a connection, a lock or an answer.

use std::error::Error;
use std::time::Duration;

use deadpool_postgres::{
    HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use otpost::ledger::PostgresServer;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::{Row, StoreError, Value};

/// Time-out of a statement on the server, including lock waits.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time-out of an answer on the client. Longer than the server's, so the server cancels first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time-out of a connection from the pool. As long as one statement may take.
const POOL_WAIT: Duration = STATEMENT_TIMEOUT;
/// Time after which the server ends an idle transaction of a vanished client.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);

/// Connections to PostgreSQL.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: Pool,
}

impl Postgres {
    pub(super) fn open(url: &str, pool: usize) -> Result<Self, StoreError> {
        let refused = |why| StoreError::Url(format!("database.url {why}"));
        let server = PostgresServer::parse(url, "two-step").map_err(refused)?;
        let tls = server.tls(None).map_err(StoreError::Url)?;
        let own = [
            ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION.as_millis().to_string()),
        ];
        let settings = server.settings_hook(&own.each_ref().map(|(name, value)| (*name, value.as_str())));
        let manager = Manager::from_config(
            server.config,
            tls,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(pool.max(1))
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(CONNECT_TIMEOUT + Duration::from_secs(1)))
            .recycle_timeout(Some(Duration::from_secs(1)))
            .post_create(settings)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| StoreError::Url("the connection pool cannot be built".to_owned()))?;
        Ok(Self { pool })
    }

    pub(super) async fn connection(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|e| match e {
            PoolError::Backend(e) | PoolError::PostCreateHook(HookError::Backend(e)) => error_of(&e),
            PoolError::Timeout(_) => StoreError::Unreachable("no connection in time".to_owned()),
            _ => StoreError::Unreachable("no connection".to_owned()),
        })
    }

    pub(super) async fn begin(&self) -> Result<PostgresTx, StoreError> {
        let connection = self.connection().await?;
        let tx = PostgresTx { connection: Some(connection) };
        tx.bounded(tx.object()?.batch_execute("begin")).await?;
        Ok(tx)
    }
}

/// A transaction. Dropped without a commit, it is rolled back and its connection returns to the pool.
pub(super) struct PostgresTx {
    connection: Option<Object>,
}

impl Drop for PostgresTx {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(Object::take(connection));
            return;
        };
        runtime.spawn(async move {
            let undone = tokio::time::timeout(ANSWER_TIMEOUT, connection.batch_execute("rollback")).await;
            if !matches!(undone, Ok(Ok(()))) {
                // A pooled connection would keep its transaction open. Closing the connection rolls it back.
                drop(Object::take(connection));
            }
        });
    }
}

impl PostgresTx {
    fn object(&self) -> Result<&Object, StoreError> {
        self.connection
            .as_ref()
            .ok_or_else(|| StoreError::Unreachable("the transaction has ended".to_owned()))
    }

    async fn bounded<T>(
        &self, work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(ANSWER_TIMEOUT, work).await {
            Ok(done) => done.map_err(|e| error_of(&e)),
            Err(_) => Err(StoreError::Unreachable("no answer in time".to_owned())),
        }
    }

    pub(super) async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let object = self.object()?;
        let work = async {
            let statement = object.prepare_cached(sql).await?;
            object.query(&statement, &params(values)).await
        };
        let rows = self.bounded(work).await?;
        rows.iter().map(read_row).collect()
    }

    pub(super) async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let object = self.object()?;
        let work = async {
            let statement = object.prepare_cached(sql).await?;
            object.execute(&statement, &params(values)).await
        };
        self.bounded(work).await
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        self.bounded(self.object()?.batch_execute("commit")).await?;
        // The connection can return to the pool: no transaction is open.
        drop(self.connection.take());
        Ok(())
    }
}

fn params(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|v| v as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(n) if *ty == Type::INT4 => i32::try_from(*n)?.to_sql(ty, out),
            Self::Int(n) => n.to_sql(ty, out),
            Self::Bool(b) => b.to_sql(ty, out),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Uuid(id) => id.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn read_row(row: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let cell = |n: usize, ty: &Type| -> Result<Value, tokio_postgres::Error> {
        Ok(match *ty {
            Type::INT8 => row.try_get::<_, Option<i64>>(n)?.map_or(Value::Null, Value::Int),
            Type::INT4 => row.try_get::<_, Option<i32>>(n)?.map_or(Value::Null, |n| Value::Int(i64::from(n))),
            Type::BOOL => row.try_get::<_, Option<bool>>(n)?.map_or(Value::Null, Value::Bool),
            Type::UUID => row.try_get::<_, Option<uuid::Uuid>>(n)?.map_or(Value::Null, Value::Uuid),
            _ => row.try_get::<_, Option<String>>(n)?.map_or(Value::Null, Value::Text),
        })
    };
    let cells: Result<Vec<Value>, _> =
        row.columns().iter().enumerate().map(|(n, column)| cell(n, column.type_())).collect();
    cells.map(Row).map_err(|e| error_of(&e))
}

/// The error contains no value of a statement.
pub(super) fn error_of(e: &tokio_postgres::Error) -> StoreError {
    let Some(db) = e.as_db_error() else {
        return StoreError::Unreachable("the connection is broken or was refused".to_owned());
    };
    let code = db.code();
    if *code == SqlState::UNIQUE_VIOLATION {
        return StoreError::Exists;
    }
    if [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN].contains(code) {
        return StoreError::Schema("the schema is missing or older: run `two-step migrate`".to_owned());
    }
    // Class 08: connection; 53: resources; 57: operator intervention or time-out; 40: deadlock, serialisation.
    if ["08", "53", "57", "40", "25"].contains(&&code.code()[..2]) {
        return StoreError::Unreachable(format!("SQLSTATE {}", code.code()));
    }
    StoreError::Refused(code.code().to_owned())
}
