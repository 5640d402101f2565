//! Why a call to the ledger failed. Errors differ in their consequences.

/// Why a call to the ledger failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The ledger is unreachable, or the result of the write is unknown. The same item may be submitted again.
    #[error("the ledger does not answer ({0})")]
    Unreachable(String),
    /// The ledger answers, but its disk accepts no writes; holds what to do. The same item may be submitted again.
    #[error("{0}")]
    Unwritable(&'static str),
    /// The ledger answers, but did not finish in time; holds what took too long. The same item may be submitted again.
    #[error("the ledger is too slow: {0}")]
    TooSlow(&'static str),
    /// All connections of this process, or of the server, are in use. The same item may be submitted again.
    #[error("all connections to the ledger are in use; see ledger.pool, and max_connections of the server")]
    NoConnection,
    /// The database refuses the data of this one item. Other items of the group are not affected.
    #[error("the ledger refuses the data (SQLSTATE {sqlstate}{})", constraint.as_ref().map(|c| format!(", {c}")).unwrap_or_default())]
    Data {
        /// The SQLSTATE of the error.
        sqlstate: String,
        /// The violated constraint, if known.
        constraint: Option<String>,
    },
    /// A row has a form that this version does not know. Other items of the group are not affected. Processes of the version that
    /// wrote the row can go on with it.
    #[error(
        "a row of the ledger has an unknown form: a later version of otpost wrote it, or it was changed by hand"
    )]
    UnknownForm,
    /// A panic in this process; holds the name of the call. Other items of the group are not affected.
    #[error("internal error (panic) in {0}")]
    Panic(&'static str),
    /// The ledger answers but cannot be used: its schema, its version or its file is wrong.
    #[error("{0}")]
    Unusable(String),
    /// The transaction conflicted with another one. A group is run again as a whole.
    #[error("the ledger's rows changed meanwhile")]
    Conflict,
}

impl LedgerError {
    /// The kind of the error, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Unwritable(_) => "unwritable",
            Self::TooSlow(_) => "too_slow",
            Self::NoConnection => "no_connection",
            Self::Data { .. } => "data",
            Self::UnknownForm => "unknown_form",
            Self::Panic(_) => "panic",
            Self::Unusable(_) => "unusable",
            Self::Conflict => "conflict",
        }
    }

    /// Whether this is an outage: no write succeeds for now, so the process accepts no new work.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unwritable(_))
    }

    /// Whether the same item may succeed later. A slow or busy ledger is no outage, but what it did not do is repeated.
    pub fn is_temporary(&self) -> bool {
        self.is_outage() || matches!(self, Self::TooSlow(_) | Self::NoConnection | Self::Conflict)
    }

    /// Whether a single item of a group may be the cause.
    pub(super) fn is_of_one_item(&self) -> bool {
        matches!(self, Self::Data { .. } | Self::UnknownForm | Self::Panic(_))
    }

    /// The dead-letter reason, if the message itself is the cause of the error.
    pub fn dead_letter_reason(&self) -> Option<String> {
        let Self::Data { sqlstate, constraint } = self else { return None };
        let constraint = constraint.as_ref().map(|c| format!(" {c}")).unwrap_or_default();
        Some(format!("cannot be stored (SQLSTATE {sqlstate}{constraint})"))
    }
}
