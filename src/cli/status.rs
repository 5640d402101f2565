//! `otpost status`: whether codes arrive, and what is wrong.

use std::fmt::Write;
use std::io::IsTerminal;

use clap::Args;

use super::Failure;
use super::client::{Api, Server, problem};
use crate::domain::channel::Channel;
use crate::http::status::{
    BreakerAnswer, CountsAnswer, FailureAnswer, NamedNumbers, NumbersAnswer, PausedAnswer, ProcessAnswer,
    StatusAnswer,
};
use crate::http::timeline_text::spaced;

/// Maximum number of lines of a table.
const MAX_LINES: usize = 12;

/// Show whether codes arrive, and what is wrong. The API key must be an operator's.
#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    filter: Filter,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Exit with 1 if something is wrong
    #[arg(long)]
    exit_code: bool,
}

/// Filter of the numbers. The verdict ignores it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(super) struct Filter {
    /// Only the numbers of this channel: sms or voice
    #[arg(long)]
    pub(super) channel: Option<Channel>,
    /// Only those of this carrier
    #[arg(long)]
    pub(super) carrier: Option<String>,
    /// Only those to this country, such as DE
    #[arg(long)]
    pub(super) country: Option<String>,
    /// Only those of this tenant
    #[arg(long)]
    pub(super) tenant: Option<String>,
}

impl StatusCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let api = self.server.connect_operator()?;
        let status = fetch(&api, &self.filter).await?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&status).unwrap_or_default());
        } else {
            print!("{}", format(&status, std::io::stdout().is_terminal()));
        }
        if self.exit_code && !status.findings.is_empty() { Err(Failure::AlreadyReported) } else { Ok(()) }
    }
}

/// Reads the status of a running otpost.
pub(super) async fn fetch(api: &Api, filter: &Filter) -> Result<StatusAnswer, Failure> {
    let (status, body) = api.get(&path(filter)).await?;
    if status != 200 {
        return Err(problem(status, &body));
    }
    serde_json::from_value(body).map_err(|_| {
        Failure::Failed("the server's answer has another format; do both run the same version?".to_owned())
    })
}

fn path(filter: &Filter) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let values = [
        ("channel", filter.channel.map(|channel| channel.to_string())),
        ("carrier", filter.carrier.clone()),
        ("country", filter.country.clone()),
        ("tenant", filter.tenant.clone()),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    format!("/v1/status?{}", query.finish())
}

fn format(status: &StatusAnswer, is_coloured: bool) -> String {
    let colour = |code: &'static str| if is_coloured { code } else { "" };
    let (red, green, dim, off) =
        (colour("\x1b[31m"), colour("\x1b[32m"), colour("\x1b[2m"), colour("\x1b[0m"));
    let mut text = String::new();
    if status.findings.is_empty() {
        let _ = writeln!(text, "{green}{}{off}", fine(status));
    }
    for finding in &status.findings {
        let (what, act) = finding.text.split_once(". ").unwrap_or((&finding.text, ""));
        let _ = writeln!(text, "{red}{what}.{off} {act}");
    }
    let _ = writeln!(text, "\n{}", summary(&status.all));
    for (heading, values) in
        [("CARRIER", &status.carriers), ("COUNTRY", &status.countries), ("TENANT", &status.tenants)]
    {
        text.push_str(&table(heading, values, dim, off));
    }
    text.push_str(&failures(&status.failures, dim, off));
    if !status.queues.is_empty() {
        let queues: Vec<String> =
            status.queues.iter().map(|(queue, length)| format!("{queue} {length}")).collect();
        let _ = writeln!(text, "\nQueues: {}", queues.join(", "));
    }
    for open in &status.breakers {
        let _ = writeln!(text, "{red}{}{off}", breaker(open));
    }
    for pause in &status.pauses {
        let _ = writeln!(text, "{red}{}{off}", paused(pause));
    }
    text.push('\n');
    for process in &status.processes {
        let _ = writeln!(text, "{}", describe(process));
    }
    text
}

/// What to say when nothing is wrong.
pub(super) fn fine(status: &StatusAnswer) -> &'static str {
    if status.quiet { "Nothing was sent during the last 15 minutes." } else { "Codes arrive as usual." }
}

/// `Last 15 minutes: 120 attempts, 99 % accepted, 97 % delivered; half arrive within 3.1 s, 95 % within 8.0 s.`
pub(super) fn summary(numbers: &NumbersAnswer) -> String {
    let of = |counts: &CountsAnswer| {
        let mut text = format!(
            "{} attempts, {} accepted, {} delivered, {} entered",
            counts.attempts,
            share(counts.accepted, counts.attempts),
            share(counts.delivered, counts.attempts),
            share(counts.verified, counts.attempts)
        );
        if let (Some(half), Some(most)) = (counts.handset_p50_s, counts.handset_p95_s) {
            let _ = write!(text, "; half arrive within {half:.1} s, 95 % within {most:.1} s");
        }
        text
    };
    format!("Last 15 minutes: {}.\nLast 24 hours:   {}.", of(&numbers.last_15_min), of(&numbers.last_24_h))
}

fn table(heading: &str, values: &[NamedNumbers], dim: &str, off: &str) -> String {
    let mut text = String::new();
    if values.is_empty() {
        return text;
    }
    let width =
        values.iter().map(|value| value.name.chars().count()).chain([heading.len()]).max().unwrap_or(0);
    let _ = writeln!(
        text,
        "\n{dim}{heading:<width$}  {:>9} {:>9} {:>9} {:>9} {:>9}  {:>9} {:>9}{off}",
        "15 MIN", "ACCEPTED", "DELIVERED", "HALF IN", "ENTERED", "24 H", "DELIVERED"
    );
    for value in values.iter().take(MAX_LINES) {
        let NumbersAnswer { last_15_min: recent, last_24_h: day } = &value.numbers;
        let half = recent.handset_p50_s.map_or("-".to_owned(), |s| format!("{s:.1} s"));
        let _ = writeln!(
            text,
            "{:<width$}  {:>9} {:>9} {:>9} {:>9} {:>9}  {:>9} {:>9}",
            value.name,
            recent.attempts,
            share(recent.accepted, recent.attempts),
            share(recent.delivered, recent.attempts),
            half,
            share(recent.verified, recent.attempts),
            day.attempts,
            share(day.delivered, day.attempts)
        );
    }
    if values.len() > MAX_LINES {
        let _ = writeln!(text, "{dim}and {} more: see --json{off}", values.len() - MAX_LINES);
    }
    text
}

/// Why messages failed during the last five to ten minutes, the most frequent kinds first.
fn failures(failures: &[FailureAnswer], dim: &str, off: &str) -> String {
    let mut text = String::new();
    if failures.is_empty() {
        return text;
    }
    let carriers = failures.iter().map(|failure| failure.carrier.chars().count());
    let width = carriers.chain(["FAILURES".len()]).max().unwrap_or(0);
    let _ = writeln!(
        text,
        "\n{dim}{:<width$}  {:<9} {:<13} {:<12} {:>9}  {:<7}{off}",
        "FAILURES", "COUNTRY", "WHAT", "CODE", "COUNT", "CHANNEL"
    );
    for failure in failures.iter().take(MAX_LINES) {
        let _ = writeln!(
            text,
            "{:<width$}  {:<9} {:<13} {:<12} {:>9}  {:<7}",
            failure.carrier,
            failure.country,
            spaced(&failure.what),
            failure.code.as_deref().unwrap_or("-"),
            failure.count,
            failure.channel.as_str()
        );
    }
    if failures.len() > MAX_LINES {
        let _ = writeln!(text, "{dim}and {} more: see --json{off}", failures.len() - MAX_LINES);
    }
    text
}

/// `Circuit breaker open: acme gets no sms to ID, next try in 12 s`
pub(super) fn breaker(open: &BreakerAnswer) -> String {
    format!("Circuit breaker open: {} gets {}", open.carrier, stopped(open))
}

/// `no sms to ID, next try in 12 s`
pub(super) fn stopped(open: &BreakerAnswer) -> String {
    let to = open.country.as_ref().map(|country| format!(" to {country}")).unwrap_or_default();
    let probe = if open.probe_in_s > 0 {
        format!("next try in {} s", open.probe_in_s)
    } else {
        "the next request is the try".to_owned()
    };
    format!("no {}{to}, {probe}", open.channel)
}

/// `Paused: acme in ID, "loses texts", until 2026-05-04 15:00 UTC`
pub(super) fn paused(pause: &PausedAnswer) -> String {
    let until = pause.until.map_or("until it is resumed".to_owned(), |until| {
        format!("until {}", until.strftime("%Y-%m-%d %H:%M UTC"))
    });
    let place = pause.country.as_ref().map(|country| format!(" in {country}")).unwrap_or_default();
    format!("Paused: {}{place}, \"{}\", {until}", pause.carrier, pause.reason)
}

/// `api, worker, receipts on host1, 0.1.0: 3 requests in progress (1234-…, page at 127.0.0.1:9102)`
pub(super) fn describe(process: &ProcessAnswer) -> String {
    let state = if process.alive {
        format!("{} requests in progress", process.in_flight)
    } else {
        let what = if process.stopped { "stopped at" } else { "gone since" };
        format!("{what} {}", process.seen_at.strftime("%Y-%m-%d %H:%M:%S UTC"))
    };
    let (roles, host) = (process.roles.join(", "), &process.host);
    let page = if process.ops.is_empty() { String::new() } else { format!(", page at {}", process.ops) };
    format!("{roles} on {host}, {}: {state} ({}{page})", process.version, process.name)
}

/// `part` of `all` in percent.
pub(super) fn share(part: i64, all: i64) -> String {
    if all <= 0 { "-".to_owned() } else { format!("{:.0} %", 100.0 * part.max(0) as f64 / all as f64) }
}
