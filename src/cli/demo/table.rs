//! The table of scenarios. On a terminal its rows are updated in place.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::json;

use super::scenarios::SCENARIOS;
use super::{Change, Ending, News};

/// Maximum width of a title. A narrow terminal shows less.
const TITLE: usize = 55;
/// Width of the mark, the time, and the spaces between columns.
const MARKS: usize = 13;
/// Minimum width of the result column.
const SEEN: usize = 25;

struct Row {
    shown: String,
    ending: Option<(Ending, Duration)>,
}

/// All scenarios, one row each.
pub(super) struct Table {
    rows: Vec<Row>,
    json: bool,
    live: bool,
}

impl Table {
    pub(super) fn new(json: bool, phones: &str) -> Self {
        let rows = SCENARIOS.iter().map(|_| Row { shown: "…".to_owned(), ending: None }).collect();
        let live = !json && std::io::stdout().is_terminal();
        let table = Self { rows, json, live };
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

    pub(super) fn change(&mut self, change: Change) {
        let i = change.row;
        match change.news {
            News::State(state) => self.rows[i].shown = state,
            News::End(ending, took) => {
                self.rows[i].shown.clone_from(&ending.saw);
                self.rows[i].ending = Some((ending, took));
                if !self.live && !self.json {
                    println!("{}", self.line(i));
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
        let (mark, colour, took) = match &row.ending {
            None => ("·", dim, String::new()),
            Some((e, took)) => {
                let took = format!("{:5.1} s", took.as_secs_f64());
                if e.well { ("✓", green, took) } else { ("✗", red, took) }
            }
        };
        // A wrapped row would overwrite other rows.
        let width = if self.live { columns() } else { usize::MAX };
        let titles = TITLE.min(width.saturating_sub(MARKS + SEEN));
        let shown = cut(&row.shown, width.saturating_sub(MARKS + titles));
        format!(" {colour}{mark}{off} {:<titles$} {took:>7}  {shown}", cut(title, titles))
    }

    /// Prints the summary. Returns whether every scenario had the expected result.
    pub(super) fn finish(&self, took: Duration) -> bool {
        let well = self.rows.iter().filter(|r| r.ending.as_ref().is_some_and(|(e, _)| e.well)).count();
        if self.json {
            let rows: Vec<_> = self
                .rows
                .iter()
                .zip(SCENARIOS)
                .map(|(row, scenario)| {
                    let (well, took) =
                        row.ending.as_ref().map_or((false, 0.0), |(e, t)| (e.well, t.as_secs_f64()));
                    json!({"scenario": scenario.title, "well": well, "saw": row.shown, "seconds": took})
                })
                .collect();
            println!(
                "{}",
                json!({"well": well == self.rows.len(), "seconds": took.as_secs_f64(), "scenarios": rows})
            );
        } else {
            let all = self.rows.len();
            println!("\n{well} of {all} ended as they should, after {:.1} s.", took.as_secs_f64());
            if well == all {
                println!("Next: otpost dev, and read the texts in a browser.");
            }
        }
        well == self.rows.len()
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
