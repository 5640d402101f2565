//! Inputs of several parts: a line for each, the rest for the last.

/// The first line without its end, and what comes after.
pub(crate) fn first(input: &[u8]) -> (&[u8], &[u8]) {
    input.iter().position(|b| *b == b'\n').map_or((input, &[]), |end| (&input[..end], &input[end + 1..]))
}

/// The same of a text.
pub(crate) fn first_of(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}
