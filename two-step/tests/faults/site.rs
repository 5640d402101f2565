//! two-step and otpost in a production set-up, on servers of one scenario.
//!
//! ```text
//! browser ─▶ two-step ─▶ relay ─▶ PostgreSQL (a database of its own)
//! back end ─▶         ─▶ relay ─▶ RabbitMQ (a virtual host) ─▶ otpost ─▶ mock carrier
//!                     ─▶ relay ─▶ otpost's HTTP API          (its own database)
//!                     ─▶ relay ─▶ mail server
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use uuid::Uuid;

use crate::backend::Backend;
use crate::browser::Browser;
use crate::checker;
use crate::database::Database;
use crate::journal::Journal;
use crate::mailbox::Mailbox;
use crate::phones::Phones;
use crate::ports;
use crate::process::{self, Process};
use crate::rabbit::Vhost;
use crate::receiver::Receiver;
use crate::relay::Relay;
use crate::tap::Tap;
use crate::wait;

/// The only allowed return URL of the product.
pub(crate) const RETURN_URL: &str = "https://shop.example/2fa";
/// Maximum start time of a process.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The protocol between two-step and otpost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Amqp,
    Http,
}

/// The relays between two-step and its services.
pub(crate) struct Links {
    pub(crate) database: Relay,
    pub(crate) broker: Relay,
    pub(crate) otpost: Relay,
    pub(crate) mail: Relay,
}

/// The addresses of a process. They stay the same after a restart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) pages: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) ops: SocketAddr,
}

impl Addresses {
    pub(crate) fn reserve() -> Self {
        Self { pages: ports::reserve(), api: ports::reserve(), ops: ports::reserve() }
    }
}

/// The environment of a scenario.
pub(crate) struct Site {
    pub(crate) backend: Backend,
    pub(crate) journal: Journal,
    pub(crate) phones: Phones,
    pub(crate) mailbox: Mailbox,
    pub(crate) receiver: Receiver,
    pub(crate) links: Links,
    pub(crate) tap: Tap,
    pub(crate) vhost: Vhost,
    /// The relays of two-step.
    pub(crate) database: Database,
    /// The relays of otpost.
    pub(crate) ledger: Database,
    pub(crate) addresses: Addresses,
    otpost_ops: SocketAddr,
    config: String,
    numbers: AtomicU32,
    folder: Folder,
}

/// A folder that is deleted with the scenario.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs and configurations are kept in {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

impl Site {
    /// Sets up everything except the two services. Their own commands create keys and tables.
    pub(crate) async fn build(transport: Transport) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder =
            Folder(std::env::temp_dir().join(format!("two-step-faults-{}", Uuid::now_v7().simple())));
        std::fs::create_dir_all(&folder.0).unwrap();
        let journal = Journal::default();
        let (database, ledger) = tokio::join!(Database::create(), Database::create());
        let (vhost, phones) = (Vhost::new(), Phones::start(&journal).await);
        let (mailbox, receiver) = (Mailbox::start().await, Receiver::start().await);
        let (addresses, otpost_api, otpost_receipts, otpost_ops) =
            (Addresses::reserve(), ports::reserve(), ports::reserve(), ports::reserve());
        let links = Links {
            database: Relay::start(database.address()).await,
            broker: Relay::start(vhost.upstream()).await,
            otpost: Relay::start(otpost_api).await,
            mail: Relay::start(mailbox.address).await,
        };

        let otpost_config = otpost_config(
            &ledger.url(),
            &vhost.url(),
            &process::output(&process::otpost(), &["keys", "root"]),
            [otpost_api, otpost_receipts, otpost_ops],
            &phones.gateway.addr().to_string(),
        );
        let otpost_file = folder.0.join("otpost.toml");
        std::fs::write(&otpost_file, otpost_config).unwrap();
        let otpost = |arguments: &[&str]| {
            let arguments = [arguments, &["--config", otpost_file.to_str().unwrap()]].concat();
            process::output(&process::otpost(), &arguments)
        };
        otpost(&["migrate"]);
        let tenant_key = otpost(&["keys", "tenant"]);
        let otpost_key = otpost(&["keys", "create"]);
        let otpost_key =
            otpost_key.split_whitespace().find(|w| w.starts_with("otpost_")).unwrap_or(&otpost_key);
        let tap = Tap::open(&vhost.url()).await;

        let mut site = Self {
            backend: Backend::new(addresses.api, "", &journal),
            journal,
            phones,
            mailbox,
            receiver,
            links,
            tap,
            vhost,
            database,
            ledger,
            addresses,
            otpost_ops,
            config: String::new(),
            numbers: AtomicU32::new(0),
            folder,
        };
        site.config = site.two_step_config(transport, &tenant_key, otpost_key);
        let file = site.config_file("two-step", addresses);
        let two_step = |arguments: &[&str]| {
            let arguments = [arguments, &["--config", file.to_str().unwrap()]].concat();
            process::output(&process::two_step(), &arguments)
        };
        two_step(&["migrate"]);
        let key = two_step(&["keys", "create", "--product", "shop"]);
        site.backend = Backend::new(addresses.api, &key, &site.journal);
        site
    }

    fn two_step_config(&self, transport: Transport, tenant_key: &str, otpost_key: &str) -> String {
        let root = process::output(&process::two_step(), &["keys", "root"]);
        for (what, text) in
            [("root", root.as_str()), ("tenant key", tenant_key), ("otpost's key", otpost_key)]
        {
            self.journal.secret(what, text);
        }
        let otpost = match transport {
            Transport::Amqp => {
                format!("mode = \"amqp\"\nurl = \"{}\"", self.vhost.url_by(self.links.broker.addr()))
            }
            Transport::Http => format!("mode = \"http\"\nurl = \"http://{}\"", self.links.otpost.addr()),
        };
        format!(
            "public_url = \"http://{}\"\n\
             [database]\nurl = \"{}\"\n[keys]\nroot = \"{root}\"\n\
             [otpost]\n{otpost}\nkey = \"{otpost_key}\"\ntenant_key = \"{tenant_key}\"\n\
             [smtp]\nurl = \"smtp://{}\"\n[log]\nlevel = \"trace\"\n\
             [limits]\nsend_gaps_s = [1]\nsends_per_challenge = 20\naccount_sends = [\"1000/1h\"]\n\
             number_sends = [\"1000/1h\"]\nclient_sends = [\"1000/1h\"]\nclient_entries = [\"1000/1m\"]\n\
             client_new_numbers = [\"1000/1d\"]\nprefix_new_numbers = [\"1000/1h\"]\n\
             mails = [\"1000/1h\"]\n\
             [products.shop]\nname = \"Shop\"\nreturn_urls = [\"{RETURN_URL}\"]\ncountries = [\"GB\"]\n\
             [products.shop.webhook]\nurl = \"http://{}/\"\nsecret = \"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n",
            self.addresses.pages,
            self.database.url_by(self.links.database.addr()),
            self.links.mail.addr(),
            self.receiver.address,
        )
    }

    fn config_file(&self, name: &str, addresses: Addresses) -> PathBuf {
        let file = self.folder.0.join(format!("{name}.toml"));
        let listen = format!(
            "[pages]\nlisten = \"{}\"\n[api]\nlisten = \"{}\"\n[ops]\nlisten = \"{}\"\n",
            addresses.pages, addresses.api, addresses.ops
        );
        std::fs::write(&file, format!("{}{listen}", self.config)).unwrap();
        file
    }

    /// Starts two-step, and waits until it is ready.
    pub(crate) async fn start(&self) -> Process {
        self.start_with("two-step", self.addresses, &[]).await
    }

    /// The same with other addresses or environment variables.
    pub(crate) async fn start_with(
        &self, name: &str, addresses: Addresses, variables: &[(&str, &str)],
    ) -> Process {
        let file = self.config_file(name, addresses);
        let log = self.folder.0.join(format!("{name}.log"));
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let process = Process::start(&process::two_step(), &arguments, variables, &log);
        self.ready(name, addresses.ops).await;
        process
    }

    /// Starts otpost, and waits until it is ready.
    pub(crate) async fn start_otpost(&self) -> Process {
        let (file, log) = (self.folder.0.join("otpost.toml"), self.folder.0.join("otpost.txt"));
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let process = Process::start(&process::otpost(), &arguments, &[], &log);
        self.ready("otpost", self.otpost_ops).await;
        process
    }

    async fn ready(&self, name: &str, ops: SocketAddr) {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
        let url = format!("http://{ops}/readyz");
        let ready = async || {
            let answer = client.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        };
        let ready = wait::within(START_TIMEOUT, ready).await;
        assert!(ready.is_some(), "{name} is not ready: see {}", self.folder.0.display());
    }

    /// Counts the rows of the outbox that match a condition.
    pub(crate) async fn outbox(&self, condition: &str) -> i64 {
        let sql = format!("select count(*) from outbox where {condition}");
        self.database.connect_directly().await.query_one(&sql, &[]).await.unwrap().get(0)
    }

    /// Waits until the outbox is empty and otpost has published all events.
    pub(crate) async fn is_quiet(&self) {
        checker::settle(self).await;
    }

    /// Waits until the outbox is empty.
    pub(crate) async fn outbox_is_empty(&self) {
        wait::until("the outbox is empty", async || self.outbox("true").await == 0).await;
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&format!("http://{}", self.addresses.pages), &self.journal)
    }

    /// Returns the log of all two-step processes.
    pub(crate) fn logs(&self) -> String {
        let files = std::fs::read_dir(&self.folder.0).unwrap().map(|file| file.unwrap().path());
        let logs = files.filter(|file| file.extension().is_some_and(|ending| ending == "log"));
        logs.map(|file| std::fs::read_to_string(file).unwrap()).collect()
    }

    /// Returns the path of a file of the scenario.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// Returns a unique rest of a British mobile number after `+447`.
    pub(crate) fn next_number(&self) -> String {
        format!("{:09}", 700_907_000 + self.numbers.fetch_add(1, Ordering::Relaxed))
    }
}

fn otpost_config(
    ledger: &str, broker: &str, root: &str, addresses: [SocketAddr; 3], gateway: &str,
) -> String {
    let fake = mock_gateway::Config::default();
    let templates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/templates");
    let [api, receipts, ops] = addresses;
    format!(
        "[ledger]\nurl = \"{ledger}\"\n[amqp]\nurl = \"{broker}\"\n[keys]\nid = \"t1\"\nroot = \"{root}\"\n\
         [api]\nlisten = \"{api}\"\n[receipts]\nlisten = \"{receipts}\"\npublic_url = \"http://{receipts}\"\n\
         [ops]\nlisten = \"{ops}\"\n[log]\nlevel = \"info\"\n\
         [messages]\nbrand = \"Shop\"\ntemplates_dir = \"{}\"\n\
         [dispatch]\nreceipt_wait_s = 5\n[limits]\nnumber = [\"1000/10m\"]\nvoice = [\"1000/1h\"]\ndoor_number = \"1000/1m\"\n\
         [carriers.c1]\ntime_out_s = 3\nrate_per_s = 500\n[carriers.c1.twilio]\naccount_sid = \"{}\"\nauth_token = \"{}\"\n\
         from = \"+15005550006\"\nbase_url = \"http://{gateway}\"\n",
        templates.display(),
        fake.account_sid,
        fake.auth_token,
    )
}
