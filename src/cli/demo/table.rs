//! The table of scenarios. On a terminal its rows are updated in place.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::scenarios::SCENARIOS;
use super::{RowUpdate, ScenarioResult, Update};

/// Maximum width of a title. A narrow terminal shows less.
const MAX_TITLE_COLUMNS: usize = 55;
/// Width of the mark, the time, and the spaces between columns.
const FIXED_COLUMNS: usize = 13;
/// Minimum width of the result column.
const MIN_RESULT_COLUMNS: usize = 25;

struct Row {
    shown: String,
    ids: Vec<Uuid>,
    result: Option<(ScenarioResult, Duration)>,
}

/// All scenarios, one row each.
pub(super) struct Table {
    rows: Vec<Row>,
    json: bool,
    live: bool,
    /// Whether a finished row names its dispatches, to find them in the log.
    ids: bool,
}

impl Table {
    pub(super) fn new(json: bool, ids: bool, phones: &str) -> Self {
        let rows =
            SCENARIOS.iter().map(|_| Row { shown: "…".to_owned(), ids: vec![], result: None }).collect();
        // Lines of the log would break rows that are updated in place.
        let live = !json && !ids && std::io::stdout().is_terminal();
        let table = Self { rows, json, live, ids };
        if !json {
            println!(
                "otpost on this machine, with a ledger in one file and a mock carrier: {phones}\n\n   scenario, seconds since the start, result\n"
            );
            if live {
                for i in 0..table.rows.len() {
                    println!("{}", table.line(i));
                }
            }
        }
        table
    }

    pub(super) fn change(&mut self, change: RowUpdate) {
        let i = change.row;
        match change.update {
            Update::State(state) => self.rows[i].shown = state,
            Update::Id(id) => {
                if !self.rows[i].ids.contains(&id) {
                    self.rows[i].ids.push(id);
                }
            }
            Update::End(result, took) => {
                self.rows[i].shown.clone_from(&result.observed);
                self.rows[i].result = Some((result, took));
                if !self.live && !self.json {
                    println!("{}", self.line(i));
                }
                if self.ids && !self.json {
                    let ids: Vec<String> = self.rows[i].ids.iter().map(Uuid::to_string).collect();
                    eprintln!("{}: {}", SCENARIOS[i].title, ids.join(", "));
                }
            }
        }
        if self.live {
            let up = self.rows.len() - i;
            print!("\x1b[{up}A\r\x1b[2K{}\x1b[{up}B\r", self.line(i));
            let _ = std::io::stdout().flush();
        }
    }

    fn line(&self, i: usize) -> String {
        let (row, title) = (&self.rows[i], SCENARIOS[i].title);
        let (green, red, dim, off) =
            if self.live { ("\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m") } else { ("", "", "", "") };
        let (mark, colour, took) = match &row.result {
            None => ("·", dim, String::new()),
            Some((e, took)) => {
                let took = format!("{:5.1} s", took.as_secs_f64());
                if e.passed { ("✓", green, took) } else { ("✗", red, took) }
            }
        };
        // A wrapped row would overwrite other rows.
        let width = if self.live { columns() } else { usize::MAX };
        let titles = MAX_TITLE_COLUMNS.min(width.saturating_sub(FIXED_COLUMNS + MIN_RESULT_COLUMNS));
        let shown = cut(&row.shown, width.saturating_sub(FIXED_COLUMNS + titles));
        format!(" {colour}{mark}{off} {:<titles$} {took:>7}  {shown}", cut(title, titles))
    }

    /// Prints the summary. Returns whether every scenario had the expected result.
    pub(super) fn finish(&self, took: Duration) -> bool {
        let passed = self.rows.iter().filter(|r| r.result.as_ref().is_some_and(|(e, _)| e.passed)).count();
        if self.json {
            let rows: Vec<_> = self
                .rows
                .iter()
                .zip(SCENARIOS)
                .map(|(row, scenario)| {
                    let (passed, took) =
                        row.result.as_ref().map_or((false, 0.0), |(e, t)| (e.passed, t.as_secs_f64()));
                    json!({"scenario": scenario.title, "passed": passed, "observed": row.shown, "ids": row.ids,
                           "seconds": took})
                })
                .collect();
            println!(
                "{}",
                json!({"passed": passed == self.rows.len(), "seconds": took.as_secs_f64(), "scenarios": rows})
            );
        } else {
            let all = self.rows.len();
            println!("\n{passed} of {all} scenarios passed, in {:.1} s.", took.as_secs_f64());
            if passed == all {
                println!("Next: {} dev, and read the texts in a browser.", crate::cli::program());
            }
        }
        passed == self.rows.len()
    }
}

/// Width of the terminal in columns, at least 40.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(80, |size| usize::from(size.ws_col)).max(40)
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
