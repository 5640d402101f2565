//! The charts of a day, as inline SVG. Their colours are those of the style sheet.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::domain::delivery_count::{Counted, DeliveryCounts};
use crate::ops::status::Status;

const HEIGHT: f64 = 120.0;
/// The width of a point, with its gap.
const STEP: f64 = 5.0;

/// What became of the attempts, in points of ten minutes.
pub(super) fn throughput(status: &Status) -> Markup {
    let parts = |counts: &DeliveryCounts| {
        let (attempts, delivered) = (counts.of(Counted::Attempts).max(0), counts.delivered().max(0));
        let bad = counts.failed();
        [("bad", bad), ("open", (attempts - bad - delivered).max(0)), ("good", delivered)]
    };
    let most = status.history.iter().map(|(_, counts)| counts.of(Counted::Attempts)).max().unwrap_or(0);
    let bars = status.history.iter().enumerate().flat_map(|(n, (at, counts))| {
        let mut top = HEIGHT;
        parts(counts).into_iter().filter(|(_, number)| *number > 0).map(move |(kind, number)| {
            let height = HEIGHT * number as f64 / most.max(1) as f64;
            top -= height;
            (kind, n as f64 * STEP, top.max(0.0), height, title(*at, counts))
        })
    });
    figure(
        "Attempts in ten minutes",
        &[("good", "delivered"), ("open", "no receipt"), ("bad", "not accepted or undelivered")],
        &format!("{most}"),
        status,
        &html! {
            @for (kind, x, y, height, title) in bars {
                rect class=(kind) x=(x) y=(format!("{y:.2}")) width=(STEP - 1.0) height=(format!("{height:.2}")) {
                    title { (title) }
                }
            }
        },
    )
}

/// How long delivered messages needed.
pub(super) fn handset_time(status: &Status) -> Markup {
    let line = |part| -> Vec<Option<f64>> {
        status.history.iter().map(|(_, counts)| counts.handset_quantile(part)).collect()
    };
    let (half, most) = (line(0.5), line(0.95));
    let longest = most.iter().flatten().copied().fold(1.0, f64::max);
    let y = |seconds: f64| HEIGHT - (HEIGHT - 2.0) * seconds / longest;
    figure(
        "Time to the handset",
        &[("half", "half of the messages"), ("most", "95 %")],
        &format!("{longest:.0} s"),
        status,
        &html! {
            @for (kind, values) in [("most", &most), ("half", &half)] {
                @for piece in pieces(values) {
                    polyline class=(kind) vector-effect="non-scaling-stroke" points=(points(&piece, y)) {}
                }
            }
        },
    )
}

/// The pieces of a line between its gaps, each with the number of its first point.
fn pieces(values: &[Option<f64>]) -> Vec<(usize, Vec<f64>)> {
    let mut pieces: Vec<(usize, Vec<f64>)> = vec![];
    for (n, value) in values.iter().enumerate() {
        let Some(value) = value else { continue };
        match pieces.last_mut().filter(|(first, piece)| first + piece.len() == n) {
            Some((_, piece)) => piece.push(*value),
            None => pieces.push((n, vec![*value])),
        }
    }
    pieces
}

fn points((first, values): &(usize, Vec<f64>), y: impl Fn(f64) -> f64) -> String {
    let mut points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(n, value)| format!("{:.1},{:.2}", (first + n) as f64 * STEP + 2.0, y(*value)))
        .collect();
    // A single point is a short line.
    if let [only] = &mut points[..] {
        let (x, y) = (*first as f64 * STEP, y(values[0]));
        *only = format!("{x:.1},{y:.2} {:.1},{y:.2}", x + STEP - 1.0);
    }
    points.join(" ")
}

fn figure(name: &str, legend: &[(&str, &str)], top: &str, status: &Status, drawing: &Markup) -> Markup {
    let width = status.history.len() as f64 * STEP;
    let label = |n: usize| status.history.get(n).map(|(at, _)| time(*at)).unwrap_or_default();
    let count = status.history.len();
    html! {
        figure {
            figcaption {
                h2 { (name) }
                @for (kind, text) in legend {
                    span class="key" { svg class="dot" viewBox="0 0 8 8" { rect class=(kind) width="8" height="8" rx="2" {} } (text) }
                }
                span class="top" { "at most " (top) }
            }
            div class="chart" {
                svg role="img" aria-label=(format!("{name}, the last 24 hours")) viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" {
                    (drawing)
                }
            }
            div class="axis" {
                @for quarter in 0..4 { span { (label(quarter * count / 4)) } }
                span { "now" }
            }
        }
    }
}

fn title(at: Timestamp, counts: &DeliveryCounts) -> String {
    let count = |counted| counts.of(counted);
    format!(
        "{} UTC: {} attempts, {} accepted, {} delivered, {} undelivered",
        time(at),
        count(Counted::Attempts),
        count(Counted::Accepted),
        counts.delivered(),
        count(Counted::Undelivered)
    )
}

fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string()
}
