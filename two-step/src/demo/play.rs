//! `two-step demo --play`: runs the scenarios and prints a table.

use std::time::Instant;

use serde_json::json;

use super::scenarios::SCENARIOS;
use super::{Running, SCENARIO_TIMEOUT};
use crate::cli::Failure;

/// Runs all scenarios, one after the other.
pub(super) async fn play(running: &Running, as_json: bool) -> Result<(), Failure> {
    let began = Instant::now();
    let width = SCENARIOS.iter().map(|r| r.title.len()).max().unwrap_or(0);
    let (mut passed, mut rows) = (0, vec![]);
    for scenario in SCENARIOS {
        let started = Instant::now();
        let site = format!("http://{}", running.site);
        let ending = match tokio::time::timeout(SCENARIO_TIMEOUT, (scenario.run)(site)).await {
            Ok(Ok(saw)) => Ok(saw),
            Ok(Err(e)) => Err(format!("{e:#}")),
            Err(_) => Err("it did not finish within a minute".to_owned()),
        };
        let seconds = started.elapsed().as_secs_f64();
        let (mark, says) = match &ending {
            Ok(saw) => ('✓', saw.clone()),
            Err(why) => ('✗', why.clone()),
        };
        passed += usize::from(ending.is_ok());
        if !as_json {
            println!(" {mark} {:width$}  {seconds:5.1} s  {says}", scenario.title);
        }
        rows.push(json!({"scenario": scenario.title, "passed": ending.is_ok(), "observed": says, "seconds": seconds}));
    }
    let all = SCENARIOS.len();
    if as_json {
        let seconds = began.elapsed().as_secs_f64();
        println!("{}", json!({"passed": passed == all, "seconds": seconds, "scenarios": rows}));
    } else {
        println!("\n{passed} of {all} scenarios passed, in {:.1} s.", began.elapsed().as_secs_f64());
    }
    if passed == all {
        Ok(())
    } else {
        Err(Failure::Failed("not every scenario ended as expected".to_owned()))
    }
}
