//! Which schemas a version of otpost can run on: its own, and a later one whose `oldest_version` is not above its own.

use super::LedgerError;

/// Checks the version of a ledger's schema. `oldest` is the oldest version of otpost's schema that it is compatible with, and `ours` the
/// version of this process.
///
/// # Errors
///
/// Returns an error that says what to do.
pub(super) fn check(version: Option<i64>, oldest: i64, ours: i64) -> Result<(), LedgerError> {
    let problem = match version {
        None => "the ledger has no schema; run: otpost migrate".to_owned(),
        Some(version) if version < ours => {
            format!(
                "the ledger's schema has version {version} and this otpost needs {ours}; run: otpost migrate"
            )
        }
        Some(version) if oldest > ours => format!(
            "the ledger's schema has version {version} and works with otpost's schema {oldest} or later, not with {ours}; update otpost"
        ),
        Some(_) => return Ok(()),
    };
    Err(LedgerError::Unusable(problem))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_process_runs_on_its_schema_and_on_later_compatible_ones() {
        assert!(check(Some(2), 1, 2).is_ok());
        assert!(check(Some(3), 2, 2).is_ok(), "a later schema that is compatible with ours");
        for (version, oldest, expected) in [
            (None, 0, "has no schema; run: otpost migrate"),
            (Some(1), 1, "this otpost needs 2; run: otpost migrate"),
            (Some(4), 3, "schema 3 or later, not with 2; update otpost"),
        ] {
            let problem = check(version, oldest, 2).unwrap_err().to_string();
            assert!(problem.ends_with(expected), "{problem}");
        }
    }
}
