//! Fuzz properties: one file per parser of external input, with a function `holds` that panics if the
//! property is violated.
//!
//! `scripts/fuzz` searches for failing inputs. `tests/corpus.rs` runs all of `corpus/` in the ordinary tests.
//! The comment of each `holds` names a defect that makes it fail, with an input of its corpus.

pub mod act;
pub mod answer;
pub mod infobip;
pub mod job;
pub mod key;
pub mod number;
pub mod receipt;
pub mod retry_after;
pub mod signature;
pub mod template;
pub mod token;
pub mod words;

mod account;
mod lines;

/// Panics if the property is violated.
pub type Holds = fn(&[u8]);

/// All properties, by the names of their targets and folders.
pub const ALL: [(&str, Holds); 12] = [
    ("act", act::holds),
    ("answer", answer::holds),
    ("infobip", infobip::holds),
    ("job", job::holds),
    ("key", key::holds),
    ("number", number::holds),
    ("receipt", receipt::holds),
    ("retry_after", retry_after::holds),
    ("signature", signature::holds),
    ("template", template::holds),
    ("token", token::holds),
    ("words", words::holds),
];
