//! Maps structs to tables.

use super::{Row, StoreError, Value};
use crate::store::Column;

/// A struct whose fields are the columns of a table, in the order of [`Record::values`]. The first one is the key.
pub trait Record: Sized {
    /// The key's type.
    type Id: Column;
    /// `insert into …`
    const INSERT: &'static str;
    /// `update … where` the key matches.
    const UPDATE: &'static str;
    /// `delete from … where` the key matches.
    const DELETE: &'static str;
    /// `select … from …`
    const SELECT: &'static str;
    /// `select … where` the key matches.
    const GET: &'static str;
    /// The same with a lock.
    const LOCK: &'static str;

    /// Returns the values of all columns.
    fn values(&self) -> Vec<Value>;
    /// Creates the struct from a row of [`Record::SELECT`].
    fn from_row(row: &Row) -> Result<Self, StoreError>;
}

/// Maps a struct to a table. The numbers are parameter positions.
macro_rules! record {
    ($ty:ty, $table:literal, $key:ident: $id:ty = 1 $(, $field:ident = $n:literal)* $(,)?) => {
        impl $crate::store::Record for $ty {
            type Id = $id;
            const INSERT: &'static str = concat!(
                "insert into ", $table, " (", stringify!($key) $(, ", ", stringify!($field))*, ") values ($1" $(, ", $", stringify!($n))*, ")");
            const UPDATE: &'static str = concat!(
                "update ", $table, " set ", stringify!($key), " = $1" $(, ", ", stringify!($field), " = $", stringify!($n))*,
                " where ", stringify!($key), " = $1");
            const DELETE: &'static str = concat!("delete from ", $table, " where ", stringify!($key), " = $1");
            const SELECT: &'static str = concat!("select ", stringify!($key) $(, ", ", stringify!($field))*, " from ", $table);
            const GET: &'static str = concat!(
                "select ", stringify!($key) $(, ", ", stringify!($field))*, " from ", $table, " where ", stringify!($key), " = $1");
            const LOCK: &'static str = concat!(
                "select ", stringify!($key) $(, ", ", stringify!($field))*, " from ", $table, " where ", stringify!($key),
                " = $1 for update");

            fn values(&self) -> Vec<$crate::store::Value> {
                vec![$crate::store::Column::to_value(&self.$key) $(, $crate::store::Column::to_value(&self.$field))*]
            }

            fn from_row(row: &$crate::store::Row) -> Result<Self, $crate::store::StoreError> {
                let unreadable = |column| $crate::store::StoreError::Unreadable { table: $table, column };
                Ok(Self {
                    $key: row.0.first().and_then($crate::store::Column::from_cell).ok_or_else(|| unreadable(stringify!($key)))?,
                    $($field: row.0.get($n - 1).and_then($crate::store::Column::from_cell).ok_or_else(|| unreadable(stringify!($field)))?,)*
                })
            }
        }
    };
}
pub(super) use record;
