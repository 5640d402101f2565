//! Number of segments of a text: GSM-7 and UCS-2 as 3GPP TS 23.038 and 23.040 define them.

/// Septets of a text with one segment, and of each segment of a longer text (the rest is its header).
const GSM7: (usize, usize) = (160, 153);

/// The same in UTF-16 code units.
const UCS2: (usize, usize) = (70, 67);

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// Two septets each: an escape and a code.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// Returns the number of segments; one for an empty text.
pub(crate) fn segments(text: &str) -> usize {
    let septets: Option<Vec<usize>> = text.chars().map(septets).collect();
    match septets {
        Some(widths) => parts(widths, GSM7),
        None => parts(text.chars().map(char::len_utf16).collect(), UCS2),
    }
}

fn septets(c: char) -> Option<usize> {
    if c.is_ascii_alphanumeric() || BASIC.contains(c) {
        Some(1)
    } else if EXTENDED.contains(c) {
        Some(2)
    } else {
        None
    }
}

/// A character is never split over two segments, so a segment may end one unit short.
fn parts(widths: Vec<usize>, (single, each): (usize, usize)) -> usize {
    if widths.iter().sum::<usize>() <= single {
        return 1;
    }
    let mut parts = 1;
    let mut used = 0;
    for width in widths {
        if used + width > each {
            parts += 1;
            used = 0;
        }
        used += width;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_as_in_the_standard() {
        let table: &[(String, usize)] = &[
            (String::new(), 1),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            (format!("{}€{}", "a".repeat(152), "a".repeat(153)), 3),
            ("ж".repeat(70), 1),
            ("ж".repeat(71), 2),
            ("ж".repeat(134), 2),
            ("ж".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            (format!("{}😀{}", "ж".repeat(66), "ж".repeat(10)), 2),
            (format!("`{}", "a".repeat(70)), 2),
        ];
        for (text, expected) in table {
            assert_eq!(segments(text), *expected, "{text}");
        }
    }
}
