//! A parsed number prints as its input, its mask hides it, and its metadata never panic.

use otpost::domain::dispatch::PhoneNumber;

/// Fails if the mask hides no digits (`london`).
pub fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(number) = PhoneNumber::parse(text) else { return };
    assert_eq!(number.expose(), text);
    assert!(text.starts_with('+') && (8..=16).contains(&text.len()) && !text.starts_with("+0"));
    assert!(text[1..].bytes().all(|b| b.is_ascii_digit()));

    let mask = number.mask();
    assert_eq!(mask.chars().count(), text.len());
    assert_eq!(mask.chars().filter(char::is_ascii_digit).count(), 4);
    for printed in [format!("{number}"), format!("{number:?}")] {
        assert!(printed.contains(&mask) && !printed.contains(&text[1..]), "{printed}");
    }

    let metadata = number.metadata();
    assert!(metadata.possible || !metadata.is_valid(), "valid, but not possible");
    if let Some(country) = &metadata.country {
        assert!(country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()), "{country}");
    }
    let _ = metadata.kind();
    assert!(metadata == number.metadata());
}
