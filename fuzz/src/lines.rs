//! Inputs with several parts: one line for each, and the rest for the last.

/// Splits off the first line, without its end.
pub(crate) fn first(input: &[u8]) -> (&[u8], &[u8]) {
    input.iter().position(|b| *b == b'\n').map_or((input, &[]), |end| (&input[..end], &input[end + 1..]))
}

/// The same for a text.
pub(crate) fn first_of(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}
