//! Parameters of statements and values of rows, the same for both databases.

use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

use crate::account::AccountState;
use crate::app_request::RequestState;
use crate::challenge::{Acr, ChallengeState, Proof, Purpose};
use crate::device::TrustKind;
use crate::method::{Channel, Kind, MethodState};

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Null.
    Null,
    /// An integer.
    Int(i64),
    /// A boolean.
    Bool(bool),
    /// A text.
    Text(String),
    /// An id.
    Uuid(Uuid),
}

/// A value of a row. SQLite returns an id as a text.
pub type Cell = Value;

/// A row.
#[derive(Debug)]
pub struct Row(pub Vec<Cell>);

impl Row {
    /// Returns an integer; 0 for null.
    pub fn int(&self, place: usize) -> i64 {
        match self.0.get(place) {
            Some(Value::Int(n)) => *n,
            _ => 0,
        }
    }

    /// Returns a text; empty for null.
    pub fn text(&self, place: usize) -> &str {
        match self.0.get(place) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// Returns an id; `None` for null.
    pub fn uuid(&self, place: usize) -> Option<Uuid> {
        self.0.get(place).and_then(Uuid::from_cell)
    }
}

/// A type of a column.
pub trait Column: Sized {
    /// Converts it to a parameter.
    fn to_value(&self) -> Value;
    /// Converts it from a cell; `None` if the cell has another type.
    fn from_cell(cell: &Cell) -> Option<Self>;
}

impl Column for i64 {
    fn to_value(&self) -> Value {
        Value::Int(*self)
    }
    fn from_cell(cell: &Cell) -> Option<Self> {
        if let Value::Int(n) = cell { Some(*n) } else { None }
    }
}

impl Column for u32 {
    fn to_value(&self) -> Value {
        Value::Int(i64::from(*self))
    }
    fn from_cell(cell: &Cell) -> Option<Self> {
        i64::from_cell(cell).and_then(|n| n.try_into().ok())
    }
}

impl Column for bool {
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
    fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Value::Bool(b) => Some(*b),
            Value::Int(n) => Some(*n != 0),
            _ => None,
        }
    }
}

impl Column for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
    fn from_cell(cell: &Cell) -> Option<Self> {
        if let Value::Text(text) = cell { Some(text.clone()) } else { None }
    }
}

impl Column for Uuid {
    fn to_value(&self) -> Value {
        Value::Uuid(*self)
    }
    fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Value::Uuid(id) => Some(*id),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl Column for Timestamp {
    fn to_value(&self) -> Value {
        Value::Int(self.as_millisecond())
    }
    fn from_cell(cell: &Cell) -> Option<Self> {
        i64::from_cell(cell).map(crate::clock::from_millis)
    }
}

impl<T: Column> Column for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, Column::to_value)
    }
    fn from_cell(cell: &Cell) -> Option<Self> {
        if *cell == Value::Null { Some(None) } else { T::from_cell(cell).map(Some) }
    }
}

/// Stores an enum as a text.
pub(super) fn word_to_value<T: Into<&'static str>>(word: T) -> Value {
    let text: &'static str = word.into();
    Value::Text(text.to_owned())
}

/// Reads an enum from a text.
pub(super) fn word_from_cell<T: FromStr>(cell: &Cell) -> Option<T> {
    if let Value::Text(text) = cell { text.parse().ok() } else { None }
}

macro_rules! words {
    ($($ty:ty),+ $(,)?) => {$(
        impl Column for $ty {
            fn to_value(&self) -> Value { $crate::store::value::word_to_value(*self) }
            fn from_cell(cell: &Cell) -> Option<Self> { $crate::store::value::word_from_cell(cell) }
        }
    )+};
}
pub(super) use words;

words!(
    AccountState,
    RequestState,
    Kind,
    MethodState,
    Channel,
    Purpose,
    ChallengeState,
    Proof,
    Acr,
    TrustKind
);
