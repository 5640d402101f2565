//! Table tests: counts, and the sentences that follow.

use std::time::Duration;

use jiff::Timestamp;

use super::{Cause, Cell, Counts, Group, History, OwnProblem, Part, Symptom, Tally, verdict};
use crate::domain::channel::Channel;
use crate::ops::failures::FailureCount;

fn now() -> Timestamp {
    "2026-05-04T14:05:00Z".parse().unwrap()
}

fn cell(channel: Channel, carrier: &str, country: &str, tenant: &str) -> Cell {
    Cell { channel, carrier: carrier.to_owned(), country: country.to_owned(), tenant: tenant.to_owned() }
}

fn counts(symptom: Symptom, all: u64, failed: u64) -> Counts {
    let mut counts = Counts::default();
    counts.count(symptom, Tally { all, failed });
    counts
}

/// Two carriers, three countries and two tenants, of which each cell had 1,000 trials and 40 failures.
fn usual(symptom: Symptom) -> (History, Vec<Cell>) {
    let (mut history, mut cells) = (History::default(), vec![]);
    for carrier in ["acme", "bolt"] {
        for country in ["DE", "ID", "US"] {
            for tenant in ["shop", "bank"] {
                let cell = cell(Channel::Sms, carrier, country, tenant);
                history.add_usual(cell.clone(), &counts(symptom, 1000, 40));
                cells.push(cell);
            }
        }
    }
    (history, cells)
}

/// Three minutes in which cells of a group fail at this rate, and the others as usual.
fn with(symptom: Symptom, fails: impl Fn(&Cell) -> bool, rate: f64) -> History {
    let (mut history, cells) = usual(symptom);
    for interval in 0..18 {
        let counted = cells.iter().map(|cell| {
            let usual = u64::from(interval % 5 == 0);
            let failed = if fails(cell) { (5.0 * rate).round() as u64 } else { usual };
            (cell.clone(), counts(symptom, 5, failed))
        });
        history.advance(counted.collect::<Vec<_>>());
    }
    history
}

fn texts(history: &History, own: &[OwnProblem]) -> Vec<String> {
    verdict(history, own, now()).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn without_a_fall_there_is_no_sentence() {
    assert_eq!(texts(&History::default(), &[]), Vec::<String>::new());
    for symptom in Symptom::ALL {
        assert_eq!(texts(&with(symptom, |_| false, 0.0), &[]), Vec::<String>::new(), "{symptom:?}");
    }
}

#[test]
fn the_sentence_names_the_group_that_fails_and_says_that_the_others_do_not() {
    for (symptom, fails, rate, expected) in [
        (
            Symptom::Undelivered,
            (|cell| cell.carrier == "acme" && cell.country == "ID") as fn(&Cell) -> bool,
            0.9,
            "Messages to ID through acme fail since 14:02 UTC: of the last 180, 100 % undelivered, usually 4 %; others are fine. Ask acme; \
             meanwhile use others: otpost carrier pause acme --country ID --reason …",
        ),
        (
            Symptom::Refused,
            |cell| cell.carrier == "bolt",
            1.0,
            "Messages through bolt fail since 14:02 UTC: of the last 540, 100 % not accepted by the carrier, usually 4 %; other carriers are fine. \
             Ask bolt; meanwhile use others: otpost carrier pause bolt --reason …",
        ),
        (
            Symptom::NoReceipt,
            |cell| cell.carrier == "acme",
            1.0,
            "Messages through acme have no receipts since 14:02 UTC: of the last 540, 100 % without a receipt after a minute, usually 4 %; \
             other carriers are fine. See whether acme can reach receipts.public_url.",
        ),
        (
            Symptom::Late,
            |cell| cell.country == "US",
            0.8,
            "Messages to US are late since 14:02 UTC: of the last 360, 80 % need more than 30 s, usually 4 %; other countries are fine. Ask \
             the carriers about US.",
        ),
        (
            Symptom::Refused,
            |cell| cell.tenant == "bank",
            0.8,
            "Messages of tenant bank fail since 14:02 UTC: of the last 540, 80 % not accepted by the carrier, usually 4 %; other tenants are fine. \
             Look at the numbers in the jobs of bank.",
        ),
        (
            Symptom::Unverified,
            |_| true,
            1.0,
            "Messages arrive unused since 14:02 UTC: of the last 1080, 100 % of the delivered codes are not entered, usually 4 %. Compare with \
             the codes that users enter; a route may report delivery falsely.",
        ),
    ] {
        assert_eq!(texts(&with(symptom, fails, rate), &[]), [expected], "{symptom:?}");
    }
}

/// An outage of our own explains what carriers and countries show meanwhile.
#[test]
fn our_own_problems_come_first() {
    let own = OwnProblem {
        part: Part::Ledger,
        since: now().saturating_sub(Duration::from_secs(86_400)).unwrap(),
        what: "it does not answer".to_owned(),
    };
    let history = with(Symptom::Refused, |cell| cell.carrier == "acme", 1.0);
    let findings = verdict(&history, &[own], now());
    assert_eq!(findings[0].cause, Cause::Own(Part::Ledger));
    assert!(
        findings[0].text.starts_with("The ledger: it does not answer (since 2026-05-03 14:05 UTC)."),
        "{}",
        findings[0].text
    );
    let acme = Group { carrier: Some("acme".to_owned()), ..Group::default() };
    assert_eq!((findings.len(), &findings[1].cause), (2, &Cause::Cells(acme)));
}

/// The code that most failures have is named; a mixture of codes is not.
#[test]
fn the_carriers_error_code_is_named() {
    let code = |carrier: &str, code: &str, count| {
        let [carrier, country, code] = [carrier, "ID", code].map(str::to_owned);
        FailureCount { channel: Channel::Sms, carrier, country, what: "undelivered".to_owned(), code, count }
    };
    let text = |codes| {
        let mut history =
            with(Symptom::Undelivered, |cell| cell.carrier == "acme" && cell.country == "ID", 0.9);
        history.set_failures(codes);
        texts(&history, &[]).remove(0)
    };
    // Requests that were refused say nothing about messages that are not delivered.
    let refused = FailureCount { what: "throttled".to_owned(), count: 90, ..code("acme", "20429", 0) };
    let mixed = vec![code("acme", "30007", 5), code("acme", "30003", 5), code("bolt", "1", 90)];
    assert!(!text(mixed).contains("code"));
    let one = vec![code("acme", "30007", 6), code("acme", "30003", 5), code("bolt", "1", 90), refused];
    assert!(text(one).contains(", 100 % undelivered, code 30007, usually 4 %; others are fine."));
}

/// With one carrier nobody can tell whether it is the cause, but it is whom to ask.
#[test]
fn the_only_carrier_is_named() {
    let [id, de] = ["ID", "DE"].map(|country| cell(Channel::Sms, "acme", country, "shop"));
    let mut history = History::default();
    for _ in 0..18 {
        let interval = [
            (id.clone(), counts(Symptom::Undelivered, 5, 5)),
            (de.clone(), counts(Symptom::Undelivered, 5, 0)),
        ];
        history.advance(interval);
    }
    let found = verdict(&history, &[], now()).remove(0);
    let group =
        Group { carrier: Some("acme".to_owned()), country: Some("ID".to_owned()), ..Group::default() };
    assert_eq!(found.cause, Cause::Cells(group));
    // Nothing is known of the time before, so it says nothing of what is usual.
    assert_eq!(
        found.text,
        "Messages to ID through acme fail since 14:02 UTC: of the last 90, 100 % undelivered; other countries are fine. Ask acme; \
         to use another carrier meanwhile: otpost carrier pause acme --country ID --reason …"
    );
    let tenant = with(Symptom::Refused, |cell| cell.tenant == "bank" && cell.carrier == "acme", 0.8);
    assert!(!texts(&tenant, &[])[0].contains("to use another carrier"), "there is another one");
}

/// Fails if the stated rate is that of the window that the scan has chosen: it would jump between two looks.
#[test]
fn the_stated_rate_is_that_of_the_last_five_minutes() {
    let (mut history, cells) = usual(Symptom::Undelivered);
    let mut advance = |intervals: usize, failed: u64| {
        for _ in 0..intervals {
            let bolt = cells.iter().filter(|cell| cell.carrier == "bolt");
            let fine = bolt.map(|cell| (cell.clone(), counts(Symptom::Undelivered, 1, 0)));
            let acme = cells.iter().find(|cell| cell.carrier == "acme").unwrap();
            let bad = (acme.clone(), counts(Symptom::Undelivered, 10, failed));
            history.advance(fine.chain([bad]).collect::<Vec<_>>());
        }
        verdict(&history, &[], now()).first().map(|finding| finding.text.clone())
    };
    let rates: Vec<String> = [(60, 10), (3, 5), (12, 5), (15, 5)]
        .map(|(intervals, failed)| advance(intervals, failed).unwrap())
        .iter()
        .map(|text| text.split(": ").nth(1).unwrap().split(" undelivered").next().unwrap().to_owned())
        .collect();
    let expected = ["100 %", "95 %", "75 %", "50 %"].map(|rate| format!("of the last 300, {rate}"));
    assert_eq!(rates, expected);
    assert_eq!(advance(30, 0), None, "it is over");
}

/// Two carriers that fail in different ways have a sentence each.
#[test]
fn two_troubles_have_two_sentences() {
    let mut history = with(Symptom::Refused, |cell| cell.carrier == "acme", 1.0);
    let late = cell(Channel::Sms, "bolt", "DE", "shop");
    for _ in 0..18 {
        history.advance([(late.clone(), counts(Symptom::Late, 10, 10))]);
    }
    let found = verdict(&history, &[], now());
    assert_eq!(found.len(), 2, "{found:#?}");
    let symptoms: Vec<_> = found.iter().map(|finding| finding.symptom.unwrap()).collect();
    assert!(symptoms.contains(&Symptom::Refused) && symptoms.contains(&Symptom::Late), "{symptoms:?}");
}
