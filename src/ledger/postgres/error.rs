//! The meaning of PostgreSQL's errors.

use rustls::CertificateError;
use tokio_postgres::error::SqlState;

use crate::ledger::LedgerError;

/// What a pooler that changes the server between two transactions of a connection breaks.
pub(super) const TRANSACTION_POOLER: &str = "a pooler in front of PostgreSQL changes the server between transactions, and otpost keeps \
    settings and statements in its connections; use pool_mode = session in PgBouncer, or connect to PostgreSQL itself";

pub(super) const INCOMPLETE_ANSWER: &str =
    "the ledger's answer is incomplete: its schema is of another version; run: otpost migrate";

/// The keys of rows that another transaction may have inserted since we looked. The group runs again and finds them.
const INSERTED_MEANWHILE: &[&str] = &["dispatch_id", "quota_pkey"];

/// Maps an error of a new connection. Errors that stay until somebody changes the configuration or the server have a sentence of their
/// own.
pub(super) fn connect_error(e: &tokio_postgres::Error, address: &str) -> LedgerError {
    if e.as_db_error().is_some() {
        return ledger_error(e);
    }
    if is_unresolved(e) {
        return LedgerError::Unreachable(format!(
            "the name of {address} cannot be resolved; check the host in ledger.url, and the name server of this machine"
        ));
    }
    let cause = std::error::Error::source(e);
    let said = cause.map(ToString::to_string).unwrap_or_default();
    let certificate = cause.and_then(|e| e.downcast_ref::<std::io::Error>()).and_then(certificate_error);
    // The driver's texts of these errors are constants. The errors occur again until somebody changes the URL or the server.
    let kind = e.to_string();
    let is_permanent = kind.starts_with("authentication error")
        || kind.starts_with("invalid configuration")
        || (kind.starts_with("error performing TLS handshake")
            && cause.is_some_and(|e| e.downcast_ref::<std::io::Error>().is_none()));
    let why = match (said.as_str(), certificate) {
        (_, Some(why)) => format!("the TLS certificate of {address} {why}"),
        ("password missing", _) => format!("{address} asks for a password, and ledger.url has none"),
        ("server does not support TLS", _) => {
            format!("{address} offers no TLS, which sslmode in ledger.url requires")
        }
        ("server did not use channel binding", _) => format!(
            "{address} does not offer channel binding, which channel_binding in ledger.url requires; it needs TLS and scram-sha-256"
        ),
        ("unsupported authentication method" | "unsupported SASL mechanism", _) => format!(
            "{address} asks for a login method that is not supported, such as gss or oauth; use scram-sha-256 for this user in the server's \
             pg_hba.conf"
        ),
        ("no hostname provided for TLS handshake", _) => format!(
            "{address} has no host name, which TLS needs; add host to hostaddr in ledger.url, or use sslmode=disable for a socket"
        ),
        _ if is_permanent => format!("{address} cannot be used with this ledger.url: {said}"),
        _ => return no_connection(address),
    };
    LedgerError::Unusable(why)
}

/// Whether the name of a host cannot be resolved. The standard library has no error kind for this.
fn is_unresolved(e: &tokio_postgres::Error) -> bool {
    std::error::Error::source(e)
        .is_some_and(|cause| cause.to_string().starts_with("failed to lookup address information"))
}

/// Names the right that the user in the URL lacks. PostgreSQL's message holds the name of a table or schema, and no values.
pub(super) fn missing_right(message: &str) -> String {
    let object = message.strip_prefix("permission denied for ").unwrap_or_default();
    let grant = match object.split_once(' ') {
        Some(("schema", name)) => format!(
            "GRANT USAGE ON SCHEMA {name} TO it; the user of `otpost migrate` also needs CREATE on the schema (since PostgreSQL 15 the \
             schema public gives it to the owner of the database only)"
        ),
        Some(("table", name)) => {
            format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO it, and on all other tables of otpost")
        }
        Some(("database", name)) => format!("GRANT CONNECT ON DATABASE {name} TO it"),
        _ if message.starts_with("must be owner") => "run `otpost migrate` as the owner of otpost's tables".to_owned(),
        _ => "`otpost migrate` needs CREATE on the schema; the service needs SELECT, INSERT, UPDATE and DELETE on all tables".to_owned(),
    };
    format!("the user in ledger.url lacks a right (SQLSTATE 42501): {grant}")
}

/// The first words of those errors of PgBouncer that occur again until somebody changes a configuration.
const PERMANENT_POOLER_ERRORS: &[&str] = &[
    "unsupported startup parameter",
    "no such database",
    "no such user",
    "bouncer config error",
    "transaction blocks not allowed",
    "password authentication failed",
    "SASL authentication failed",
    "login rejected",
    "SSL required",
];

/// Maps an error of PgBouncer itself. All its errors have this SQLSTATE, even if the server does not answer.
fn pooler_error(message: &str) -> LedgerError {
    if PERMANENT_POOLER_ERRORS.iter().any(|permanent| message.starts_with(permanent)) {
        LedgerError::Unusable(
            "the pooler in front of PostgreSQL refuses the connection (SQLSTATE 08P01); its log says why. PgBouncer must use \
             pool_mode = session, and know the database and the user"
                .to_owned(),
        )
    } else {
        LedgerError::Unreachable(
            "the pooler in front of PostgreSQL cannot use the server (SQLSTATE 08P01); its log says why"
                .to_owned(),
        )
    }
}

/// Maps an error of the statement that applies the settings of the URL's parameter `options`. otpost's own settings are valid.
pub(super) fn settings_error(e: &tokio_postgres::Error) -> Option<LedgerError> {
    let state = e.code()?.code();
    // The setting or its value is invalid (22), unknown or not permitted (42), or cannot be changed now (55).
    ["22", "42", "55"].contains(&&state[..2]).then(|| {
        LedgerError::Unusable(format!(
            "the parameter options of ledger.url has a setting that PostgreSQL refuses (SQLSTATE {state}); correct its name or value"
        ))
    })
}

/// Why a server's certificate is refused, if it is.
fn certificate_error(e: &std::io::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(e) = e.get_ref()?.downcast_ref()? else { return None };
    Some(match e {
        CertificateError::UnknownIssuer => {
            "is signed by an authority that this machine does not know; name a file with the authority's certificate in ledger.ca_file"
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "has no subjectAltName, and the common name is ignored; make one with -addext subjectAltName=DNS:NAME, or use \
             sslmode=verify-ca"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another name than the host in ledger.url; use the name of the certificate, or sslmode=verify-ca"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; check the clocks"
        }
        // The verifier has no variants for these errors, only their names.
        CertificateError::Other(e) => match e.to_string().as_str() {
            "CaUsedAsEndEntity" => {
                "is that of an authority (CA:TRUE), which no server may use; add -addext basicConstraints=critical,CA:FALSE to \
                 openssl req -x509"
            }
            "UnsupportedCertVersion" => "is of X.509 version 1; make one of version 3, with a subjectAltName",
            _ => "is not valid",
        },
        _ => "is not valid",
    })
}

/// Nobody answers there.
pub(super) fn no_connection(address: &str) -> LedgerError {
    LedgerError::Unreachable(format!(
        "no connection to {address}; check that PostgreSQL runs there, and check ledger.url"
    ))
}

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
        SqlState::INSUFFICIENT_PRIVILEGE => return LedgerError::Unusable(missing_right(db.message())),
        SqlState::DUPLICATE_PSTATEMENT => return LedgerError::Unusable(TRANSACTION_POOLER.to_owned()),
        SqlState::PROTOCOL_VIOLATION => return pooler_error(db.message()),
        // The pool may not grow now. Its connections go on.
        SqlState::TOO_MANY_CONNECTIONS => return LedgerError::NoConnection,
        SqlState::OUT_OF_MEMORY => {
            return LedgerError::TooSlow("the server is out of memory (SQLSTATE 53200)");
        }
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => {
            return LedgerError::Unusable(
                "the ledger is damaged; see the PostgreSQL server's log, and restore a backup".to_owned(),
            );
        }
        // This process was frozen in a transaction, and the server has rolled it back.
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => return LedgerError::Conflict,
        SqlState::QUERY_CANCELED => {
            return LedgerError::TooSlow("a statement reached its time limit (SQLSTATE 57014)");
        }
        SqlState::LOCK_NOT_AVAILABLE => {
            return LedgerError::TooSlow("a lock was not free in time (SQLSTATE 55P03)");
        }
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
        "26" => LedgerError::Unusable(TRANSACTION_POOLER.to_owned()),
        "3F" => LedgerError::Unusable(
            "the schema in ledger.url (its search_path) does not exist; create it with CREATE SCHEMA"
                .to_owned(),
        ),
        "42" => LedgerError::Unusable(format!(
            "the ledger has no schema of this version (SQLSTATE {}); run: otpost migrate",
            state.code()
        )),
        "28" => LedgerError::Unusable(format!(
            "PostgreSQL rejects the login (SQLSTATE {}); check user and password in ledger.url, and the server's pg_hba.conf",
            state.code()
        )),
        "3D" => LedgerError::Unusable(
            "the database in ledger.url does not exist; create it, or correct its name in ledger.url"
                .to_owned(),
        ),
        _ => LedgerError::Unreachable(format!("SQLSTATE {}; see the PostgreSQL server's log", state.code())),
    }
}
