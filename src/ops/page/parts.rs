//! The parts of the page, from top to bottom.

use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::link;
use crate::domain::clock::between;
use crate::domain::delivery_count::{Counted, DeliveryCounts};
use crate::ops::status::{Dimension, DispatchHistory, FailedDispatch, Numbers, Status};
use crate::ops::verdict::{Cause, Finding, Group};

/// Maximum number of rows of a table.
const MAX_ROWS: usize = 30;
/// Maximum number of kinds of failures.
const MAX_FAILURES: usize = 10;

pub(super) fn heading(status: &Status, filter: &Group) -> Markup {
    let time = status.at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let chips: Vec<_> = Dimension::ALL.iter().filter_map(|d| Some((*d, link::value(filter, *d)?))).collect();
    html! {
        header {
            h1 { "otpost" }
            @for (dimension, value) in &chips {
                a class="chip" id=(format!("chip-{}", dimension.as_str())) href=(link::with(filter, *dimension, None)) {
                    (dimension.as_str()) " " b { (value) } span aria-label="remove" { " ×" }
                }
            }
            span class="time" { (time) }
        }
    }
}

pub(super) fn verdict(status: &Status) -> Markup {
    html! {
        section class=(if status.findings.is_empty() { "verdict fine" } else { "verdict" }) {
            @if status.findings.is_empty() { p { strong { (fine(status)) } } }
            @for (n, finding) in status.findings.iter().enumerate() { (sentence(n, finding)) }
        }
    }
}

/// What to say when nothing is wrong. Without attempts, nobody knows whether codes would arrive.
fn fine(status: &Status) -> &'static str {
    if status.is_quiet { "Nothing was sent during the last 15 minutes." } else { "Codes arrive as usual." }
}

fn sentence(n: usize, finding: &Finding) -> Markup {
    // The first sentence says what is wrong, the others say what to do.
    let (what, act) = finding.text.split_once(". ").unwrap_or((finding.text.as_str(), ""));
    html! {
        p {
            strong { (what) "." } " " (act)
            @if let Cause::Cells(group) = &finding.cause {
                " " a id=(format!("finding-{n}")) href=(link::to(group)) { "Show these messages" }
            }
        }
    }
}

/// The way of a message, from the request to the entered code.
pub(super) fn funnel(status: &Status) -> Markup {
    let steps = |counts: &DeliveryCounts| {
        [
            counts.of(Counted::Attempts),
            counts.of(Counted::Accepted),
            counts.delivered(),
            counts.of(Counted::Verified),
        ]
    };
    let (recent, day) = (steps(&status.all.recent), steps(&status.all.day));
    let names = ["Sent to a carrier", "Accepted", "Delivered", "Code entered"];
    html! {
        section class="funnel" {
            h2 { "The last 15 minutes" }
            @for (n, name) in names.iter().enumerate() {
                div class="step" {
                    span { (name) }
                    (bar(recent[n], recent[0]))
                    b { (thousands(recent[n])) }
                    span class="share" { (share(recent[n], recent[0])) }
                    small { "24 h: " (share(day[n], day[0])) }
                }
            }
        }
    }
}

pub(super) fn tiles(status: &Status) -> Markup {
    let Numbers { recent, day } = &status.all;
    let (delivered, accepted) = (recent.delivered(), recent.of(Counted::Accepted));
    let within = |s| share(recent.delivered_within(s), delivered);
    let day_within = |s| share(day.delivered_within(s), day.delivered());
    let seconds = |counts: &DeliveryCounts, part| {
        counts.handset_quantile(part).map_or("–".to_owned(), |s| format!("{s:.1} s"))
    };
    let receipts =
        |counts: &DeliveryCounts| share(counts.of(Counted::Receipt60s), counts.of(Counted::Accepted));
    let jobs = status.queues.get("otpost.dispatch").map_or("–".to_owned(), |n| thousands(i64::from(*n)));
    let tiles = [
        ("Half arrive within", seconds(recent, 0.5), seconds(day, 0.5)),
        ("95 % arrive within", seconds(recent, 0.95), seconds(day, 0.95)),
        ("Delivered within 10 s", within(10), day_within(10)),
        ("Within 30 s", within(30), day_within(30)),
        ("Receipt within 60 s", if accepted == 0 { "–".to_owned() } else { receipts(recent) }, receipts(day)),
    ];
    html! {
        section class="tiles" {
            @for (name, value, usual) in tiles {
                div { span { (name) } b { (value) } small { "24 h: " (usual) } }
            }
            div {
                span { "Waiting jobs" } b { (jobs) }
                small { @match status.oldest_due {
                    Some(due) => { "a dispatch is due for " (duration(between(due, status.at).as_secs())) }
                    None => { "no dispatch is overdue" }
                } }
            }
        }
    }
}

/// The latest messages of the filter that did not arrive.
pub(super) fn failed(failed: &[FailedDispatch], filter: &Group) -> Markup {
    html! {
        @if *filter != Group::default() {
            section {
                h2 { "Latest messages that did not arrive" }
                @if failed.is_empty() { p class="none" { "None during the last 15 minutes." } } @else {
                    div class="scroll" id="table-failed" tabindex="0" role="region" aria-label="Latest messages that did not arrive" {
                        table class="texts" {
                            thead { tr {
                                th scope="col" { "admitted" } th scope="col" { "number" } th scope="col" { "tenant" } th scope="col" { "carrier" }
                                th scope="col" { "state" } th scope="col" { "code" } th scope="col" { "id" }
                            } }
                            tbody {
                                @for d in failed {
                                    tr {
                                        th scope="row" { (d.admitted_at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S").to_string()) }
                                        td { (d.mask) } td { (d.tenant) } td { (d.carrier) } td { (d.what) }
                                        td { (d.code.as_deref().unwrap_or("–")) }
                                        td { a id=(format!("dispatch-{}", d.id)) href=(link::of_dispatch(filter, &d.tenant, d.id)) { (d.id) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What happened to a dispatch.
pub(super) fn dispatch(d: &DispatchHistory, filter: &Group) -> Markup {
    let admitted = d.admitted_at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! {
        header {
            h1 { "otpost" }
            a class="chip" href=(link::to(filter)) { "Back to the status" }
            span class="time" { "admitted " (admitted) }
        }
        section {
            h2 { (d.mask) @if let Some(country) = &d.country { " (" (country) ")" } ", " (d.what) }
            p class="none" { "Tenant " (d.tenant) ", id " (d.id) }
            div class="scroll" tabindex="0" role="region" aria-label="What happened" {
                table class="texts words" {
                    thead { tr { th scope="col" { "time" } th scope="col" { "what happened" } } }
                    tbody {
                        @for (since, line) in &d.lines {
                            tr { th scope="row" { (since) } td class=(if line.starts_with(' ') { "answer" } else { "" }) { (line.trim_start()) } }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn tables(status: &Status, filter: &Group) -> Markup {
    let tables = [
        (Dimension::Carrier, "Carriers"),
        (Dimension::Country, "Countries"),
        (Dimension::Channel, "Channels"),
        (Dimension::Tenant, "Tenants"),
    ];
    html! {
        div class="tables" {
            @for (dimension, name) in tables { (table(status, filter, dimension, name)) }
        }
    }
}

/// Why messages failed during the last minutes.
pub(super) fn failures(status: &Status) -> Markup {
    html! {
        @if !status.failures.is_empty() {
            section {
                h2 { "Recent failures (5 to 10 minutes)" }
                div class="scroll" id="table-failures" tabindex="0" role="region" aria-label="Recent failures (5 to 10 minutes)" {
                    table class="texts" {
                        thead { tr {
                            th scope="col" { "carrier" } th scope="col" { "country" } th scope="col" { "what" }
                            th scope="col" { "code" } th scope="col" { "number" } th scope="col" { "channel" }
                        } }
                        tbody {
                            @for failure in status.failures.iter().take(MAX_FAILURES) {
                                tr {
                                    th scope="row" { (failure.carrier) }
                                    td { (failure.country) } td { (failure.what.replace('_', " ")) }
                                    td { @if failure.code.is_empty() { "–" } @else { (failure.code) } }
                                    td { (thousands(failure.count.cast_signed())) } td { (failure.channel) }
                                }
                            }
                        }
                    }
                }
                @if status.failures.len() > MAX_FAILURES {
                    p class="none" { "and " (status.failures.len() - MAX_FAILURES) " more kinds" }
                }
            }
        }
    }
}

fn table(status: &Status, filter: &Group, dimension: Dimension, name: &str) -> Markup {
    let rows = status.by.get(&dimension).map_or(&[][..], Vec::as_slice);
    html! {
        section {
            h2 { (name) }
            @if rows.is_empty() { p class="none" { "Nothing was sent during the last 24 hours." } } @else {
                div class="scroll" id=(format!("table-{}", dimension.as_str())) tabindex="0" role="region" aria-label=(name) {
                    table {
                        thead { tr {
                            th scope="col" { (dimension.as_str()) }
                            th scope="col" { "15 min" } th scope="col" { "accepted" } th scope="col" { "delivered" }
                            th scope="col" { "half in" } th scope="col" { "entered" } th scope="col" { "24 h" } th scope="col" { "delivered" }
                        } }
                        tbody {
                            @for (value, numbers) in rows.iter().take(MAX_ROWS) { (row(filter, dimension, value, numbers)) }
                        }
                    }
                }
                @if rows.len() > MAX_ROWS { p class="none" { "and " (rows.len() - MAX_ROWS) " more" } }
            }
        }
    }
}

fn row(filter: &Group, dimension: Dimension, value: &str, Numbers { recent, day }: &Numbers) -> Markup {
    let attempts = recent.of(Counted::Attempts);
    let half = recent.handset_quantile(0.5).map_or("–".to_owned(), |s| format!("{s:.1} s"));
    html! {
        tr {
            th scope="row" {
                a id=(format!("{}-{value}", dimension.as_str())) href=(link::with(filter, dimension, Some(value))) { (value) }
            }
            td { (thousands(attempts)) }
            td { (share(recent.of(Counted::Accepted), attempts)) }
            td { (bar(recent.delivered(), attempts)) (share(recent.delivered(), attempts)) }
            td { (half) }
            td { (share(recent.of(Counted::Verified), attempts)) }
            td { (thousands(day.of(Counted::Attempts))) }
            td { (share(day.delivered(), day.of(Counted::Attempts))) }
        }
    }
}

/// Breakers, queues and processes.
pub(super) fn machine(status: &Status) -> Markup {
    html! {
        div class="tables" {
            section {
                h2 { "Circuit breakers" }
                @if status.breakers.is_empty() { p class="none" { "None is open." } }
                ul {
                    @for open in &status.breakers {
                        li {
                            b { (open.carrier) } " gets no " (open.channel)
                            @if let Some(country) = &open.country { " to " (country) }
                            @if open.probe_in_s > 0 { ", next try in " (open.probe_in_s) " s" } @else { ", the next request is the try" }
                        }
                    }
                }
                @if !status.pauses.is_empty() {
                    h2 { "Paused carriers" }
                    ul {
                        @for pause in &status.pauses {
                            li {
                                b { (pause.carrier) }
                                @if let Some(country) = &pause.country { " in " (country) }
                                ", “" (pause.reason) "”, "
                                @if let Some(until) = pause.until {
                                    "until " (until.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC").to_string())
                                } @else {
                                    "until otpost carrier resume " (pause.carrier)
                                    @if let Some(country) = &pause.country { " --country " (country) }
                                }
                            }
                        }
                    }
                }
                @if !status.queues.is_empty() {
                    h2 { "Queues" }
                    ul { @for (queue, length) in &status.queues { li { (queue) ": " b { (thousands(i64::from(*length))) } } } }
                }
            }
            section {
                h2 { "Processes" }
                ul {
                    @for process in &status.processes {
                        @let ago = between(process.seen_at, status.at).as_secs();
                        li class=(if process.is_alive(status.at) { "" } else { "gone" }) {
                            b { (process.report.roles.join(", ")) } " on " (process.report.host) ", " (process.report.version)
                            @if process.is_alive(status.at) {
                                ", " (process.report.in_flight) " requests in progress"
                            } @else if process.report.is_stopped { ", stopped " (duration(ago)) " ago" }
                            @else { ", gone for " (duration(ago)) }
                            br; small { (process.name) @if !process.report.ops.is_empty() { ", page at " (process.report.ops) } }
                        }
                    }
                }
            }
        }
    }
}

fn bar(part: i64, all: i64) -> Markup {
    let width = if all > 0 { 100.0 * part.clamp(0, all) as f64 / all as f64 } else { 0.0 };
    html! {
        svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect class="rest" width="100" height="8" {}
            rect class="good" width=(format!("{width:.1}")) height="8" {}
        }
    }
}

/// `part` of `all` in percent.
fn share(part: i64, all: i64) -> String {
    if all <= 0 { "–".to_owned() } else { format!("{:.0} %", 100.0 * part.max(0) as f64 / all as f64) }
}

/// A number with thin spaces between its thousands.
fn thousands(number: i64) -> String {
    let digits = number.max(0).to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
