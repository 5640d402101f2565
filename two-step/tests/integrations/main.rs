//! What a product's developer builds on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod demo;
