//! The report of a run: a table for each section, and the bars.

use std::fmt::Write as _;

use serde::Serialize;

use crate::bars::{Bar, Limit};
use crate::machine::Machine;
use crate::results::{Results, Spread};
use crate::section::{Column, Section};

/// All that a run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// The run was a smoke test, whose figures say nothing.
    pub(crate) quick: bool,
    pub(crate) jobs: usize,
    pub(crate) rounds: usize,
    pub(crate) bars: Vec<Bar>,
    #[serde(flatten)]
    pub(crate) results: Results,
}

impl Report {
    /// Returns the report in Markdown.
    pub(crate) fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        writeln!(out, "{}\n", self.machine.text())?;
        if self.quick {
            writeln!(out, "A smoke test: the figures say nothing.\n")?;
        }
        let mut sections: Vec<Section> = self.results.rows.iter().map(|row| row.section).collect();
        sections.dedup();
        for section in sections {
            writeln!(out, "## {}\n", section.word())?;
            self.table(&mut out, section)?;
        }
        for note in &self.results.failures {
            writeln!(out, "Failed: {}: {}\n", note.section.word(), note.text)?;
        }
        if !self.bars.is_empty() {
            writeln!(out, "## bars\n\n| What | Measured | Bar | |\n| --- | ---: | ---: | --- |")?;
            for bar in &self.bars {
                let limit = match bar.limit {
                    Limit::AtLeast(least) => format!("≥ {least}"),
                    Limit::AtMost(most) => format!("≤ {most}"),
                };
                let aim = bar.aim.map(|aim| format!(" (aim {aim})")).unwrap_or_default();
                let met = if bar.met { "met" } else { "missed" };
                writeln!(out, "| {} | {:.2} | {limit}{aim} | {met} |", bar.what, bar.measured)?;
            }
        }
        Ok(out)
    }

    /// Writes the table of a section, with the columns that it has figures for.
    fn table(&self, out: &mut String, section: Section) -> std::fmt::Result {
        let columns: Vec<Column> = section
            .columns()
            .into_iter()
            .filter(|column| self.results.of(section).any(|row| row.figures.contains_key(column.figure)))
            .collect();
        write!(out, "| Worker | Case |")?;
        for column in &columns {
            write!(out, " {} |", column.title)?;
        }
        writeln!(out, "\n| --- | --- |{}", " ---: |".repeat(columns.len()))?;
        for row in self.results.of(section) {
            write!(out, "| {} | {} |", row.subject, row.case)?;
            for column in &columns {
                let cell =
                    row.figures.get(column.figure).map_or("–".to_owned(), |spread| column.cell(spread));
                write!(out, " {cell} |")?;
            }
            writeln!(out)?;
        }
        writeln!(out)
    }
}

impl Column {
    fn cell(&self, Spread { median, least, most, rounds }: &Spread) -> String {
        let digits = self.decimals;
        if self.spread && rounds.len() > 1 {
            format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
        } else {
            format!("{median:.digits$}")
        }
    }
}
