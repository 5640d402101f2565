//! The tables of the ledger, and the rights of the user in `ledger.url` on them.

use super::error::missing_right;
use super::{MIGRATIONS, Postgres};
use crate::ledger::LedgerError;

/// The tables of the migrations. The service reads and writes all of them.
pub(super) const TABLES: &[&str] = &[
    "api_key",
    "audit",
    "block",
    "carrier_message",
    "carrier_pause",
    "carrier_probe",
    "delivery_count",
    "dispatch",
    "housekeeping",
    "outbox",
    "process_report",
    "quota",
    "restriction",
    "stray_receipt",
    "timer",
    "trial",
    "unmatched_receipt",
    "worker",
];

/// Selects a schema of the search path that the user may not use. PostgreSQL skips such a schema, and then does not find the tables.
const HIDDEN_SCHEMA: &str = r#"
    select n.nspname::text from unnest(string_to_array(current_setting('search_path'), ',')) p(name)
      join pg_namespace n on n.nspname = replace(trim(both ' "' from p.name), '$user', current_user)
     where not has_schema_privilege(n.oid, 'USAGE') and to_regclass('dispatch') is null limit 1"#;

/// Selects a table that does not exist, although all migrations have run.
const MISSING_TABLE: &str = "
    select t.name from unnest($1::text[]) t(name)
     where to_regclass(t.name) is null and (select max(version) from refinery_schema_history) >= $2::int4 limit 1";

/// Selects a right that the user lacks on a table. A table that does not exist is skipped, because it has an error of its own.
const MISSING_RIGHT: &str = "
    select r.name, t.name from unnest($1::text[]) t(name), unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) r(name)
     where not has_table_privilege(to_regclass(t.name), r.name) limit 1";

impl Postgres {
    /// Fails if a table of the migrations is missing.
    pub(super) async fn check_tables(&self) -> Result<(), LedgerError> {
        match self.query(MISSING_TABLE, &[&TABLES, &(MIGRATIONS.len() as i32)]).await?.first() {
            Some(row) => Err(LedgerError::Unusable(format!(
                "the ledger's table {} is missing, although its migration was run: restore the database from a backup",
                row.get::<_, &str>(0)
            ))),
            None => Ok(()),
        }
    }

    /// Fails if the user may not use a schema of the search path, and the tables are not found without it.
    pub(super) async fn check_schema_right(&self) -> Result<(), LedgerError> {
        match self.query(HIDDEN_SCHEMA, &[]).await?.first() {
            Some(row) => {
                let message = format!("permission denied for schema {}", row.get::<_, String>(0));
                Err(LedgerError::Unusable(missing_right(&message)))
            }
            None => Ok(()),
        }
    }

    /// Fails if the user lacks a right on a table. Without this check, a statement that needs the right could fail much later.
    pub(super) async fn check_rights(&self) -> Result<(), LedgerError> {
        self.check_schema_right().await?;
        match self.query(MISSING_RIGHT, &[&TABLES]).await?.first() {
            Some(row) => {
                let (right, table) = (row.get::<_, &str>(0), row.get::<_, &str>(1));
                Err(LedgerError::Unusable(format!(
                    "the user in ledger.url lacks the right {right} on the table {table}: GRANT SELECT, INSERT, UPDATE, DELETE ON {table} \
                     TO it, and on all other tables of otpost"
                )))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MIGRATIONS, TABLES};

    /// Fails if a migration adds or drops a table, and the list is not changed. The list leaves out tables that the service only reads.
    #[test]
    fn the_list_has_the_tables_of_the_migrations() {
        let lines = MIGRATIONS.iter().flat_map(|(_, sql)| sql.lines());
        let mut tables: Vec<&str> = lines
            .filter_map(|line| line.strip_prefix("create table "))
            .filter_map(|rest| rest.split([' ', '(']).next())
            .filter(|table| *table != "compatibility")
            .collect();
        tables.sort_unstable();
        assert_eq!(tables, TABLES);
    }
}
