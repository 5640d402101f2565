//! otpost as an operator runs it: processes with fixed ports that can be killed, frozen and restarted.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use lapin::Channel;

use crate::load::Sent;
use crate::support::deployment::process::Process;
use crate::support::deployment::{Deployment, amqp};
use crate::support::{ports, wait};
use crate::watch::Watch;

/// All roles in one process.
pub(crate) const ALL: &str = "api,worker,receipts";
pub(crate) const FRONT_END: &str = "api,receipts";
pub(crate) const WORKER: &str = "worker";

pub(crate) struct Cluster {
    pub(crate) deployment: Deployment,
    pub(crate) api: SocketAddr,
    pub(crate) receipts: SocketAddr,
    /// Text that is appended to the deployment's configuration.
    pub(crate) extra_config: String,
    /// Replacements in the deployment's configuration, such as the address of a relay for that of a server.
    pub(crate) replacements: Vec<(String, String)>,
    /// Checks every row while the scenario runs.
    pub(crate) watch: Watch,
    /// Jobs that the load did not publish.
    pub(crate) by_hand: Mutex<Vec<Sent>>,
}

impl Cluster {
    /// Builds a cluster whose carrier reports each state after this pause.
    pub(crate) async fn build(state_interval: Duration) -> Self {
        Self::of(Deployment::build(state_interval).await)
    }

    /// A cluster with this deployment.
    pub(crate) fn of(mut deployment: Deployment) -> Self {
        deployment.rate_per_s = 500;
        // The receipts listener may be stopped while a phone rings.
        deployment.code_at_once = true;
        let extra_config = "[dispatch]\nreceipt_wait_s = 5\n".to_owned();
        let watch = Watch::begin(&deployment.ledger_url);
        let (api, receipts) = (ports::reserve(), ports::reserve());
        Self {
            deployment,
            api,
            receipts,
            extra_config,
            replacements: vec![],
            watch,
            by_hand: Mutex::default(),
        }
    }

    /// Returns PostgreSQL's address.
    pub(crate) fn postgres(&self) -> SocketAddr {
        self.deployment.ledger_url.split_once('@').unwrap().1.split('/').next().unwrap().parse().unwrap()
    }

    /// Starts a process and waits until it serves.
    pub(crate) async fn start(&self, name: &str, roles: &str) -> Process {
        let process = self.start_with(name, roles, &[]);
        self.deployment.serving(name).await;
        process
    }

    /// Starts a process with additional environment variables.
    pub(crate) fn start_with(&self, name: &str, roles: &str, variables: &[(&str, &str)]) -> Process {
        self.deployment.run_with(&self.file(name, roles), roles, name, variables)
    }

    /// Opens a channel to the broker, as soon as the broker answers.
    pub(crate) async fn channel(&self) -> Channel {
        let open = async || amqp(&self.deployment.amqp_url).await?.create_channel().await.ok();
        wait::answer("RabbitMQ answers", open).await
    }

    /// Returns the answer of `/readyz` with the roles that are not ready, or `None` if all are ready.
    pub(crate) async fn ready(&self, name: &str) -> Option<String> {
        let ops = self.deployment.serving(name).await["ops"].as_str().unwrap().to_owned();
        let (status, body) = self.deployment.get(&format!("http://{ops}/readyz")).await;
        (status != 200).then_some(body)
    }

    /// Writes the configuration of a process.
    pub(crate) fn file(&self, name: &str, roles: &str) -> PathBuf {
        let file = self.deployment.config_file(name);
        let mut text = std::fs::read_to_string(&file).unwrap();
        text = text.replace("http://127.0.0.1:1", &format!("http://{}", self.receipts));
        if roles.contains("api") {
            text =
                text.replace("[api]\nlisten = \"127.0.0.1:0\"", &format!("[api]\nlisten = \"{}\"", self.api));
        }
        if roles.contains("receipts") {
            let listen = format!("[receipts]\nlisten = \"{}\"", self.receipts);
            text = text.replace("[receipts]\nlisten = \"127.0.0.1:0\"", &listen);
        }
        for (word, by) in &self.replacements {
            text = text.replace(word, by);
        }
        std::fs::write(&file, text + &self.extra_config).unwrap();
        file
    }
}

/// Waits until a process has killed itself with SIGKILL.
pub(crate) async fn killed_itself(process: &mut Process) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let ended = async || process.0.try_wait().unwrap();
    let ended = crate::support::wait::within(Duration::from_secs(40), ended).await;
    ended.is_some_and(|status| status.signal() == Some(9))
}
