//! JSON that other programs have written.

use serde::Deserialize;

/// Parses JSON from another program. A byte order mark before it is ignored (RFC 8259, 8.1).
///
/// # Errors
///
/// Returns the error of `serde_json`. Its text may quote the input.
pub fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(without_byte_order_mark(body))
}

/// Returns a text without the byte order mark that some programs write before it.
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{parse, without_byte_order_mark};

    #[test]
    fn one_byte_order_mark_is_ignored() {
        for (text, number) in
            [("7", Some(7)), ("\u{feff}7", Some(7)), ("\u{feff}\u{feff}7", None), ("", None)]
        {
            assert_eq!(parse::<u8>(text.as_bytes()).ok(), number, "{text:?}");
        }
        assert_eq!(without_byte_order_mark("\u{feff}".as_bytes()), b"");
        assert_eq!(without_byte_order_mark(b"\xef\xbb"), b"\xef\xbb");
    }
}
