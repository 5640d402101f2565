//! A finding in words: what is wrong since when, what is not, and what to do.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::found::Found;
use super::{Group, OwnProblem, Part, Symptom, Tally};
use crate::domain::channel::Channel;

/// The time that is looked at. What has lasted longer began before.
const LONGEST: Duration = Duration::from_secs(3600);

/// Describes a problem of otpost itself.
pub(super) fn of_own(problem: &OwnProblem, now: Timestamp) -> String {
    let (who, act) = match problem.part {
        Part::Ledger => {
            ("The ledger", "See /readyz and the PostgreSQL log; codes wait and are sent when it answers.")
        }
        Part::SlowLedger => (
            "The ledger is slow",
            "See PostgreSQL for locks, long statements and the disk: docs/runbook/database-slow.md.",
        ),
        Part::Broker => {
            ("RabbitMQ", "See /readyz and the RabbitMQ log; jobs wait at their senders or in the queue.")
        }
        Part::Workers => ("Workers", "Start a worker: otpost serve --roles worker."),
        Part::Queue => (
            "The queue",
            "Add workers, or raise the carriers' rate_per_s. If the queue is short, jobs wait at their senders.",
        ),
        Part::Process => {
            ("A process", "Start it again. Its log, or the kernel's log (out of memory), says why it ended.")
        }
        Part::Carriers => (
            "Carriers",
            "Codes without another channel wait until they expire. To resume one: otpost carrier resume NAME [--country ID].",
        ),
        Part::Traffic => (
            "Traffic has stopped",
            "Check that senders still publish jobs. Look for paused carriers (otpost carrier list) and open circuit breakers (otpost status).",
        ),
        Part::Clock => {
            ("A clock", "Synchronise the machine's clock; it signs webhooks and logs with the wrong time.")
        }
    };
    format!("{who}: {} (since {}). {act}", problem.what, time(problem.since, now))
}

/// Describes what a group of cells shows. `code` is the carrier's error code that most of its failures have.
pub(super) fn of_cells(found: &Found, code: Option<&str>, now: Timestamp) -> String {
    let since = if found.since >= LONGEST {
        "for more than an hour".to_owned()
    } else {
        format!("since {}", time(now.saturating_sub(found.since).unwrap_or(now), now))
    };
    let rate = percent(found.tally.rate());
    let usual = found.usual.map(|usual| format!(", usually {}", percent(usual))).unwrap_or_default();
    let what = match found.symptom {
        Symptom::Refused => format!("{rate} not accepted by the carrier"),
        Symptom::Undelivered => format!("{rate} undelivered"),
        Symptom::NoReceipt => format!("{rate} without a receipt after a minute"),
        Symptom::Late => format!("{rate} need more than 30 s"),
        Symptom::Unverified => format!("{rate} of the delivered codes are not entered"),
    };
    let has_code = matches!(found.symptom, Symptom::Refused | Symptom::Undelivered);
    let code = code.filter(|_| has_code).map(|code| format!(", code {code}")).unwrap_or_default();
    let (subject, others) = (subject(&found.named_group()), others(found));
    format!(
        "{subject} {} {since}: of the last {}, {what}{code}{usual}{others}. {}",
        verb(found.symptom),
        found.tally.all,
        advice(found),
    )
}

fn verb(symptom: Symptom) -> &'static str {
    match symptom {
        Symptom::Refused | Symptom::Undelivered => "fail",
        Symptom::NoReceipt => "have no receipts",
        Symptom::Late => "are late",
        Symptom::Unverified => "arrive unused",
    }
}

/// `Texts to ID through acme`
fn subject(group: &Group) -> String {
    let mut subject = match group.channel {
        Some(Channel::Sms) => "Texts".to_owned(),
        Some(Channel::Voice) => "Calls".to_owned(),
        None => "Messages".to_owned(),
    };
    for (word, value) in
        [(" to ", &group.country), (" through ", &group.carrier), (" of tenant ", &group.tenant)]
    {
        if let Some(value) = value {
            subject.push_str(word);
            subject.push_str(value);
        }
    }
    subject
}

/// `; other carriers are fine`
fn others(found: &Found) -> String {
    let Tally { all, .. } = found.others;
    if all < 20 {
        return String::new();
    }
    let (rate, usual) = (found.others.rate(), found.others_usual);
    if rate > usual * 1.5 + 0.05 {
        return format!("; others too ({})", percent(rate));
    }
    let who = match (&found.group.carrier, &found.group.country, &found.group.tenant, found.group.channel) {
        (Some(_), None, _, None) => "other carriers",
        (None, Some(_), _, None) => "other countries",
        (_, _, Some(_), _) => "other tenants",
        (None, None, None, Some(_)) => "the other channel",
        _ => "others",
    };
    let verb = if who == "the other channel" { "is" } else { "are" };
    format!("; {who} {verb} fine")
}

fn advice(found: &Found) -> String {
    let Group { carrier, country, tenant, .. } = &found.named_group();
    match (found.symptom, carrier, country, tenant) {
        (Symptom::Refused, None, None, Some(tenant)) => {
            format!("Look at the numbers in the jobs of {tenant}.")
        }
        (Symptom::NoReceipt, Some(carrier), ..) => {
            format!("See whether {carrier} can reach receipts.public_url.")
        }
        (Symptom::NoReceipt, ..) => "See whether carriers can reach receipts.public_url.".to_owned(),
        (Symptom::Unverified, _, Some(country), _) => format!(
            "A route may report delivery falsely, or somebody requests codes to earn money (SMS pumping); to stop: otpost block add --country {country} --reason …"
        ),
        (Symptom::Unverified, ..) => {
            "Compare with the codes that users enter; a route may report delivery falsely.".to_owned()
        }
        (_, Some(carrier), ..) => {
            let meanwhile = match found.only_carrier {
                Some(_) => "to use another carrier meanwhile",
                None => "meanwhile use others",
            };
            let country = country.as_ref().map(|country| format!(" --country {country}")).unwrap_or_default();
            format!("Ask {carrier}; {meanwhile}: otpost carrier pause {carrier}{country} --reason …")
        }
        (_, None, Some(country), _) => {
            format!("Ask the carriers about {country}.")
        }
        _ => "See the log and /readyz.".to_owned(),
    }
}

fn percent(rate: f64) -> String {
    format!("{:.0} %", rate * 100.0)
}

/// The time of day in UTC, with the date unless it is today.
fn time(at: Timestamp, now: Timestamp) -> String {
    let (at, now) = (at.to_zoned(TimeZone::UTC), now.to_zoned(TimeZone::UTC));
    let pattern = if at.date() == now.date() { "%H:%M UTC" } else { "%Y-%m-%d %H:%M UTC" };
    at.strftime(pattern).to_string()
}
