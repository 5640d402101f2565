//! `otpost doctor`: checks everything that a deployment needs, and says what to fix.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{ConfigFile, Failure, probe};
use crate::config::Config;
use crate::domain::clock;
use crate::ledger::{self, Ledger};

/// A clock that differs from the ledger's by more than this is wrong.
const MAX_CLOCK_ERROR: Duration = Duration::from_secs(2);

/// Check everything that a deployment needs: configuration, ledger, clock, RabbitMQ, carriers and their credentials, the callback URL,
/// and the running processes. Sends no message and changes nothing.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One check.
struct Finding {
    what: String,
    /// The problem and its remedy. `None`: nothing is wrong.
    problem: Option<String>,
}

/// The results so far. Printed as it comes, because a check may take some seconds.
struct Findings {
    all: Vec<Finding>,
    is_json: bool,
}

impl Findings {
    fn add(&mut self, what: impl Into<String>, problem: Option<String>) {
        let finding = Finding { what: what.into(), problem };
        if !self.is_json {
            let is_coloured = std::io::stdout().is_terminal();
            let colour = |code: &'static str| if is_coloured { code } else { "" };
            let (green, red, off) = (colour("\x1b[32m"), colour("\x1b[31m"), colour("\x1b[0m"));
            match &finding.problem {
                None => println!("{green}ok{off}     {}", finding.what),
                Some(problem) => println!("{red}wrong{off}  {}: {problem}", finding.what),
            }
        }
        self.all.push(finding);
    }

    fn finish(self) -> Result<(), Failure> {
        let wrong = self.all.iter().filter(|finding| finding.problem.is_some()).count();
        if self.is_json {
            let list: Vec<_> = self
                .all
                .iter()
                .map(|finding| json!({"what": finding.what, "ok": finding.problem.is_none(), "problem": finding.problem}))
                .collect();
            println!("{:#}", json!({"ok": wrong == 0, "checks": list}));
        } else if wrong == 0 {
            println!("\nNothing is wrong.");
        } else {
            println!("\n{wrong} of {} are wrong.", self.all.len());
        }
        if wrong == 0 { Ok(()) } else { Err(Failure::AlreadyReported) }
    }
}

impl Doctor {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut findings = Findings { all: vec![], is_json: self.json };
        let config = match self
            .file
            .load()
            .and_then(|config| Ok((crate::app::Reloadable::new(&config, config.keys()?)?, config)))
        {
            Ok((_, config)) => config,
            Err(Failure::Usage(why) | Failure::Failed(why)) => {
                findings.add("configuration", Some(why));
                return findings.finish();
            }
            Err(reported @ Failure::AlreadyReported) => return Err(reported),
        };
        let no_carrier = "no carrier is configured; add a section [carriers.NAME]".to_owned();
        findings.add("configuration", config.carriers.is_empty().then_some(no_carrier));
        for note in &config.notes {
            findings.add("configuration", Some(note.clone()));
        }
        self::ledger(&config, &mut findings).await;
        if let Ok(Some(nodes)) = crate::app::broker_nodes(&config) {
            findings.add("RabbitMQ, its exchanges and queues", probe::broker(&nodes).await.err());
        }
        for (name, carrier) in config.carriers.iter().filter(|(_, carrier)| !carrier.retired) {
            findings.add(
                format!("carrier {name}, its address and credentials"),
                probe::carrier(name, carrier).await.err(),
            );
        }
        // Carriers on this machine, such as mock-gateway, can call a loopback address.
        let needs_public_url =
            config.carriers.values().any(|carrier| !probe::is_loopback(carrier.base_url()));
        findings.add(
            format!("receipts.public_url, {}, from this machine", config.receipts.public_url),
            probe::callback_url(&config.receipts.public_url, needs_public_url).await.err(),
        );
        findings.finish()
    }
}

/// Looks at the ledger, the clock, and what the processes report.
async fn ledger(config: &Config, findings: &mut Findings) {
    let location = config.ledger_url().parse::<ledger::Location>();
    // Opening it would create it.
    if let Ok(ledger::Location::Sqlite(path)) = &location
        && !path.exists()
    {
        let problem = format!("{} does not exist; run: otpost migrate", path.display());
        return findings.add("ledger, its schema and rights", Some(problem));
    }
    let options = ledger::Options { exclusive: false, ..crate::app::ledger_options(config) };
    let opened = location.and_then(|location| ledger::open(&location, &options));
    let before = clock::now();
    let checked = match &opened {
        Ok(ledger) => ledger.check().await,
        Err(e) => Err(e.clone()),
    };
    findings.add("ledger, its schema and rights", checked.as_ref().err().map(ToString::to_string));
    let (Ok(ledger), Ok(theirs)) = (opened, checked) else { return };
    findings.add("clock of this machine", clock_problem(before, theirs, clock::now()));
    match processes(&ledger).await {
        Ok(problems) if problems.is_empty() => findings.add("running processes", None),
        Ok(problems) => {
            for problem in problems {
                findings.add("running processes", Some(problem));
            }
        }
        Err(e) => findings.add("running processes", Some(e.to_string())),
    }
}

fn clock_problem(before: Timestamp, theirs: Timestamp, after: Timestamp) -> Option<String> {
    let (earliest, latest) = (clock::after(theirs, MAX_CLOCK_ERROR), clock::after(after, MAX_CLOCK_ERROR));
    let (direction, by) = if before > earliest {
        ("ahead of", clock::between(theirs, before))
    } else if theirs > latest {
        ("behind", clock::between(after, theirs))
    } else {
        return None;
    };
    Some(format!("it is {:.1} s {direction} the ledger's; synchronise it (NTP)", by.as_secs_f64()))
}

/// The problems that running processes report, and whether a worker runs.
async fn processes(ledger: &Ledger) -> Result<Vec<String>, ledger::LedgerError> {
    let now = ledger.now();
    let reports = crate::app::seen_reports(ledger).await?;
    let alive: Vec<_> = reports.iter().filter(|process| process.is_alive(now)).collect();
    let mut problems = vec![];
    if !alive.iter().any(|process| process.report.roles.iter().any(|role| role == "worker")) {
        problems.push("no worker runs; start one: otpost serve --roles worker".to_owned());
    }
    for process in &alive {
        for problem in &process.report.problems {
            problems.push(format!("{}: {}", process.name, problem.what));
        }
    }
    let mut versions: Vec<&str> = alive.iter().map(|process| process.report.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    if versions.len() > 1 {
        problems.push(format!("they have different versions ({}); finish the upgrade", versions.join(", ")));
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::clock_problem;

    #[test]
    fn a_clock_is_wrong_by_more_than_two_seconds() {
        let t = |s: i64| jiff::Timestamp::from_second(1_800_000_000 + s).unwrap();
        assert_eq!(clock_problem(t(0), t(2), t(1)), None);
        assert_eq!(clock_problem(t(2), t(0), t(3)), None);
        assert_eq!(
            clock_problem(t(10), t(0), t(11)).unwrap(),
            "it is 10.0 s ahead of the ledger's; synchronise it (NTP)"
        );
        assert!(clock_problem(t(0), t(10), t(1)).unwrap().starts_with("it is 9.0 s behind"));
    }
}
