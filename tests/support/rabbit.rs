//! A virtual host for one test on the shared `RabbitMQ`.

#[path = "node.rs"]
pub(crate) mod node;
#[path = "wait.rs"]
pub(crate) mod wait;

use std::net::SocketAddr;
use std::time::Duration;

use node::rabbitmqctl;

/// Time limit of each wait.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Vhost {
    name: String,
    base: String,
}

impl Vhost {
    pub(crate) fn new() -> Self {
        let base =
            std::env::var("OTPOST_TEST_AMQP_URL").expect("OTPOST_TEST_AMQP_URL is not set: run scripts/test");
        let (base, _) = base.rsplit_once('/').expect("the URL ends with a vhost");
        let vhost = Self { name: format!("test-{}", uuid::Uuid::new_v4().simple()), base: base.to_owned() };
        rabbitmqctl(&["add_vhost", &vhost.name]);
        rabbitmqctl(&["set_permissions", "-p", &vhost.name, "guest", ".*", ".*", ".*"]);
        vhost
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.base, self.name)
    }

    /// Returns the URL with the address of a relay.
    pub(crate) fn url_by(&self, relay: SocketAddr) -> String {
        self.url().replace(&self.upstream().to_string(), &relay.to_string())
    }

    pub(crate) fn upstream(&self) -> SocketAddr {
        let (_, address) = self.base.rsplit_once('@').expect("the URL names a user");
        address.parse().expect("the tests' RabbitMQ is named by address and port")
    }

    /// Calls `rabbitmqctl` with `-p` and this vhost after the command.
    pub(crate) fn ctl(&self, command: &str, arguments: &[&str]) -> String {
        rabbitmqctl(&[&[command, "-p", &self.name], arguments].concat())
    }

    pub(crate) fn set_suspended(&self, queue: &str, on: bool) {
        node::set_suspended(&self.name, queue, on);
    }

    /// Returns the processes of the channels that publish with confirms.
    pub(crate) fn confirming_channels(&self) -> Vec<String> {
        let channels = rabbitmqctl(&["list_channels", "vhost", "pid", "confirm"]);
        let ours = channels.lines().filter(|line| line.starts_with(&self.name) && line.ends_with("true"));
        ours.map(|line| line.split_whitespace().nth(1).expect("a process").to_owned()).collect()
    }

    pub(crate) fn close_all_connections(&self) {
        node::close_all_connections(&self.name);
    }

    /// Returns the messages of a quorum queue that are (ready, held by a consumer). It queries the queue
    /// itself, because the answer of `list_queues` may be five seconds old.
    pub(crate) fn depth(&self, queue: &str) -> (u64, u64) {
        let query = |what| {
            format!(
                "{{ok, {{_, N_{what}}}, _}} = ra:leader_query(Q, fun rabbit_fifo:query_messages_{what}/1)"
            )
        };
        let (ready, held) = (query("ready"), query("checked_out"));
        let name = &self.name;
        let answer = rabbitmqctl(&[
            "eval",
            &format!("Q = {{'{name}_{queue}', node()}}, {ready}, {held}, {{N_ready, N_checked_out}}."),
        ]);
        let numbers = answer.trim().trim_matches(['{', '}']).split(',').map(|n| n.parse().expect("a number"));
        let numbers: Vec<u64> = numbers.collect();
        (numbers[0], numbers[1])
    }

    pub(crate) async fn has_depth(&self, queue: &str, depth: (u64, u64)) {
        let mut found = (0, 0);
        let reached = wait::within(TIMEOUT, async || {
            found = self.depth(queue);
            (found == depth).then_some(())
        });
        let reached = reached.await.is_some();
        assert!(reached, "{queue} has {found:?} messages (ready, held), not {depth:?}");
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        rabbitmqctl(&["delete_vhost", &self.name]);
    }
}
