//! What was measured: samples of single measurements, and rows with the median and spread over the rounds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::section::Section;

/// The figures of one measurement, by name. A name ends with its unit.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) subject: String,
    pub(crate) case: String,
    pub(crate) figures: BTreeMap<&'static str, f64>,
}

impl Sample {
    pub(crate) fn new(subject: impl Into<String>, case: impl Into<String>) -> Self {
        Self { subject: subject.into(), case: case.into(), figures: BTreeMap::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.figures.insert(name, value);
        self
    }

    /// Adds a figure if it is known.
    pub(crate) fn with_known(self, name: &'static str, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// A figure over the rounds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// Of each round, in their order.
    pub(crate) rounds: Vec<f64>,
}

/// The figures of one subject in one case.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) section: Section,
    pub(crate) subject: String,
    pub(crate) case: String,
    pub(crate) figures: BTreeMap<&'static str, Spread>,
}

/// All rows, and the sections that failed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) failures: Vec<Note>,
}

/// Why a section failed.
#[derive(Debug, Serialize)]
pub(crate) struct Note {
    pub(crate) section: Section,
    pub(crate) text: String,
}

impl Results {
    /// Adds a measurement, and prints it to standard error.
    pub(crate) fn add(&mut self, section: Section, sample: Sample) {
        let shown: Vec<String> =
            sample.figures.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
        eprintln!("  {}, {}: {}", sample.subject, sample.case, shown.join(", "));
        let found = self.rows.iter().position(|row| {
            (row.section, &row.subject, &row.case) == (section, &sample.subject, &sample.case)
        });
        let place = found.unwrap_or_else(|| {
            let Sample { subject, case, .. } = &sample;
            self.rows.push(Row {
                section,
                subject: subject.clone(),
                case: case.clone(),
                figures: BTreeMap::new(),
            });
            self.rows.len() - 1
        });
        for (name, value) in sample.figures {
            let figures = &mut self.rows[place].figures;
            let mut rounds = figures.remove(name).map(|spread| spread.rounds).unwrap_or_default();
            rounds.push(value);
            figures.insert(name, Spread::of(rounds));
        }
    }

    /// Returns the median of a figure.
    pub(crate) fn median(&self, section: Section, subject: &str, case: &str, name: &str) -> Option<f64> {
        let mut rows = self.of(section);
        let row = rows.find(|row| row.subject == subject && row.case == case)?;
        row.figures.get(name).map(|spread| spread.median)
    }

    /// Returns the rows of a section.
    pub(crate) fn of(&self, section: Section) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.section == section)
    }
}

impl Spread {
    fn of(rounds: Vec<f64>) -> Self {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Self { median, least: sorted[0], most: sorted[sorted.len() - 1], rounds }
    }
}

#[cfg(test)]
mod tests {
    use super::{Results, Sample, Spread};
    use crate::section::Section;

    #[test]
    fn the_median_of_an_even_count_is_between_the_middle_two() {
        let spread = Spread::of(vec![9.0, 1.0, 3.0, 2.0]);
        assert!((spread.median - 2.5).abs() < 1e-9);
        assert!((spread.least - 1.0).abs() < 1e-9 && (spread.most - 9.0).abs() < 1e-9);
    }

    #[test]
    fn the_rounds_of_one_subject_in_one_case_are_one_row() {
        let mut results = Results::default();
        for (subject, rate) in [("otpost", 2.0), ("otpost", 50.0), ("reference worker", 7.0), ("otpost", 1.0)]
        {
            results.add(Section::Drain, Sample::new(subject, "no rows").with("deliveries_per_s", rate));
        }
        assert_eq!(results.rows.len(), 2);
        let median = results.median(Section::Drain, "otpost", "no rows", "deliveries_per_s");
        assert!((median.expect("it was measured") - 2.0).abs() < 1e-9);
        assert_eq!(results.median(Section::Drain, "otpost", "other rows", "deliveries_per_s"), None);
    }
}
