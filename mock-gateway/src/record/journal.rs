//! The record as a file of JSON lines, for tests that kill processes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::View;
use crate::callbacks::CallbackResult;
use crate::clock;

/// An open file. Appended lines are in the page cache, so they survive the process; they are not synced.
pub(super) struct Journal(Mutex<File>);

/// One line.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    /// A gateway has opened the file; numbers start over.
    Started { at: Timestamp },
    /// A request, just before its answer.
    Request {
        accepted: bool,
        #[serde(flatten)]
        view: View,
    },
    /// What a call has said after a key was pressed.
    Speech { sid: &'a str, transcript: &'a str },
    /// A callback has succeeded or finally failed.
    Callback {
        sid: &'a str,
        #[serde(flatten)]
        result: &'a CallbackResult,
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

    /// Appends one line with one write, so that a kill leaves only complete lines. It takes microseconds and
    /// blocks, because the answer has to wait for it anyway.
    pub(super) fn append(&self, line: &Line<'_>) {
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
        });
        if let Err(error) = written {
            tracing::error!(%error, "cannot write to the record file");
        }
    }
}
