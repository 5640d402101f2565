//! A product's colour, and the text colour that is readable on it.

/// A product's colour. Only the main button has it. The text on it is black or white, whichever has the better
/// contrast: at least 4.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accent([u8; 3]);

impl Accent {
    /// Reads six hexadecimal digits, with or without `#`. Returns `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
        Some(Self([red, green, blue]))
    }

    /// Six hexadecimal digits in lower case, without `#`.
    pub fn hex(self) -> String {
        let [red, green, blue] = self.0;
        format!("{red:02x}{green:02x}{blue:02x}")
    }

    /// The content of `/assets/accent-{hex}.css`, which the layout links.
    pub fn style_sheet(self) -> String {
        format!(":root{{--accent:#{};--accent-ink:{}}}\n", self.hex(), self.ink())
    }

    /// The text colour with the better contrast (WCAG 2.2, relative luminance).
    fn ink(self) -> &'static str {
        let linear = self.0.map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        let (on_white, on_black) = (1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05);
        if on_white >= on_black { "#fff" } else { "#000" }
    }
}
