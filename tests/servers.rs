//! URLs, TLS and poolers against real servers: a URL reaches the server that it names, or it is refused with the reason.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mock_gateway::Gateway;
use otpost::broker::{Broker, Nodes};
use otpost::carriers::client::{Auth, Method};
use otpost::carriers::{Client, Request};
use otpost::domain::attempt::{NotSentCause, Outcome};
use otpost::domain::clock::{after, now};
use otpost::ledger::{Ledger, LedgerError, Location, Options, open};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::deployment::Deployment;
use support::ledger_driver::{SMS, job};
use support::relay::Relay;
use support::wait;
use support::world::{TempDir, fresh_schema};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

fn ledger(url: &str, ca_file: Option<PathBuf>) -> Result<Ledger, LedgerError> {
    let location: Location = url.parse()?;
    open(&location, &Options { ca_file, ..Options::default() })
}

/// The address of the server in a URL, with `user@` before it.
fn address(url: &str) -> String {
    url.split_once('@').unwrap().1.split('/').next().unwrap().to_owned()
}

// ---- TLS ----

/// A certificate authority, and a certificate for `localhost` that it has signed.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        Self::made_by(
            "
            openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca
            openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=localhost
            printf 'subjectAltName=DNS:localhost' > names
            openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
        )
    }

    /// Makes a self-signed certificate that is also the trusted authority.
    fn self_signed(extensions: &str) -> Self {
        Self::made_by(&format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost {extensions}
             cp cert.pem ca.pem"
        ))
    }

    fn made_by(script: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let files = TempDir::new();
        let done = Command::new("sh").args(["-ec", script]).current_dir(&files.0).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self(files)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }

    /// Starts a TLS server before `upstream`. With `postgres`, a client first sends PostgreSQL's request for TLS.
    async fn serve(&self, upstream: String, postgres: bool) -> SocketAddr {
        let certificate = CertificateDer::from_pem_file(self.file("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.file("key.pem")).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
                tokio::spawn(async move {
                    if postgres {
                        stream.read_exact(&mut [0; 8]).await?;
                        stream.write_all(b"S").await?;
                    }
                    let mut tls = acceptor.accept(stream).await?;
                    copy_bidirectional(&mut tls, &mut TcpStream::connect(upstream).await?).await
                });
            }
        });
        at
    }
}

async fn problem(url: &str, ca_file: Option<PathBuf>) -> String {
    match ledger(url, ca_file) {
        Err(e) => e.to_string(),
        Ok(ledger) => ledger.migrate().await.unwrap_err().to_string(),
    }
}

/// Fails if a certificate is trusted that nobody has named, if its name is not checked, or if the reason is not told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledgers_certificate_is_verified_as_the_url_says() {
    let authority = Authority::new();
    let plain = fresh_schema().await;
    let at = authority.serve(address(&plain), true).await;
    let url = |host: &str, more: &str| {
        format!("{}&{more}", plain.replace(&address(&plain), &format!("{host}:{}", at.port())))
    };
    let (ca, root) = (Some(authority.file("ca.pem")), authority.file("ca.pem").display().to_string());
    let root = format!("sslrootcert={}", root.replace('/', "%2F"));
    for (url, ca_file) in [
        (url("localhost", "sslmode=verify-full"), ca.clone()),
        (url("localhost", "sslmode=require"), ca.clone()),
        (url("localhost", "application_name=x"), ca.clone()),
        (url("localhost", &format!("sslmode=verify-full&{root}")), None),
        (url("127.0.0.1", &format!("sslmode=verify-ca&{root}")), None),
    ] {
        ledger(&url, ca_file).unwrap().migrate().await.unwrap_or_else(|e| panic!("{url}: {e}"));
    }
    for (url, ca_file, why) in [
        (
            url("localhost", "sslmode=require"),
            None,
            "name a file with the authority's certificate in ledger.ca_file",
        ),
        (url("localhost", "sslmode=verify-ca"), None, "an authority that this machine does not know"),
        (url("127.0.0.1", &format!("sslmode=verify-full&{root}")), None, "is for another name than the host"),
        (format!("{plain}&sslmode=require"), ca, "offers no TLS, which sslmode in ledger.url requires"),
        (
            url("localhost", "sslmode=require"),
            Some(authority.file("none.pem")),
            "holds no readable PEM certificate",
        ),
        (url("localhost", "sslmode=require"), Some(authority.file("names")), "holds no PEM certificate"),
    ] {
        let problem = problem(&url, ca_file).await;
        assert!(problem.contains(why), "{url}: {problem}");
    }
}

/// Fails if the broker's certificate cannot be trusted by a file, or if the reason is not told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brokers_certificate_is_verified_with_the_named_authority() {
    let authority = Authority::new();
    let plain = std::env::var("OTPOST_TEST_AMQP_URL").unwrap();
    let at = authority.serve(address(&plain), false).await;
    let url = |host: &str| {
        plain.replace(&address(&plain), &format!("{host}:{}", at.port())).replace("amqp:", "amqps:")
    };
    let declare = async |host: &str, ca_file: Option<&Path>| {
        Broker::declare(&Nodes::parse(&url(host), ca_file)?, true).await
    };
    let ca = authority.file("ca.pem");
    declare("localhost", Some(&ca)).await.unwrap();
    for (host, ca_file, why) in [
        ("localhost", None, "an authority that this machine does not know: name it in amqp.ca_file"),
        ("127.0.0.1", Some(&*ca), "is for another name than the host"),
        (
            "localhost",
            Some(Path::new("/nowhere.pem")),
            "amqp.ca_file: /nowhere.pem holds no readable PEM certificate",
        ),
    ] {
        let problem = declare(host, ca_file).await.unwrap_err().to_string();
        assert!(problem.contains(why), "{host}: {problem}");
    }
}

/// Fails if a carrier's `ca_file` is ignored, or if its certificate is not verified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carriers_certificate_is_verified_with_the_named_authority() {
    let authority = Authority::new();
    let gateway = gateway().await;
    let at = authority.serve(gateway.addr().to_string(), false).await;
    let answers = async |host: &str, ca_file: Option<&Path>| {
        let client = Client::with_egress(Duration::from_secs(5), None, ca_file).unwrap();
        client.send(&get(&format!("https://{host}:{}/", at.port())), Duration::from_secs(5)).await.is_ok()
    };
    let ca = authority.file("ca.pem");
    assert!(answers("localhost", Some(&ca)).await);
    assert!(!answers("localhost", None).await, "an unknown authority");
    assert!(!answers("127.0.0.1", Some(&ca)).await, "another name");
    let missing =
        Client::with_egress(Duration::from_secs(5), None, Some(Path::new("/nowhere.pem"))).err().unwrap();
    assert!(missing.contains("/nowhere.pem holds no readable PEM certificate"), "{missing}");
}

/// Fails if a `ca_file` takes away the trust in the authorities of this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authorities_of_this_machine_are_trusted_beside_a_named_one() {
    let (of_machine, named) = (Authority::new(), Authority::new());
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut text = deployment.config_text(&["c1"], "http://127.0.0.1:1", "info");
    let ca_file = format!("ca_file = \"{}\"", named.file("ca.pem").display());
    let verified = format!("{}&sslmode=verify-full", deployment.ledger_url);
    for (from, to) in [
        (deployment.ledger_url.as_str(), verified.as_str()),
        ("amqp://", "amqps://"),
        ("base_url = \"http://", "base_url = \"https://"),
        ("[ledger]", &format!("[ledger]\n{ca_file}")),
        ("[amqp]", &format!("[amqp]\n{ca_file}")),
        ("[carriers.c1]", &format!("[carriers.c1]\n{ca_file}")),
    ] {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text = text.replace(from, to);
    }
    for (plain, is_postgres) in [
        (address(&deployment.ledger_url), true),
        (address(&deployment.amqp_url), false),
        (deployment.gateway.addr().to_string(), false),
    ] {
        let at = of_machine.serve(plain.clone(), is_postgres).await;
        text = text.replace(&plain, &format!("localhost:{}", at.port()));
    }
    let file = deployment.write_config("tls", &text);
    for (authorities, is_trusted) in [(of_machine.file("ca.pem"), true), (named.file("ca.pem"), false)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_otpost"));
        command.args(["config", "check", "--connect", "--config"]).arg(&file).stdin(Stdio::null());
        command.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
        let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let printed = String::from_utf8_lossy(&out.stdout);
        for server in ["ledger: ", "broker: ", "carrier c1: "] {
            let line = printed.lines().find_map(|line| line.strip_prefix(server)).unwrap_or_default();
            assert_eq!(line == "ok", is_trusted, "{server}{line}: {printed}");
        }
    }
}

async fn gateway() -> Gateway {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Gateway::start(listener, mock_gateway::Config::default()).unwrap()
}

fn get(url: &str) -> Request {
    let (method, auth, body) = (Method::Get, Auth::None, zeroize::Zeroizing::default());
    Request { method, url: url.to_owned(), auth, content_type: "", body }
}

/// Operators make these certificates with one command of openssl.
///
/// Fails if the error does not name the fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_self_signed_certificate_is_accepted_or_its_fault_is_named() {
    let (plain, amqp) = (fresh_schema().await, std::env::var("OTPOST_TEST_AMQP_URL").unwrap());
    for (extensions, fault) in [
        ("-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost", None),
        ("-addext subjectAltName=DNS:localhost", Some("is that of an authority (CA:TRUE)")),
        ("-addext basicConstraints=critical,CA:FALSE", Some("has no subjectAltName")),
    ] {
        let authority = Authority::self_signed(extensions);
        let ca = authority.file("ca.pem");
        let at = authority.serve(address(&plain), true).await;
        let url = plain.replace(&address(&plain), &format!("localhost:{}", at.port()));
        let of_ledger = match ledger(&format!("{url}&sslmode=require"), Some(ca.clone())) {
            Err(e) => Err(e),
            Ok(ledger) => ledger.migrate().await,
        };
        let at = authority.serve(address(&amqp), false).await;
        let url =
            amqp.replace(&address(&amqp), &format!("localhost:{}", at.port())).replace("amqp:", "amqps:");
        let of_broker = Broker::declare(&Nodes::parse(&url, Some(&ca)).unwrap(), true).await;
        let faults = [of_ledger.err().map(|e| e.to_string()), of_broker.err().map(|e| e.to_string())];
        for told in faults {
            let is_as_expected = match (&told, fault) {
                (None, None) => true,
                (Some(told), Some(fault)) => told.contains(fault),
                _ => false,
            };
            assert!(is_as_expected, "{extensions}: {told:?}");
        }
    }
}

// ---- addresses ----

/// The proxy is the mock carrier itself, which accepts requests for this host. The carrier's name cannot be resolved.
///
/// Fails if the request goes out directly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_is_reached_through_its_proxy() {
    // A label has at most 63 characters, so no name server is asked.
    let host = format!("{}.invalid", "x".repeat(64));
    let config =
        mock_gateway::Config { allowed_hosts: vec![host.clone()], ..mock_gateway::Config::default() };
    let gateway = Gateway::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), config).unwrap();
    let proxy = format!("http://{}", gateway.addr());
    let request = get(&format!("http://{host}/"));
    let answer = async |proxy| {
        let client = Client::with_egress(Duration::from_secs(5), proxy, None).unwrap();
        client.send(&request, Duration::from_secs(5)).await
    };
    assert_eq!(answer(Some(&*proxy)).await.unwrap().status, 200);
    assert_eq!(answer(None).await.err(), Some(Outcome::NotSent(NotSentCause::Dns)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_host_is_named_in_the_error() {
    // A label has at most 63 characters, so no name server is asked.
    let host = format!("{}.invalid", "x".repeat(64));
    let problem = problem(&format!("postgres://otpost@{host}/otpost"), None).await;
    assert!(problem.contains("cannot be resolved"), "{problem}");
    let nodes = Nodes::parse(&format!("amqp://otpost@{host}"), None).unwrap();
    let problem = Broker::declare(&nodes, true).await.unwrap_err().to_string();
    assert!(problem.contains("the name of the host cannot be resolved"), "{problem}");
}

/// Fails if the address in brackets is ignored: otpost would then connect to another host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ipv6_url_of_the_broker_leads_to_that_address() {
    let plain = std::env::var("OTPOST_TEST_AMQP_URL").unwrap();
    let upstream = address(&plain);
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let upstream = upstream.clone();
            tokio::spawn(async move {
                copy_bidirectional(&mut stream, &mut TcpStream::connect(upstream).await?).await
            });
        }
    });
    let declare = async |host: String| {
        Broker::declare(&Nodes::parse(&plain.replace(&address(&plain), &host), None).unwrap(), true).await
    };
    declare(format!("[::1]:{port}")).await.unwrap();
    // The broker answers at this port of 127.0.0.1, but not at this address, which is reserved for documentation (RFC 3849).
    let elsewhere = format!("[2001:db8::5]:{}", address(&plain).rsplit_once(':').unwrap().1);
    declare(elsewhere).await.unwrap_err();
}

/// Fails if a login without a password is told as a server that does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_password_and_a_missing_database_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 8];
                stream.read_exact(&mut head).await?;
                if head == [0, 0, 0, 8, 4, 210, 22, 47] {
                    stream.write_all(b"N").await?;
                    stream.read_exact(&mut head).await?;
                }
                let mut rest = vec![0; usize::from(head[3]) - 8];
                stream.read_exact(&mut rest).await?;
                // AuthenticationCleartextPassword
                stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]).await?;
                stream.read(&mut head).await
            });
        }
    });
    let problem = problem(&format!("postgres://otpost@{at}/otpost"), None).await;
    assert!(problem.contains("asks for a password, and ledger.url has none"), "{problem}");
    let nowhere = format!("{}/nowhere", support::world::database_url().rsplit_once('/').unwrap().0);
    let problem = self::problem(&nowhere, None).await;
    assert!(problem.contains("the database in ledger.url does not exist"), "{problem}");
}

// ---- a pooler ----

/// Debian's PgBouncer before the tests' database. It ends with the value.
struct PgBouncer {
    process: Child,
    at: SocketAddr,
    _files: TempDir,
}

impl PgBouncer {
    async fn start(pool_mode: &str) -> Self {
        Self::before(&address(&support::world::database_url()), pool_mode).await
    }

    /// Starts it before a server with this address.
    async fn before(server: &str, pool_mode: &str) -> Self {
        let files = TempDir::new();
        let at = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (host, port) = server.split_once(':').unwrap();
        let config = format!(
            "[databases]\n* = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             auth_type = trust\nauth_file = {}\nunix_socket_dir =\npool_mode = {pool_mode}\n",
            at.port(),
            files.0.join("users").display()
        );
        std::fs::write(files.0.join("config"), config).unwrap();
        std::fs::write(files.0.join("users"), "\"otpost\" \"\"\n").unwrap();
        let mut command = Command::new("/usr/sbin/pgbouncer");
        if rustix::process::geteuid().is_root() {
            // It does not run as root.
            command.args(["-u", "nobody"]);
        }
        command.arg(files.0.join("config")).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("pgbouncer is installed by scripts/services up");
        let bouncer = Self { process, at, _files: files };
        wait::until("PgBouncer listens", async || TcpStream::connect(at).await.is_ok()).await;
        bouncer
    }

    fn url(&self, url: &str) -> String {
        url.replace(&address(url), &self.at.to_string())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Fails if the settings of a connection are sent in a way that PgBouncer refuses, or if they do not arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbouncer_in_session_mode_works() {
    let direct = fresh_schema().await;
    let bouncer = PgBouncer::start("session").await;
    let ledger = ledger(&bouncer.url(&direct), None).unwrap();
    ledger.migrate().await.unwrap();
    ledger.check().await.unwrap();
    let jobs =
        (0..200).map(|n| ledger.admit(job(&[SMS], &n.to_string(), after(now(), Duration::from_secs(300)))));
    for admitted in join_all(jobs).await {
        admitted.unwrap();
    }
    // The search path of the URL was set.
    let look = support::world::connect(&direct).await;
    assert_eq!(look.query_one("select count(*) from dispatch", &[]).await.unwrap().get::<_, i64>(0), 200);
}

/// PgBouncer answers while PostgreSQL is away, with errors of its own.
///
/// Fails if such an error counts as a wrong configuration. Then the process would still accept jobs, and would not wait at its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_behind_pgbouncer_is_an_outage() {
    let direct = fresh_schema().await;
    let relay = Relay::start(address(&support::world::database_url()).parse().unwrap()).await;
    let bouncer = PgBouncer::before(&relay.addr().to_string(), "session").await;
    let url = bouncer.url(&direct);
    let running = ledger(&url, None).unwrap();
    running.migrate().await.unwrap();
    running.check().await.unwrap();
    relay.refuse(true);
    relay.cut();
    let admitted = running.admit(job(&[SMS], "a", after(now(), Duration::from_secs(300)))).await;
    assert!(admitted.as_ref().is_err_and(LedgerError::is_outage), "{admitted:?}");
    let starting = ledger(&url, None).unwrap().check().await;
    assert!(starting.as_ref().is_err_and(LedgerError::is_outage), "{starting:?}");
    relay.refuse(false);
    // PgBouncer waits 15 s before it tries a server again (server_login_retry).
    let answers = async || running.check().await.is_ok();
    wait::until("the ledger answers again", answers).await;
}

/// A server accepts connections and never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_answers_is_an_outage_after_some_seconds() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://otpost@{}/otpost", silent.local_addr().unwrap());
    let ledger = ledger(&url, None).unwrap();
    let checked = tokio::time::timeout(Duration::from_secs(20), ledger.check()).await.expect("in time");
    assert!(checked.as_ref().is_err_and(LedgerError::is_outage), "{checked:?}");
    let migrated = tokio::time::timeout(Duration::from_secs(20), ledger.migrate()).await.expect("in time");
    assert!(migrated.as_ref().is_err_and(LedgerError::is_outage), "{migrated:?}");
}

/// Each error stays until somebody changes the URL, so it has a sentence of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_needs_another_url_is_no_outage() {
    let direct = fresh_schema().await;
    let with =
        |parameter: &str| format!("{direct}{}{parameter}", if direct.contains('?') { '&' } else { '?' });
    for (url, expected) in [
        (with("channel_binding=require"), "channel binding"),
        (with("sslnegotiation=direct"), "cannot be used with this ledger.url"),
        (direct.replace("search_path", "serch_path"), "options of ledger.url"),
    ] {
        let checked = ledger(&url, None).unwrap().check().await.unwrap_err();
        assert!(!checked.is_temporary() && checked.to_string().contains(expected), "{url}: {checked}");
    }
}

/// Fails if otpost starts with connections whose settings and statements belong to other clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbouncer_in_transaction_mode_is_refused_with_a_sentence() {
    for mode in ["transaction", "statement"] {
        let bouncer = PgBouncer::start(mode).await;
        let direct = fresh_schema().await;
        let url = bouncer.url(&direct);
        let problem = problem(&url, None).await;
        assert!(
            problem.contains("use pool_mode = session in PgBouncer")
                || problem.contains("PgBouncer must use pool_mode = session"),
            "{mode}: {problem}"
        );
        ledger(&direct, None).unwrap().migrate().await.unwrap();
        let checked = ledger(&url, None).unwrap().check().await.unwrap_err().to_string();
        assert!(checked.contains("pool_mode = session"), "{mode}: {checked}");
    }
}
