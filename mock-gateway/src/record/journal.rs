//! The record as a file of JSON lines, for tests that kill things.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::View;
use crate::clock;
use crate::courier::Told;

/// An open file. What was appended is with the system, and so outlives this process; it is not synced to the
/// disk.
pub(super) struct Journal(Mutex<File>);

/// One line.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    /// A gateway began to write here: numbers start over.
    Started { at: Timestamp },
    /// A request, as it was when it was about to be answered.
    Request {
        accepted: bool,
        #[serde(flatten)]
        view: View,
    },
    /// A callback was settled.
    Callback {
        sid: &'a str,
        #[serde(flatten)]
        told: &'a Told,
    },
}

impl Journal {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file = opened.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the record file {} cannot be opened: {error}", path.display()),
            )
        })?;
        let journal = Self(Mutex::new(file));
        journal.append(&Line::Started { at: clock::now() });
        Ok(journal)
    }

    /// Append one line with one write, so that a kill leaves whole lines. It takes microseconds and is done
    /// where it is called, because the answer has to wait for it anyway.
    pub(super) fn append(&self, line: &Line<'_>) {
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
        });
        if let Err(error) = written {
            tracing::error!(%error, "the record file lacks a line");
        }
    }
}
