//! otpost in separate processes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Deployment;
use crate::support::relay::Relay;
use crate::support::wait;

impl Deployment {
    /// Starts a worker in a separate process. Its callbacks go to `receipts`.
    pub fn worker_process(&self, receipts: SocketAddr, name: &str) -> Process {
        self.process("worker", &format!("http://{receipts}"), "info", name)
    }

    /// Starts otpost in a separate process, with its log in `<name>.log`.
    pub fn process(&self, roles: &str, public_url: &str, level: &str, name: &str) -> Process {
        self.process_with(roles, public_url, level, name, |text| text)
    }

    /// The same with a changed configuration.
    pub fn process_with(
        &self, roles: &str, public_url: &str, level: &str, name: &str, change: impl FnOnce(String) -> String,
    ) -> Process {
        let text = change(self.config_text(&["c1"], public_url, level));
        self.run(&self.write_config(name, &text), roles, name)
    }

    /// Starts a worker that reaches the broker and the carrier through relays.
    pub fn process_through(
        &self, roles: &str, receipts: SocketAddr, name: &str, broker: &Relay, carrier: &Relay,
    ) -> Process {
        self.process_with(roles, &format!("http://{receipts}"), "info", name, |text| {
            text.replace(&self.broker().to_string(), &broker.addr().to_string())
                .replace(&self.gateway.addr().to_string(), &carrier.addr().to_string())
        })
    }

    /// Starts otpost with this configuration file in a separate process.
    pub fn run(&self, file: &Path, roles: &str, name: &str) -> Process {
        self.run_with(file, roles, name, &[])
    }

    /// The same, with additional environment variables.
    pub fn run_with(&self, file: &Path, roles: &str, name: &str, variables: &[(&str, &str)]) -> Process {
        self.run_program(Path::new(env!("CARGO_BIN_EXE_otpost")), file, roles, name, variables)
    }

    /// Starts another build of otpost.
    pub fn run_program(
        &self, program: &Path, file: &Path, roles: &str, name: &str, variables: &[(&str, &str)],
    ) -> Process {
        let log = std::fs::File::create(self.files.0.join(format!("{name}.log"))).unwrap();
        let child = Command::new(program)
            .args(["serve", "--roles", roles, "--config"])
            .arg(file)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process(child)
    }

    /// Returns the log of a process so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.files.0.join(format!("{name}.log"))).unwrap()
    }

    /// Returns the logs of all processes, with their names.
    pub fn logs(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(&self.files.0).unwrap().map(|file| file.unwrap().path());
        let logs = files.filter(|file| file.extension().is_some_and(|ending| ending == "log"));
        logs.map(|file| file.file_stem().unwrap().to_string_lossy().into_owned())
            .map(|name| (name.clone(), self.log(&name)))
            .collect()
    }

    /// Waits until a process serves. Returns its log line with the addresses.
    pub async fn serving(&self, name: &str) -> Value {
        let look = async || self.log(name).lines().find(|l| l.contains("otpost serves")).map(str::to_owned);
        let line = wait::within(Duration::from_secs(20), look).await;
        let line = line.unwrap_or_else(|| panic!("it does not serve: {}", self.log(name)));
        serde_json::from_str(&line).unwrap()
    }
}

/// A process that is killed on drop.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
