//! What must hold whatever a stranger sends: one file for each reader of strangers' bytes, with a function `holds` that
//! panics where a promise is broken.
//!
//! `scripts/fuzz` looks for bytes that break one; `tests/corpus.rs` tries all of `corpus/` in the ordinary tests.
//! Above each `holds` stands by which change to otpost it was seen to fail, with an input of its corpus.

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

/// Panics where a promise is broken.
pub type Holds = fn(&[u8]);

/// All of them, by the names of their targets and folders.
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
