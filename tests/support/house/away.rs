//! The private servers, stopped and started under a test.

use std::process::Command;

/// A server that is away until this is dropped, also by a test that fails.
pub struct Away(&'static str);

impl Away {
    /// Stops `rabbitmq` or `postgres`, in one of the ways of `scripts/services`.
    pub fn stop(server: &'static str, how: &str) -> Self {
        services(&[&format!("stop-{server}"), how]);
        Self(server)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        services(&[&format!("start-{}", self.0)]);
    }
}

fn services(args: &[&str]) {
    let program =
        std::env::var("OTPOST_TEST_SERVICES").expect("OTPOST_TEST_SERVICES is not set: run scripts/test");
    let done = Command::new(program).args(args).output().expect("scripts/services runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
