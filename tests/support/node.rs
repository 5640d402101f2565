//! The `RabbitMQ` node that all tests share: its command line, and its alarms.

use std::process::Command;

/// Runs rabbitmqctl against the tests' node.
pub(crate) fn rabbitmqctl(args: &[&str]) -> String {
    let program = std::env::var("OTPOST_TEST_RABBITMQCTL")
        .expect("OTPOST_TEST_RABBITMQCTL is not set: run scripts/test");
    let out = Command::new(program).arg("-q").args(args).output().expect("rabbitmqctl runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let complained = String::from_utf8_lossy(&out.stderr);
    // What a test that fails takes away again must not hide why it fails.
    assert!(out.status.success() || std::thread::panicking(), "rabbitmqctl {args:?}: {said}{complained}");
    said
}

/// The leader of a quorum queue stops answering, or goes on: what is published to it is not confirmed in between.
pub(crate) fn hold_up(vhost: &str, queue: &str, on: bool) {
    let verb = if on { "suspend" } else { "resume" };
    rabbitmqctl(&["eval", &format!("sys:{verb}({{'{vhost}_{queue}', node()}}).")]);
}

/// Ends every connection to a virtual host, from the broker's side.
pub(crate) fn close_all_connections(vhost: &str) {
    rabbitmqctl(&["close_all_connections", "--vhost", vhost, "a test does this"]);
}

/// An alarm that is on until this is dropped, also by a test that fails: the node takes nothing more from whoever
/// publishes.
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
            Alarm::Disk => rabbitmqctl(&["set_disk_free_limit", "50MB"]),           // RabbitMQ's own
        };
    }
}
