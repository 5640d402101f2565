//! A strict reader for the little XML that `TwiML` is: elements, attributes, text, the five named and the
//! numeric entities, comments. No document types, no CDATA, no namespaces; what it does not know is an error.

use std::fmt;

/// A piece of a document. Every `Open` has its `Close`, also for `<Pause/>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Open { name: String, attributes: Vec<(String, String)> },
    Close,
    Text(String),
}

/// What is wrong, and at which byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct XmlError {
    what: &'static str,
    at: usize,
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Read a whole document: one element, and nothing but white space and comments around it.
pub(super) fn read(text: &str) -> Result<Vec<Piece>, XmlError> {
    let mut reader = Reader { text, at: 0, open: Vec::new(), pieces: Vec::new() };
    if reader.take("<?xml ") {
        reader.until("?>")?;
    }
    while reader.at < text.len() {
        reader.piece()?;
    }
    if !reader.open.is_empty() {
        return Err(reader.error("an element is not closed"));
    }
    if reader.pieces.is_empty() {
        return Err(reader.error("there is no element"));
    }
    Ok(reader.pieces)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    open: Vec<&'a str>,
    pieces: Vec<Piece>,
}

impl<'a> Reader<'a> {
    fn piece(&mut self) -> Result<(), XmlError> {
        if self.take("<!--") {
            self.until("-->").map(drop)
        } else if self.take("</") {
            self.close()
        } else if self.take("<") {
            self.element()
        } else {
            self.characters()
        }
    }

    fn element(&mut self) -> Result<(), XmlError> {
        if self.open.is_empty() && !self.pieces.is_empty() {
            return Err(self.error("there is a second outermost element"));
        }
        let name = self.name()?;
        let mut attributes: Vec<(String, String)> = Vec::new();
        loop {
            let spaced = self.space();
            let empty = self.take("/>");
            if empty || self.take(">") {
                self.pieces.push(Piece::Open { name: name.to_owned(), attributes });
                if empty {
                    self.pieces.push(Piece::Close);
                } else {
                    self.open.push(name);
                }
                return Ok(());
            }
            if !spaced {
                return Err(self.error("a tag does not end"));
            }
            let (key, value) = self.attribute()?;
            if attributes.iter().any(|(other, _)| other == key) {
                return Err(self.error("an attribute is there twice"));
            }
            attributes.push((key.to_owned(), value));
        }
    }

    fn attribute(&mut self) -> Result<(&'a str, String), XmlError> {
        let key = self.name()?;
        self.space();
        if !self.take("=") {
            return Err(self.error("an attribute has no value"));
        }
        self.space();
        let quote = if self.take("\"") {
            "\""
        } else if self.take("'") {
            "'"
        } else {
            return Err(self.error("an attribute's value is not quoted"));
        };
        let raw = self.until(quote)?;
        if raw.contains('<') {
            return Err(self.error("an attribute's value contains <"));
        }
        Ok((key, self.unescape(raw)?))
    }

    fn close(&mut self) -> Result<(), XmlError> {
        let name = self.name()?;
        self.space();
        if !self.take(">") || self.open.pop() != Some(name) {
            return Err(self.error("an end tag has no start tag"));
        }
        self.pieces.push(Piece::Close);
        Ok(())
    }

    fn characters(&mut self) -> Result<(), XmlError> {
        let rest = &self.text[self.at..];
        let raw = &rest[..rest.find('<').unwrap_or(rest.len())];
        if !self.open.is_empty() {
            let text = self.unescape(raw)?;
            self.pieces.push(Piece::Text(text));
        } else if !raw.trim().is_empty() {
            return Err(self.error("there is text outside of the element"));
        }
        self.at += raw.len();
        Ok(())
    }

    fn name(&mut self) -> Result<&'a str, XmlError> {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c)).unwrap_or(rest.len());
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.error("a name was expected"));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn space(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.at += rest.len() - trimmed.len();
        rest.len() > trimmed.len()
    }

    fn take(&mut self, token: &str) -> bool {
        let there = self.text[self.at..].starts_with(token);
        self.at += if there { token.len() } else { 0 };
        there
    }

    fn until(&mut self, end: &str) -> Result<&'a str, XmlError> {
        let rest = &self.text[self.at..];
        let length = rest.find(end).ok_or_else(|| self.error("something does not end"))?;
        self.at += length + end.len();
        Ok(&rest[..length])
    }

    fn unescape(&self, raw: &str) -> Result<String, XmlError> {
        let mut text = String::with_capacity(raw.len());
        let mut parts = raw.split('&');
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (entity, rest) = part.split_once(';').ok_or_else(|| self.error("an & is not escaped"))?;
            text.push(character(entity).ok_or_else(|| self.error("an entity is not known"))?);
            text.push_str(rest);
        }
        Ok(text)
    }

    fn error(&self, what: &'static str) -> XmlError {
        XmlError { what, at: self.at }
    }
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?).filter(|c| *c >= ' ' || "\t\r\n".contains(*c))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_into_its_pieces() {
        let pieces =
            read("<?xml version=\"1.0\"?>\n<A b='1 &lt; 2'><!-- c --><D/>x &amp; &#233;&#xE9;</A>\n")
                .unwrap();
        assert_eq!(
            pieces,
            [
                Piece::Open { name: "A".into(), attributes: vec![("b".into(), "1 < 2".into())] },
                Piece::Open { name: "D".into(), attributes: vec![] },
                Piece::Close,
                Piece::Text("x & éé".into()),
                Piece::Close,
            ]
        );
    }

    #[test]
    fn a_document_that_is_not_well_formed_is_an_error() {
        for text in [
            "",
            "x",
            "<A>",
            "<A></B>",
            "</A>",
            "<A/><B/>",
            "<A/>x",
            "<A b=1/>",
            "<A b/>",
            "<A b='1' b='2'/>",
            "<A b='<'/>",
            "<A>a & b</A>",
            "<A>&nbsp;</A>",
            "<A>&#0;</A>",
            "<!DOCTYPE A><A/>",
            "<A",
            "<A><!-- </A>",
            "<A b='1'c='2'/>",
            "<A><![CDATA[x]]></A>",
            " <?xml version='1.0'?><A/>",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
