//! Tests of the metrics together.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::catalogue::{attempt, order};
use super::{Format, Kind, MAX_SERIES, Metrics, catalogue};
use crate::domain::attempt::{Details, Outcome, ReceiptStatus, State};
use crate::domain::channel::Channel;

#[test]
fn the_page_for_operators_lists_each_metric_with_its_type_and_labels() {
    let page = include_str!("../../../docs/operate.md");
    let all = catalogue();
    for metric in &all {
        let row = format!("| `{}` | {} |", metric.name.trim_end_matches("_total"), metric.kind);
        let row = if metric.kind == Kind::Counter { row.replace("` |", "_total` |") } else { row };
        let line = page.lines().find(|line| line.starts_with(&row));
        let line = line.unwrap_or_else(|| panic!("docs/operate.md has no row {row}"));
        let labels = line.split('|').nth(3).unwrap();
        let listed: Vec<&str> = labels.split('`').skip(1).step_by(2).collect();
        assert_eq!(metric.labels.len(), listed.len(), "{line}");
        assert!(listed.iter().all(|label| metric.labels.contains(*label)), "{line}");
    }
    assert_eq!(all.len(), page.matches("| `otpost_").count(), "docs/operate.md lists a metric that is gone");
}

/// Fails if a registered metric has no series in `with_every_series`: it would be missing in the page and in the dashboard.
#[test]
fn every_registered_metric_is_in_the_catalogue() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops/metrics");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts =
        files.filter(|file| !file.ends_with("tests.rs")).map(|file| fs::read_to_string(file).unwrap());
    let registered: usize = texts.map(|text| text.matches("r.register").count()).sum();
    assert_eq!(catalogue().len(), registered);
}

/// Fails without the bound. Each event is of another number, of which the metrics get the country only.
#[test]
fn a_million_numbers_in_two_hundred_countries_keep_each_family_within_its_bound() {
    let m = Metrics::default();
    let letters: Vec<u8> = (b'A'..=b'Z').collect();
    let countries: Vec<String> = letters
        .iter()
        .flat_map(|a| letters.iter().map(move |b| format!("{}{}", *a as char, *b as char)))
        .take(200)
        .collect();
    let details = Details { segments: Some(1), price: Some("0.01 USD".to_owned()), ..Details::default() };
    let outcomes =
        [Outcome::Accepted, Outcome::Unknown, Outcome::Unavailable, Outcome::Throttled { retry_after: None }];
    let mut orders: Vec<_> = countries.iter().map(|country| order("", Some(country))).collect();
    let attempts: Vec<_> = (0..20).map(|i| attempt(&format!("carrier-{i}"))).collect();
    let tenants: Vec<String> = (0..300).map(|i| format!("tenant-{i}")).collect();
    for i in 0..1_000_000_usize {
        let order = &mut orders[i % countries.len()];
        order.tenant.clone_from(&tenants[i / countries.len() % tenants.len()]);
        let attempt = &attempts[i / 3 % attempts.len()];
        let outcome = outcomes[i / 11 % outcomes.len()];
        m.delivery.count_begin(attempt);
        m.delivery.count_outcome(attempt, order.country.as_deref(), outcome, &details, Duration::ZERO);
        m.delivery.count_state(None, State::Delivered, Channel::Sms, order);
        let country = order.country.as_deref();
        let (second, status) = (Duration::from_secs(1), ReceiptStatus::Delivered);
        m.receipts.count_receipt(&attempt.carrier, Channel::Sms, country, second, status, false);
        m.receipts.count_verified(&attempt.carrier, country, &order.tenant);
    }
    let text = m.text(Format::Prometheus);
    let mut series = std::collections::BTreeMap::<&str, usize>::new();
    let mut family = "";
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(rest) => family = rest.split(' ').next().unwrap(),
            None if !line.starts_with('#') => *series.entry(family).or_default() += 1,
            None => {}
        }
    }
    assert!(series.values().all(|count| *count <= MAX_SERIES), "{series:?}");
    assert!(series["otpost_dispatches_total"] > MAX_SERIES / 2, "the bound is reached: {series:?}");
    let total = |name: &str| -> u64 {
        let of = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        of.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    for counted in ["otpost_dispatches_total", "otpost_requests_total", "otpost_verified_total"] {
        assert_eq!(total(counted), 1_000_000, "{counted} counts each event once");
    }
    assert!(text.contains(
        "otpost_dispatches_total{state=\"delivered\",channel=\"sms\",tenant=\"other\",country=\"other\"}"
    ));
}

/// The largest part of the metrics' cost: an attempt and its dispatch. It prints a figure; the limit is for a debug build.
#[test]
fn counting_an_attempt_costs_little() {
    const ATTEMPTS: u32 = 100_000;
    let m = Metrics::default();
    let (order, attempt) = (order("shop", Some("GB")), attempt("main"));
    let details = Details { segments: Some(1), ..Details::default() };
    let begun = Instant::now();
    for _ in 0..ATTEMPTS {
        m.delivery.count_begin(&attempt);
        m.delivery.observe_first_request(&attempt, Duration::ZERO);
        m.delivery.observe_answer(&attempt, Duration::ZERO);
        m.delivery.count_outcome(&attempt, Some("GB"), Outcome::Accepted, &details, Duration::ZERO);
        m.delivery.count_state(None, State::Delivered, Channel::Sms, &order);
    }
    let each = begun.elapsed() / ATTEMPTS;
    println!("{each:?} for the nine metrics of an attempt");
    assert!(each < Duration::from_micros(200), "{each:?}");
}

#[test]
fn an_unknown_country_is_two_question_marks() {
    let m = Metrics::default();
    for country in [None, Some(""), Some("GBR"), Some("gb"), Some("1\u{0}")] {
        m.delivery.count_state(None, State::Failed, Channel::Voice, &order("shop", country));
    }
    let line =
        "otpost_dispatches_total{state=\"failed\",channel=\"voice\",tenant=\"shop\",country=\"??\"} 5\n";
    let text = m.text(Format::Prometheus);
    assert!(text.contains(line), "{text}");
}

/// Fails if each final state counts as another dispatch.
#[test]
fn a_corrected_dispatch_is_counted_once() {
    let m = Metrics::default();
    let order = order("shop", Some("GB"));
    m.delivery.count_state(Some(State::Sending), State::Sent, Channel::Sms, &order);
    m.delivery.count_state(Some(State::Sent), State::Undelivered, Channel::Sms, &order);
    m.delivery.count_state(Some(State::Undelivered), State::Delivered, Channel::Sms, &order);
    let text = m.text(Format::Prometheus);
    let of = |name: &str| text.lines().filter(|l| l.starts_with(&format!("{name}{{"))).collect::<Vec<_>>();
    let labels = "{state=\"undelivered\",channel=\"sms\",tenant=\"shop\",country=\"GB\"} 1";
    assert_eq!(of("otpost_dispatches_total"), [format!("otpost_dispatches_total{labels}")]);
    assert_eq!(of("otpost_corrections_total"), [format!("otpost_corrections_total{labels}")]);
    assert_eq!(of("otpost_states_total").len(), 3);
}

/// Fails if a series of an account that is gone stays.
#[test]
fn a_state_is_set_at_each_scrape() {
    let m = Metrics::default();
    let scrapes = std::sync::atomic::AtomicUsize::new(0);
    m.on_scrape(move |m| {
        let n = scrapes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        m.routing.forget_accounts();
        m.routing.set_rate_limit(["first", "second"][n], 10.0, 5.0);
    });
    let first = m.text(Format::Prometheus);
    assert!(first.contains("otpost_rate_limit_per_second{carrier=\"first\"} 10.0"), "{first}");
    let second = m.text(Format::Prometheus);
    assert!(!second.contains("first") && second.contains("{carrier=\"second\"} 5.0"), "{second}");
}

/// Fails if a corrected receipt counts twice, or if its delivery is not timed.
#[test]
fn an_attempt_has_one_final_receipt() {
    let m = Metrics::default();
    let receive = |status, corrects| {
        let (country, second) = (Some("GB"), Duration::from_secs(12));
        m.receipts.count_receipt("main", Channel::Sms, country, second, status, corrects);
    };
    receive(ReceiptStatus::Bad, false);
    receive(ReceiptStatus::Delivered, true);
    let text = m.text(Format::Prometheus);
    for line in [
        "otpost_final_receipts_total{carrier=\"main\",status=\"bad\"} 1\n",
        "otpost_country_receipts_total{carrier=\"main\",channel=\"sms\",country=\"GB\",status=\"bad\"} 1\n",
        "otpost_handset_seconds_bucket{le=\"10.0\",carrier=\"main\",channel=\"sms\"} 0\n",
        "otpost_handset_seconds_bucket{le=\"20.0\",carrier=\"main\",channel=\"sms\"} 1\n",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert!(!text.contains("status=\"delivered\""), "{text}");
}
