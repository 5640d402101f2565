//! otpost as an operator runs it: processes with fixed doors that can be killed, frozen and started again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use lapin::Channel;
use uuid::Uuid;

use crate::load::Sent;
use crate::support::house::process::Process;
use crate::support::house::{House, amqp};
use crate::support::wait;
use crate::watch::Watch;

/// Everything in one process.
pub(crate) const ALL: &str = "api,worker,receipts";
pub(crate) const FRONT_END: &str = "api,receipts";
pub(crate) const WORKER: &str = "worker";

pub(crate) struct Site {
    pub(crate) house: House,
    pub(crate) api: SocketAddr,
    pub(crate) receipts: SocketAddr,
    /// What the configuration has beside the house's own.
    pub(crate) more: String,
    /// Words of the house's configuration that are replaced, such as the address of a server by that of a relay.
    pub(crate) instead: Vec<(String, String)>,
    /// Looks at every row while the scenario runs.
    pub(crate) watch: Watch,
    /// Jobs beside the load's.
    pub(crate) by_hand: Mutex<Vec<Sent>>,
}

/// A door that a process finds again after its restart: none that the system gives to whoever connects somewhere meanwhile.
fn free_port() -> SocketAddr {
    const LOWEST: u16 = 10_000;
    const MANY: u16 = 15_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(Uuid::new_v4().as_fields().1));
    loop {
        let port = LOWEST + NEXT.fetch_add(1, Ordering::Relaxed) % MANY;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Site {
    /// A house whose carrier reports each state after this pause.
    pub(crate) async fn build(pace: Duration) -> Self {
        let mut house = House::build(pace).await;
        house.rate_per_s = 500;
        let more = "[dispatch]\nreceipt_wait_s = 5\n".to_owned();
        let watch = Watch::begin(&house.ledger_url);
        let (api, receipts) = (free_port(), free_port());
        Self { house, api, receipts, more, instead: vec![], watch, by_hand: Mutex::default() }
    }

    /// Where PostgreSQL is.
    pub(crate) fn postgres(&self) -> SocketAddr {
        self.house.ledger_url.split_once('@').unwrap().1.split('/').next().unwrap().parse().unwrap()
    }

    /// Starts a process and waits until it serves.
    pub(crate) async fn start(&self, name: &str, roles: &str) -> Process {
        let process = self.start_with(name, roles, &[]);
        self.house.serving(name).await;
        process
    }

    /// Starts a process with variables of its own.
    pub(crate) fn start_with(&self, name: &str, roles: &str, variables: &[(&str, &str)]) -> Process {
        self.house.run_with(&self.file(name, roles), roles, name, variables)
    }

    /// A channel to the broker, as soon as it answers.
    pub(crate) async fn channel(&self) -> Channel {
        let open = async || amqp(&self.house.amqp_url).await?.create_channel().await.ok();
        wait::answer("RabbitMQ answers", open).await
    }

    /// What a process says that is not ready; none where all is.
    pub(crate) async fn ready(&self, name: &str) -> Option<String> {
        let ops = self.house.serving(name).await["ops"].as_str().unwrap().to_owned();
        let (status, body) = self.house.get(&format!("http://{ops}/readyz")).await;
        (status != 200).then_some(body)
    }

    fn file(&self, name: &str, roles: &str) -> PathBuf {
        let file = self.house.config_file(name);
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
        for (word, by) in &self.instead {
            text = text.replace(word, by);
        }
        std::fs::write(&file, text + &self.more).unwrap();
        file
    }
}

/// Waits until a process has ended by this signal.
pub(crate) async fn killed_itself(process: &mut Process) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let ended = async || process.0.try_wait().unwrap();
    let ended = crate::support::wait::within(Duration::from_secs(40), ended).await;
    ended.is_some_and(|status| status.signal() == Some(9))
}
