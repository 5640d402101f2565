//! A status of counts and reports.

use std::time::Duration;

use jiff::Timestamp;

use super::problems::silence;
use super::{Dimension, Input, PausedCarrier, SeenReport, Snapshot, Status};
use crate::domain::channel::Channel;
use crate::domain::clock::after;
use crate::domain::delivery_cell::Cell;
use crate::domain::delivery_count::{CountRow, Counted, DeliveryCounts};
use crate::ops::failures::FailureCount;
use crate::ops::report::{OpenBreaker, Report};
use crate::ops::verdict::{Cause, Group, OwnProblem, Part};

fn now() -> Timestamp {
    "2026-05-04T14:05:00Z".parse().unwrap()
}

fn row(minutes_ago: i64, carrier: &str, country: &str, attempts: i64) -> CountRow {
    let [carrier, country, tenant] = [carrier, country, "shop"].map(str::to_owned);
    let mut counts = DeliveryCounts::default();
    for counted in [Counted::Attempts, Counted::Accepted, Counted::Receipt60s, Counted::Delivered5s] {
        counts.add(counted, attempts);
    }
    let started_at = Timestamp::from_second(now().as_second() - 60 * minutes_ago).unwrap();
    CountRow {
        started_at,
        width_s: 10,
        cell: Cell { channel: Channel::Sms, carrier, country, tenant },
        counts,
    }
}

fn process(name: &str, seconds_ago: i64, role: &str) -> SeenReport {
    let started_at = Timestamp::from_second(now().as_second() - 3600).unwrap();
    let report = Report { roles: vec![role.to_owned()], started_at, ..Report::default() };
    let seen_at = Timestamp::from_second(now().as_second() - seconds_ago).unwrap();
    SeenReport { name: name.to_owned(), seen_at, report }
}

fn input(rows: Vec<CountRow>, reports: Vec<SeenReport>) -> Input {
    Input { now: now(), rows, reports, pauses: vec![], outage: None, ledger_problem: None }
}

fn attempts(counts: &DeliveryCounts) -> i64 {
    counts.of(Counted::Attempts)
}

#[test]
fn numbers_are_divided_and_filtered() {
    let rows = vec![
        row(1, "acme", "DE", 5),
        row(20, "acme", "ID", 3),
        row(5, "bolt", "DE", 2),
        row(1500, "old", "DE", 9),
    ];
    let input = input(rows, vec![process("w", 1, "worker")]);
    let status = Status::new(&Snapshot::new(input.clone()), &Group::default());
    assert_eq!((attempts(&status.all.recent), attempts(&status.all.day)), (7, 10));
    let carriers: Vec<_> =
        status.by[&Dimension::Carrier].iter().map(|(name, n)| (name.as_str(), attempts(&n.day))).collect();
    assert_eq!(carriers, [("acme", 8), ("bolt", 2)]);
    assert_eq!(status.history.len(), 144);
    assert_eq!(status.history.iter().map(|(_, counts)| attempts(counts)).sum::<i64>(), 10);
    let filter = Group { country: Some("DE".to_owned()), ..Group::default() };
    assert_eq!(attempts(&Status::new(&Snapshot::new(input.clone()), &filter).all.day), 7);
}

#[test]
fn failures_of_living_processes_are_added() {
    let failure = |carrier: &str, code: &str, count| {
        let [carrier, code, country, what] = [carrier, code, "DE", "undelivered"].map(str::to_owned);
        FailureCount { channel: Channel::Sms, carrier, country, what, code, count }
    };
    let mut workers = [process("a", 1, "worker"), process("b", 1, "worker"), process("gone", 300, "worker")];
    workers[0].report.failures = vec![failure("acme", "30007", 2), failure("bolt", "", 4)];
    workers[1].report.failures = vec![failure("acme", "30007", 3)];
    workers[2].report.failures = vec![failure("acme", "30007", 90)];
    let input = input(vec![], workers.to_vec());
    let failures = |filter: Group| Status::new(&Snapshot::new(input.clone()), &filter).failures;
    assert_eq!(failures(Group::default()), [failure("acme", "30007", 5), failure("bolt", "", 4)]);
    let bolt = Group { carrier: Some("bolt".to_owned()), ..Group::default() };
    assert_eq!(failures(bolt), [failure("bolt", "", 4)]);
    let tenant = Group { tenant: Some("shop".to_owned()), ..Group::default() };
    assert_eq!(failures(tenant), [], "they are not counted by tenant");
}

#[test]
fn a_deployment_without_a_worker_says_so() {
    let own = |reports| {
        let status = Status::new(&Snapshot::new(input(vec![], reports)), &Group::default());
        status.findings.into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    assert_eq!(own(vec![process("w", 19, "worker")]), Vec::<String>::new());
    assert_eq!(
        own(vec![process("a", 1, "api"), process("w", 300, "worker")]),
        [
            "Workers: none has reported for 300 s (since 14:00 UTC). Start a worker: otpost serve --roles worker."
        ]
    );
    assert_eq!(own(vec![]), Vec::<String>::new(), "nothing has reported yet");
}

/// Fails if the headline says that all is well while a process is gone, or if a replaced process stays a problem.
#[test]
fn a_process_that_ended_without_a_stop_is_a_problem_until_it_is_replaced() {
    let own = |reports| {
        let status = Status::new(&Snapshot::new(input(vec![], reports)), &Group::default());
        status.findings.into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    let mut gone = process("w", 90, "worker");
    (gone.report.host, gone.report.ops) = ("vm".to_owned(), "10.0.0.1:8082".to_owned());
    let said = "A process: worker on vm (10.0.0.1:8082) ended without an orderly stop (since 14:03 UTC). Start it again. Its log, or the \
                kernel's log (out of memory), says why it ended.";
    assert_eq!(own(vec![process("v", 1, "worker"), gone.clone()]), [said]);
    let mut new = process("x", 1, "worker");
    new.report.started_at = Timestamp::from_second(now().as_second() - 60).unwrap();
    let none = Vec::<String>::new();
    assert_eq!(own(vec![new, gone.clone()]), none, "it was replaced");
    let mut stopped = gone;
    stopped.report.is_stopped = true;
    assert_eq!(own(vec![process("v", 1, "worker"), stopped]), none, "it was stopped in order");
    assert_eq!(own(vec![process("v", 1, "worker"), process("w", 700, "worker")]), none, "long ago");
    let ago = |s: i64| Timestamp::from_second(now().as_second() - s).unwrap();
    let after_outage = Input {
        outage: Some((ago(100), ago(10))),
        ..input(vec![], vec![process("v", 1, "worker"), process("w", 90, "worker")])
    };
    assert!(Status::new(&Snapshot::new(after_outage), &Group::default()).findings.is_empty());
}

/// Fails if an operator is told to pause a carrier that is paused, or that it will be probed.
#[test]
fn a_paused_carrier_is_no_finding_and_has_no_breaker() {
    let mut rows = vec![row(200, "acme", "DE", 1000), row(200, "bolt", "DE", 1000)];
    for minutes in 2..15 {
        let mut failing = row(minutes, "acme", "DE", 20);
        failing.counts.add(Counted::Receipt60s, -20);
        rows.push(failing);
        rows.push(row(minutes, "bolt", "DE", 20));
    }
    let mut worker = process("w", 1, "worker");
    let [carrier, channel] = ["acme", "sms"].map(str::to_owned);
    worker.report.breakers.push(OpenBreaker { carrier, channel, country: None, probe_in_s: 0 });
    let of = |pauses| {
        let input = Input { pauses, ..input(rows.clone(), vec![worker.clone()]) };
        let status = Status::new(&Snapshot::new(input), &Group::default());
        (status.findings.len(), status.breakers.len())
    };
    assert_eq!(of(vec![]), (1, 1));
    assert_eq!(of(vec![pause("acme", None)]), (0, 0));
}

fn pause(carrier: &str, country: Option<&str>) -> PausedCarrier {
    let [carrier, reason, by] = [carrier, "down", "k"].map(str::to_owned);
    PausedCarrier { carrier, country: country.map(str::to_owned), reason, by, until: None }
}

/// Fails if a pause in one country hides what is wrong with the carrier in another one, or in all of them.
#[test]
fn a_pause_in_a_country_hides_only_what_is_of_that_country() {
    let rows = |countries_of_acme: &[&str]| {
        let mut rows = vec![];
        for (carrier, country) in [("acme", "ID"), ("acme", "DE"), ("bolt", "ID"), ("bolt", "DE")] {
            rows.push(row(200, carrier, country, 1000));
            let is_failing = carrier == "acme" && countries_of_acme.contains(&country);
            for minutes in 2..15 {
                let mut recent = row(minutes, carrier, country, 20);
                recent.counts.add(Counted::Receipt60s, if is_failing { -20 } else { 0 });
                rows.push(recent);
            }
        }
        rows
    };
    let mut worker = process("w", 1, "worker");
    for country in [None, Some("ID")] {
        let ([carrier, channel], country) = (["acme", "sms"].map(str::to_owned), country.map(str::to_owned));
        worker.report.breakers.push(OpenBreaker { carrier, channel, country, probe_in_s: 0 });
    }
    let of = |countries: &[&str], pauses: &[PausedCarrier]| {
        let input = Input { pauses: pauses.to_vec(), ..input(rows(countries), vec![worker.clone()]) };
        let status = Status::new(&Snapshot::new(input), &Group::default());
        (status.findings.len(), status.breakers.len())
    };
    for (pauses, expected) in [
        (vec![], (1, 2)),
        (vec![pause("acme", Some("ID"))], (0, 1)),
        (vec![pause("acme", Some("DE"))], (1, 2)),
        (vec![pause("bolt", Some("ID"))], (1, 2)),
        (vec![pause("acme", Some("DE")), pause("acme", Some("ID"))], (0, 1)),
        (vec![pause("acme", None)], (0, 0)),
    ] {
        assert_eq!(of(&["ID"], &pauses), expected, "{pauses:?}");
    }
    assert_eq!(of(&["ID", "DE"], &[pause("acme", Some("ID"))]), (1, 1), "it fails in all countries");
    // A deployment that serves one country: the finding names the carrier alone.
    let only_id = |pauses: &[PausedCarrier]| {
        let rows = rows(&["ID"]).into_iter().filter(|row| row.cell.country == "ID").collect();
        let input = Input { pauses: pauses.to_vec(), ..input(rows, vec![worker.clone()]) };
        Status::new(&Snapshot::new(input), &Group::default()).findings.into_iter().map(|f| f.cause).collect()
    };
    let acme = Group { carrier: Some("acme".to_owned()), ..Group::default() };
    let found: [Vec<Cause>; 2] = [only_id(&[]), only_id(&[pause("acme", Some("ID"))])];
    assert_eq!(found, [vec![Cause::Cells(acme)], vec![]]);
}

/// Fails if the end of a burst, a quiet night or a short gap counts as a problem.
#[test]
fn traffic_that_stops_is_a_problem_if_it_was_steady() {
    // `minutes` returns the number of requests in a minute, counted from now.
    let of = |minutes: &dyn Fn(i64) -> i64, reports: Vec<SeenReport>| {
        let rows = (1..=60).map(|minute| row(minute, "acme", "DE", minutes(minute))).collect();
        let status = Status::new(&Snapshot::new(input(rows, reports)), &Group::default());
        status.findings.into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    let worker = || vec![process("w", 1, "worker")];
    let stopped = |minute: i64| if minute > 6 { 20 } else { 0 };
    assert_eq!(
        of(&stopped, worker()),
        [
            "Traffic has stopped: no request to a carrier, after 20 a minute (since 13:58 UTC). Check that senders still publish jobs. Look for paused carriers (otpost carrier list) and open circuit breakers (otpost status)."
        ]
    );
    let none = Vec::<String>::new();
    assert_eq!(of(&|_| 20, worker()), none, "it has not stopped");
    assert_eq!(of(&|minute| if minute > 4 { 20 } else { 0 }, worker()), none, "for four minutes");
    assert_eq!(of(&|minute| if minute > 6 { 7 } else { 0 }, worker()), none, "little was to be expected");
    assert_eq!(of(&|minute| if (7..20).contains(&minute) { 900 } else { 0 }, worker()), none, "a burst");
    let away = of(&stopped, vec![process("w", 300, "worker"), process("a", 1, "api")]);
    assert!(away[0].starts_with("Workers:") && away.len() == 1, "a missing worker explains it: {away:?}");
}

/// A week with busy days, quiet nights and bursts.
#[test]
fn a_quiet_week_never_looks_as_if_traffic_had_stopped() {
    let mut state = 11_u64;
    let mut unit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut rows: std::collections::VecDeque<CountRow> = std::collections::VecDeque::new();
    for interval in 0..7 * 8640_i64 {
        let day = (interval % 8640) as f64 / 8640.0;
        let busy = (0.5 - 0.5 * (std::f64::consts::TAU * day).cos()).powi(4);
        let burst = if unit() < 0.002 { 200.0 } else { 0.0 };
        let requests = ((20.0 * busy + burst) * 2.0 * unit()) as i64;
        let mut next = row(0, "acme", "DE", requests);
        next.started_at = after(now(), Duration::from_secs(10 * interval as u64));
        rows.push_back(next);
        if rows.len() > 420 {
            rows.pop_front();
        }
        let end = after(now(), Duration::from_secs(10 * interval as u64 + 10));
        let found = silence(rows.make_contiguous(), end);
        assert!(found.is_none(), "{found:?} at {day} of a day");
    }
}

/// Fails if the last reports, which are old during an outage, are taken for the cause.
#[test]
fn during_an_outage_of_the_ledger_only_the_ledger_is_named() {
    let what = "does not answer".to_owned();
    let problem = OwnProblem { part: Part::Ledger, since: now(), what };
    let input = Input { ledger_problem: Some(problem), ..input(vec![], vec![process("w", 300, "worker")]) };
    let causes: Vec<_> = Status::new(&Snapshot::new(input.clone()), &Group::default())
        .findings
        .into_iter()
        .map(|finding| finding.cause)
        .collect();
    assert_eq!(causes, [Cause::Own(Part::Ledger)]);
}

#[test]
fn what_several_processes_report_is_told_once() {
    let mut reports = vec![process("v", 1, "worker"), process("w", 2, "worker"), process("x", 900, "worker")];
    for (n, process) in reports.iter_mut().enumerate() {
        let since = after(now(), Duration::from_secs(n as u64));
        let what = "refused".to_owned();
        process.report.problems.push(OwnProblem { part: Part::Broker, since, what });
        let [carrier, channel] = ["acme", "sms"].map(str::to_owned);
        process.report.breakers.push(OpenBreaker { carrier, channel, country: None, probe_in_s: n as u64 });
        process.report.queues.insert("otpost.dispatch".to_owned(), 10 * n as u32);
        process.report.oldest_due = (n == 0).then(now);
    }
    let status = Status::new(&Snapshot::new(input(vec![], reports)), &Group::default());
    assert_eq!(status.findings.len(), 1);
    assert_eq!(status.findings[0].since, now());
    assert_eq!(status.breakers.len(), 1);
    assert_eq!(status.queues["otpost.dispatch"], 10, "the process that is gone does not count");
    assert_eq!(status.oldest_due, Some(now()), "as the newest report says");
}

/// Fails if receipts that were recorded late, after an outage, are taken for a carrier's fault.
#[test]
fn attempts_of_an_outage_blame_no_carrier() {
    let mut rows = vec![row(200, "acme", "DE", 1000), row(200, "bolt", "DE", 1000)];
    for minutes in 5..15 {
        let mut late = row(minutes, "acme", "DE", 20);
        late.counts.add(Counted::Receipt60s, -20);
        rows.push(late);
        rows.push(row(minutes, "bolt", "DE", 20));
    }
    let blamed = |outage| {
        let input = Input { outage, ..input(rows.clone(), vec![process("w", 1, "worker")]) };
        Status::new(&Snapshot::new(input.clone()), &Group::default()).findings.len()
    };
    assert_eq!(blamed(None), 1);
    let ago = |minutes: i64| Timestamp::from_second(now().as_second() - 60 * minutes).unwrap();
    assert_eq!(blamed(Some((ago(16), ago(4)))), 0);
    assert_eq!(blamed(Some((ago(60), ago(30)))), 1, "an outage of another time explains nothing");
}
