//! The shared `RabbitMQ` node: its command line, and its alarms.

use std::process::Command;

/// Runs rabbitmqctl for the tests' node.
pub(crate) fn rabbitmqctl(args: &[&str]) -> String {
    let program = std::env::var("OTPOST_TEST_RABBITMQCTL")
        .expect("OTPOST_TEST_RABBITMQCTL is not set: run scripts/test");
    let out = Command::new(program).arg("-q").args(args).output().expect("rabbitmqctl runs");
    let output = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    // A failing cleanup must not hide the failure of the test.
    assert!(out.status.success() || std::thread::panicking(), "rabbitmqctl {args:?}: {output}{errors}");
    output
}

/// Suspends or resumes the leader of a quorum queue. While it is suspended, it confirms no message.
pub(crate) fn set_suspended(vhost: &str, queue: &str, on: bool) {
    let verb = if on { "suspend" } else { "resume" };
    rabbitmqctl(&["eval", &format!("sys:{verb}({{'{vhost}_{queue}', node()}}).")]);
}

/// Closes every connection to a virtual host, from the broker's side.
pub(crate) fn close_all_connections(vhost: &str) {
    rabbitmqctl(&["close_all_connections", "--vhost", vhost, "a test does this"]);
}

/// An alarm that is on until the guard is dropped, also in a failing test. The node blocks publishers
/// meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Alarm {
    Memory,
    Disk,
}

impl Alarm {
    pub(crate) fn on(self) -> Raised {
        match self {
            Self::Memory => rabbitmqctl(&["set_vm_memory_high_watermark", "0"]),
            Self::Disk => rabbitmqctl(&["set_disk_free_limit", "1000000GB"]),
        };
        Raised(self)
    }
}

pub(crate) struct Raised(Alarm);

impl Drop for Raised {
    fn drop(&mut self) {
        match self.0 {
            Alarm::Memory => rabbitmqctl(&["set_vm_memory_high_watermark", "0.7"]), // as scripts/services sets it
            Alarm::Disk => rabbitmqctl(&["set_disk_free_limit", "50MB"]),           // RabbitMQ's default
        };
    }
}
