//! Compares the log events of `src` with the tables of `docs/logs.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use super::{module, sources, src};

/// The levels, in the order of the rows of a table.
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// Macros of tracing that `src` must not use. A span would add its fields to other events, and `event!` hides the level.
const UNUSED_MACROS: &[&str] =
    &["event", "span", "error_span", "warn_span", "info_span", "debug_span", "trace_span"];

/// A log event. Its message is constant, and values that vary are fields.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LogEvent {
    level: &'static str,
    message: String,
    fields: BTreeSet<String>,
}

impl fmt::Display for LogEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&str> = self.fields.iter().map(String::as_str).collect();
        write!(f, "{} `{}` with the fields: {}", self.level, self.message, fields.join(", "))
    }
}

/// Returns the events of `src`, each with a place. Panics if an event cannot be read.
fn events_in_source() -> BTreeMap<LogEvent, String> {
    let (mut found, mut problems) = (BTreeMap::new(), vec![]);
    let is_test = |path: &Path| module(path).split("::").any(|part| part.ends_with("tests"));
    for path in sources(&src()).into_iter().filter(|path| !is_test(path)) {
        let name = path.strip_prefix(src()).unwrap().display();
        for (line, event) in events(&fs::read_to_string(&path).unwrap()) {
            let place = format!("src/{name}:{line}");
            match event {
                Ok(event) => {
                    found.entry(event).or_insert(place);
                }
                Err(problem) => problems.push(format!("{place}: {problem}")),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    found
}

/// Returns the events in a file without the tests at its end, each with its line, or with the reason why it cannot be read.
fn events(text: &str) -> Vec<(usize, Result<LogEvent, &'static str>)> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = vec![];
    for (at, _) in text.match_indices('!') {
        let line = text[..at].rsplit('\n').next().unwrap();
        if line.trim_start().starts_with("//") {
            continue;
        }
        let before = line.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let name = &line[before.len()..];
        let event = match LEVELS.iter().copied().find(|level| *level == name) {
            Some(level) => read_event(level, &text[at + 1..]),
            None if UNUSED_MACROS.contains(&name) => Err("use a macro that is named after its level"),
            None => continue,
        };
        found.push((text[..at].matches('\n').count() + 1, event));
    }
    found
}

/// Reads an event from the text after the `!` of its macro.
fn read_event(level: &'static str, text: &str) -> Result<LogEvent, &'static str> {
    let arguments = text.strip_prefix('(').and_then(split_arguments);
    let mut arguments = arguments.ok_or("write the arguments of an event in parentheses")?;
    let message = arguments
        .pop()
        .and_then(plain_literal)
        .ok_or("end an event with its message, a string literal without `{}`; write values as fields")?;
    let fields = arguments.into_iter().filter(|argument| !argument.starts_with("target:"));
    let fields: Option<BTreeSet<String>> = fields.map(field_name).collect();
    let fields = fields.ok_or("write a field as `name = value`, `name`, `%name` or `?name`")?;
    Ok(LogEvent { level, message, fields })
}

/// Splits arguments at their commas, up to the closing parenthesis. Returns `None` without one.
fn split_arguments(text: &str) -> Option<Vec<&str>> {
    let (mut depth, mut begin, mut arguments) = (0, 0, vec![]);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => skip_string(&mut chars),
            ',' | ')' if depth == 0 => {
                arguments.push(text[begin..at].trim());
                begin = at + 1;
                if c == ')' {
                    // The last one is empty after a trailing comma.
                    arguments.retain(|argument| !argument.is_empty());
                    return Some(arguments);
                }
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Skips a string literal up to its closing quote.
fn skip_string(chars: &mut impl Iterator<Item = (usize, char)>) {
    while let Some((_, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '"' => return,
            _ => {}
        }
    }
}

/// Returns the value of a string literal. Returns `None` for other expressions, and for a literal with `{}`.
fn plain_literal(text: &str) -> Option<String> {
    let mut chars = text.strip_prefix('"')?.strip_suffix('"')?.chars().peekable();
    let mut value = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                '\n' => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                c @ ('"' | '\\') => value.push(c),
                _ => return None,
            },
            '"' | '{' | '}' => return None,
            c => value.push(c),
        }
    }
    Some(value)
}

/// Returns the name of a field: of `name = value`, `name`, `%name` or `?name`.
fn field_name(text: &str) -> Option<String> {
    let name = text.split_once(" = ").map_or(text.trim_start_matches(['%', '?']), |(name, _)| name);
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
}

/// Returns the rows of the tables of events in a text, each with its line. Panics if a row cannot be read.
fn rows(text: &str) -> Vec<(usize, LogEvent)> {
    let mut found = vec![];
    for (line, text) in (1..).zip(text.lines()) {
        let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
        // Other tables have fewer columns.
        let [level, message, fields, meaning] = cells[..] else { continue };
        if level == "Level" || level.starts_with("---") {
            continue;
        }
        let code = |cell: &str| {
            let inside = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
            inside.unwrap_or_else(|| panic!("docs/logs.md:{line}: write {cell:?} as `code`")).to_owned()
        };
        let level = LEVELS.iter().copied().find(|known| *known == level);
        let level = level.unwrap_or_else(|| panic!("docs/logs.md:{line}: the first cell is not a level"));
        assert!(!meaning.is_empty(), "docs/logs.md:{line}: the last cell is empty");
        let fields = fields.split(", ").filter(|field| !field.is_empty()).map(code).collect();
        found.push((line, LogEvent { level, message: code(message), fields }));
    }
    found
}

fn rows_of_the_page() -> Vec<(usize, LogEvent)> {
    rows(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logs.md")).unwrap())
}

/// Fails if the level, the message or a field of an event is changed in one of the two places only.
#[test]
fn the_page_of_logs_lists_every_event_of_the_source() {
    let (source, page) = (events_in_source(), rows_of_the_page());
    let listed: BTreeSet<&LogEvent> = page.iter().map(|(_, event)| event).collect();
    let missing = source.iter().filter(|(event, _)| !listed.contains(event));
    let missing = missing.map(|(event, place)| format!("{place}: docs/logs.md does not list {event}"));
    let stale = page.iter().filter(|(_, event)| !source.contains_key(event));
    let stale = stale.map(|(line, event)| format!("docs/logs.md:{line}: src does not log {event}"));
    let wrong: Vec<String> = missing.chain(stale).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(listed.len(), page.len(), "docs/logs.md lists an event twice");
}

#[test]
fn the_rows_of_a_table_are_ordered_by_level() {
    let rank = |event: &LogEvent| LEVELS.iter().position(|level| *level == event.level);
    for rows in rows_of_the_page().windows(2) {
        let [(above, first), (line, second)] = rows else { continue };
        let is_one_table = above + 1 == *line;
        assert!(!is_one_table || rank(first) <= rank(second), "docs/logs.md:{line}: wrong order of levels");
    }
}

#[test]
fn an_event_is_read() {
    let text = "fn f() {\n    // warn!(\"a comment\");\n    tracing::warn!(\n        target: \"t\", a.b = f(x, \"y, \\\")\"), %c, ?d, e,\n        \
                \"a \\\"message\\\", \\\n         continued\",\n    );\n    if a != b {}\n}\n\
                #[cfg(test)]\nmod tests {\n    info!(\"a test\");\n}\n";
    let fields = ["a.b", "c", "d", "e"].map(str::to_owned).into();
    let event = LogEvent { level: "warn", message: "a \"message\", continued".to_owned(), fields };
    assert_eq!(events(text), [(3, Ok(event))]);
}

#[test]
fn an_event_without_a_plain_message_is_refused() {
    for arguments in [
        "",
        "a, b = 1",
        "MESSAGE",
        "\"{x}\"",
        "\"{}\", x",
        "\"a\" + \"b\"",
        "concat!(\"a\", \"b\")",
        "r\"raw\"",
        "x + 1, \"a field without a name\"",
    ] {
        let events = events(&format!("error!({arguments});"));
        assert!(matches!(events[..], [(1, Err(_))]), "{arguments}: {events:?}");
    }
    for text in ["error! { \"braces\" }", "error!(\"no end\"", "tracing::info_span!(\"a span\")"] {
        let events = events(text);
        assert!(matches!(events[..], [(1, Err(_))]), "{text}: {events:?}");
    }
}

#[test]
fn a_row_is_read() {
    let text = "| Level | Message | Fields | Meaning |\n| --- | --- | --- | --- |\n| info | `m` | `a`, `b.c` | Nothing. |\n\
                | debug | `n` | | Nothing. |\n\n| Field | Meaning |\n| `a` | b |\n";
    let fields = ["a", "b.c"].map(str::to_owned).into();
    let first = LogEvent { level: "info", message: "m".to_owned(), fields };
    let second = LogEvent { level: "debug", message: "n".to_owned(), fields: BTreeSet::new() };
    assert_eq!(rows(text), [(3, first), (4, second)]);
}
