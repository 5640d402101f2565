//! Counts the parts that a text is charged as: GSM 03.38 (3GPP TS 23.038), or UCS-2 if the text needs it.

/// The default alphabet, without the escape character.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension table. Each character takes two septets.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// The size of a text when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Whether the text fits GSM-7. Otherwise it is sent in UCS-2.
    pub gsm7: bool,
    /// Number of septets (GSM-7) or UTF-16 code units (UCS-2).
    pub units: usize,
    /// Number of message parts.
    pub parts: usize,
}

/// Counts the parts of a text. Escape pairs and surrogate pairs are never split.
pub fn segments(text: &str) -> Segments {
    let septets: Option<Vec<usize>> = text.chars().map(width).collect();
    let gsm7 = septets.is_some();
    let widths = septets.unwrap_or_else(|| text.chars().map(char::len_utf16).collect());
    let units = widths.iter().sum();
    let (one, each) = if gsm7 { (160, 153) } else { (70, 67) };
    if units <= one {
        return Segments { gsm7, units, parts: 1 };
    }
    let (mut parts, mut room) = (1, each);
    for w in widths {
        if w > room {
            parts += 1;
            room = each;
        }
        room -= w;
    }
    Segments { gsm7, units, parts }
}

/// A character that is not in GSM-7, and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside {
    /// The character.
    pub character: char,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

impl std::fmt::Display for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (c, code) = (self.character, u32::from(self.character));
        let shown = match c {
            '\u{a0}' | '\u{202f}' | '\u{2007}' => "a space that does not break".to_owned(),
            '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => "which is invisible".to_owned(),
            '\u{300}'..='\u{36f}' => {
                "an accent of its own; write the letter and its accent as one character".to_owned()
            }
            '’' | '‘' => "a curly quote; write '".to_owned(),
            '“' | '”' | '„' => "a curly quote; write \"".to_owned(),
            c => c.to_string(),
        };
        write!(f, "U+{code:04X} ({shown}) in line {}, column {}", self.line, self.column)
    }
}

/// Finds the first character of a text that is not in GSM-7.
pub fn outside(text: &str) -> Option<Outside> {
    text.lines().enumerate().find_map(|(line, text)| {
        let (column, character) = text.chars().enumerate().find(|(_, c)| width(*c).is_none())?;
        Some(Outside { character, line: line + 1, column: column + 1 })
    })
}

fn width(c: char) -> Option<usize> {
    if BASIC.contains(c) {
        Some(1)
    } else if EXTENDED.contains(c) {
        Some(2)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::segments;

    #[test]
    fn parts_are_those_of_the_standard() {
        let r = |s: &str, n: usize| s.repeat(n);
        for (text, units, parts) in [
            (r("a", 160), 160, 1),
            (r("a", 161), 161, 2),
            (r("a", 306), 306, 2),
            (r("a", 307), 307, 3),
            (r("€", 80), 160, 1),
            (r("€", 81), 162, 2),
            (r("a", 152) + "€" + &r("a", 153), 307, 3),
            (r("ж", 70), 70, 1),
            (r("ж", 71), 71, 2),
            (r("ж", 134), 134, 2),
            (r("ж", 135), 135, 3),
            (r("😀", 35), 70, 1),
            (r("😀", 36), 72, 2),
            (r("ж", 66) + "😀" + &r("ж", 10), 78, 2),
        ] {
            let s = segments(&text);
            assert_eq!((s.units, s.parts), (units, parts), "{}…", text.chars().take(3).collect::<String>());
        }
        assert!(!segments("`").gsm7, "the backtick is in neither table");
        assert!(segments("{[~]}").gsm7);
    }
}
