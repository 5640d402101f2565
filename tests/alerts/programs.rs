//! Prometheus and promtool.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::wait;

/// The folder of the alert rules.
pub(crate) fn rules_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/prometheus")
}

fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("OTPOST_TEST_PROMETHEUS")
        .expect("OTPOST_TEST_PROMETHEUS is not set: run scripts/test, or scripts/prometheus");
    Path::new(&folder).join(name)
}

/// promtool, in the folder of the alert rules.
pub(crate) fn promtool(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("promtool"));
    command.args(arguments).current_dir(rules_folder());
    command
}

/// A running Prometheus, which is killed on drop.
pub(crate) struct Prometheus {
    process: Child,
    address: SocketAddr,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts it with rules and targets. It scrapes and evaluates every second.
    pub(crate) async fn start(folder: &Path, rules: &str, targets: &[SocketAddr]) -> Self {
        std::fs::write(folder.join("rules.yml"), rules).unwrap();
        let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
             scrape_configs:\n  - job_name: otpost\n    static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        // Prometheus cannot choose a port by itself.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = std::fs::File::create(folder.join("prometheus-log.txt")).unwrap();
        let process = Command::new(program("prometheus"))
            .arg(format!("--web.listen-address={address}"))
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let prometheus = Self { process, address, http };
        let ready = async || {
            let up = prometheus.query("sum(up)").await;
            up.first().is_some_and(|(_, value)| *value >= targets.len() as f64)
        };
        wait::until("Prometheus scrapes all targets", ready).await;
        prometheus
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let query = parameters.iter().fold(String::new(), |query, (name, value)| {
            format!(
                "{query}{name}={}&",
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC)
            )
        });
        let url = format!("http://{}/api/v1/{path}?{query}", self.address);
        self.http.get(url).send().await.ok()?.json().await.ok()
    }

    /// The result of a query now: labels and value of each series.
    pub(crate) async fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let Some(answer) = self.get("query", &[("query", query)]).await else { return vec![] };
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let value = |s: &Value| s["value"][1].as_str().unwrap_or_default().parse().unwrap_or(f64::NAN);
        series.iter().map(|s| (s["metric"].clone(), value(s))).collect()
    }

    /// The alerts that fire: each with its labels and annotations.
    pub(crate) async fn firing(&self) -> Vec<Value> {
        let Some(answer) = self.get("alerts", &[]).await else { return vec![] };
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        alerts.into_iter().filter(|alert| alert["state"] == "firing").collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
