//! Stops and starts the private servers during a test.

use std::process::Command;

/// A stopped server. It starts again on drop, also in a failing test.
pub struct StoppedServer(&'static str);

impl StoppedServer {
    /// Stops `rabbitmq` or `postgres`, with one of the methods of `scripts/services`.
    pub fn stop(server: &'static str, how: &str) -> Self {
        services(&[&format!("stop-{server}"), how]);
        Self(server)
    }
}

impl Drop for StoppedServer {
    fn drop(&mut self) {
        services(&[&format!("start-{}", self.0)]);
    }
}

/// Runs a command of `scripts/services` and returns its last line.
pub fn services(args: &[&str]) -> String {
    let program =
        std::env::var("OTPOST_TEST_SERVICES").expect("OTPOST_TEST_SERVICES is not set: run scripts/test");
    let done = Command::new(program).args(args).output().expect("scripts/services runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().last().unwrap_or_default().to_owned()
}
