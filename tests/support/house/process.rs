//! otpost in processes of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::House;
use crate::support::relay::Relay;
use crate::support::wait;

impl House {
    /// A worker in a process of its own; its callbacks go to `receipts`.
    pub fn worker_process(&self, receipts: SocketAddr, name: &str) -> Process {
        self.process("worker", &format!("http://{receipts}"), "info", name)
    }

    /// otpost in a process of its own, with its log in `<name>.log`.
    pub fn process(&self, roles: &str, public_url: &str, level: &str, name: &str) -> Process {
        self.process_with(roles, public_url, level, name, |text| text)
    }

    /// The same with its configuration changed.
    pub fn process_with(
        &self, roles: &str, public_url: &str, level: &str, name: &str, change: impl FnOnce(String) -> String,
    ) -> Process {
        let text = change(self.config_text(&["c1"], public_url, level));
        self.run(&self.write_config(name, &text), roles, name)
    }

    /// A worker that reaches the broker and the carrier by way of relays.
    pub fn process_through(
        &self, roles: &str, receipts: SocketAddr, name: &str, broker: &Relay, carrier: &Relay,
    ) -> Process {
        self.process_with(roles, &format!("http://{receipts}"), "info", name, |text| {
            text.replace(&self.broker().to_string(), &broker.addr().to_string())
                .replace(&self.gateway.addr().to_string(), &carrier.addr().to_string())
        })
    }

    /// otpost with a configuration, in a process of its own.
    pub fn run(&self, file: &Path, roles: &str, name: &str) -> Process {
        self.run_with(file, roles, name, &[])
    }

    /// The same, with variables of its own.
    pub fn run_with(&self, file: &Path, roles: &str, name: &str, variables: &[(&str, &str)]) -> Process {
        let log = std::fs::File::create(self.files.0.join(format!("{name}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_otpost"))
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

    /// What a process has logged so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.files.0.join(format!("{name}.log"))).unwrap()
    }

    /// The same of every process that ran, by its name.
    pub fn logs(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(&self.files.0).unwrap().map(|file| file.unwrap().path());
        let logs = files.filter(|file| file.extension().is_some_and(|ending| ending == "log"));
        logs.map(|file| file.file_stem().unwrap().to_string_lossy().into_owned())
            .map(|name| (name.clone(), self.log(&name)))
            .collect()
    }

    /// Waits until a process serves; answers its log line with the addresses.
    pub async fn serving(&self, name: &str) -> Value {
        let look = async || self.log(name).lines().find(|l| l.contains("otpost serves")).map(str::to_owned);
        let line = wait::within(Duration::from_secs(20), look).await;
        let line = line.unwrap_or_else(|| panic!("it does not serve: {}", self.log(name)));
        serde_json::from_str(&line).unwrap()
    }
}

/// A process that ends with the test.
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
