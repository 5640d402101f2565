//! The bars: limits that the figures of a run must keep.

use serde::Serialize;

use crate::results::Results;
use crate::section::Section;
use crate::sections::{drain, embedded, growth, latency, receipts, start};

const OTPOST: &str = "otpost";
const REFERENCE: &str = "reference worker";
/// The bar with an aim.
const DRAIN: &str = "drain, of the reference worker's";

/// A limit and what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) measured: f64,
    pub(crate) limit: Limit,
    pub(crate) met: bool,
    /// The value that we aim for, beyond the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aim: Option<f64>,
}

/// A limit.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// Returns the bars whose figures were measured.
pub(crate) fn bars(results: &Results) -> Vec<Bar> {
    let mut bars = vec![];
    let mut add = |what: &str, measured: Option<f64>, limit| {
        if let Some(measured) = measured {
            let met = match limit {
                Limit::AtLeast(least) => measured >= least,
                Limit::AtMost(most) => measured <= most,
            };
            let aim = (what == DRAIN).then_some(0.9);
            bars.push(Bar { what: what.to_owned(), measured, limit, met, aim });
        }
    };
    let of_drain = |subject, figure| results.median(Section::Drain, subject, drain::EMPTY, figure);
    let over = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let rate = "deliveries_per_s";
    let drained = of_drain(OTPOST, rate);

    add(DRAIN, over(drained, of_drain(REFERENCE, rate)), Limit::AtLeast(0.75));
    let kannel = results
        .of(Section::Drain)
        .filter(|row| row.subject.starts_with("Kannel"))
        .filter_map(|row| row.figures.get(rate).map(|spread| spread.median))
        .max_by(f64::total_cmp);
    add("drain, of the faster Kannel's", over(drained, kannel), Limit::AtLeast(1.6));
    for (what, figure, most) in [
        ("PostgreSQL's CPU per delivery, of the reference worker's", "postgres_cpu_us", 2.0),
        ("worker's CPU per delivery, of the reference worker's", "worker_cpu_us", 1.5),
    ] {
        add(what, over(of_drain(OTPOST, figure), of_drain(REFERENCE, figure)), Limit::AtMost(most));
    }
    for per_s in [200.0, 1000.0] {
        let p99 = |subject| results.median(Section::Latency, subject, &latency::case(per_s), "p99_ms");
        let what = format!("p99 at {per_s:.0}/s, of the reference worker's");
        add(&what, over(p99(OTPOST), p99(REFERENCE)), Limit::AtMost(2.0));
    }
    let growth: Vec<_> = results.of(Section::Growth).collect();
    for row in growth.iter().filter(|row| !row.case.starts_with(growth::EMPTY)) {
        let empty = results.median(Section::Growth, OTPOST, &growth::empty_beside(&row.case), rate);
        let what = format!("drain with {}, of the empty ledger's", row.case);
        add(&what, over(row.figures.get(rate).map(|spread| spread.median), empty), Limit::AtLeast(0.85));
    }
    let greatest = |section, names: &[&str]| {
        let rows = results.of(section);
        let figures = rows.flat_map(|row| names.iter().filter_map(|name| row.figures.get(*name)));
        figures.map(|spread| spread.median).max_by(f64::total_cmp)
    };
    let scan = greatest(Section::Growth, &["due_scan_ms", "outbox_scan_ms"]);
    add("slowest scan of all growth cases, ms", scan, Limit::AtMost(5.0));
    let first = greatest(Section::Growth, &["first_scan_ms"]);
    add("slowest scan from the oldest entry, once a minute, ms", first, Limit::AtMost(5.0));
    add("greatest memory, MB", greatest(Section::Memory, &["peak_mb"]), Limit::AtMost(64.0));
    let received = results.median(Section::Receipts, OTPOST, receipts::CASE, "receipts_per_s");
    add("receipts, of the drain's rate", over(received, drained), Limit::AtLeast(1.5));
    let embedded = results.median(Section::Embedded, OTPOST, embedded::CASE, rate);
    add("embedded, of the drain's rate", over(embedded, drained), Limit::AtLeast(0.4));
    let first = results.median(Section::Start, OTPOST, start::CASE, "first_request_ms");
    add("first request after the start, ms", first, Limit::AtMost(300.0));
    bars
}

#[cfg(test)]
mod tests {
    use super::bars;
    use crate::results::{Results, Sample};
    use crate::section::Section;

    #[test]
    fn only_measured_bars_are_listed_and_medians_are_compared() {
        let mut results = Results::default();
        let mut add = |section, subject: &str, case: &str, name, value| {
            results.add(section, Sample::new(subject, case).with(name, value));
        };
        for rate in [700.0, 800.0, 10.0] {
            add(Section::Drain, "otpost", "0 rows", "deliveries_per_s", rate);
        }
        add(Section::Drain, "reference worker", "0 rows", "deliveries_per_s", 1000.0);
        add(Section::Growth, "otpost", "1000 rows, fresh", "deliveries_per_s", 90.0);
        add(Section::Growth, "otpost", "0 rows, beside 1000 rows, fresh", "deliveries_per_s", 100.0);
        add(Section::Growth, "otpost", "9 quotas, fresh", "deliveries_per_s", 40.0);
        add(Section::Growth, "otpost", "0 rows, beside 9 quotas, fresh", "deliveries_per_s", 50.0);
        add(Section::Start, "otpost", "one job waiting", "first_request_ms", 299.0);
        let bars = bars(&results);
        let met: Vec<(f64, bool)> = bars.iter().map(|bar| (bar.measured, bar.met)).collect();
        assert_eq!(met, [(0.7, false), (0.9, true), (0.8, false), (299.0, true)]);
        assert_eq!(bars[0].aim, Some(0.9));
    }
}
