//! What a product's developer builds on: the programs of `docs/two-step-integrate.md` as a user meets them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod demo;
mod docs;
mod shop;
#[path = "../browser/stack.rs"]
mod stack;

use std::path::PathBuf;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"))
}

/// A file of the repository.
fn checkout(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}
