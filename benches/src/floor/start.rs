//! Starts a floor as a separate process.

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::thread::JoinHandle;

use clap::ValueEnum as _;

use super::{DONE, Floor};
use crate::place::Place;
use crate::processes::Process;
use crate::standin::StandIn;

/// Starts a floor. The returned future ends when the floor has sent its last ack.
pub(crate) fn start(
    floor: Floor, slots: usize, jobs: usize, place: &Place, carrier: &StandIn,
) -> anyhow::Result<(Process, JoinHandle<()>)> {
    let name = floor.to_possible_value();
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["work", name.as_ref().map_or("", |n| n.get_name())])
        .args(["--jobs", &jobs.to_string(), "--slots", &slots.to_string()])
        .args([
            "--amqp-url",
            &place.amqp_url,
            "--ledger-url",
            &place.ledger_url(),
            "--carrier",
            &carrier.url(),
        ]);
    let mut worker = Process::start("a floor", &mut command)?;
    let output = BufReader::new(worker.output()?);
    let done = std::thread::spawn(move || {
        if !output.lines().any(|line| line.is_ok_and(|l| l == DONE)) {
            // A process that ends without output is detected by its exit.
            std::thread::park();
        }
    });
    Ok((worker, done))
}
