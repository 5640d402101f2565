//! `two-step serve` as a process: the configuration is read again with SIGHUP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// A service with its files, which go with it.
struct Service {
    folder: PathBuf,
    ports: [u16; 3],
    process: Option<Child>,
    logs: Option<Receiver<String>>,
}

impl Service {
    /// Writes a configuration with one product.
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("two-step-serve-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = [free(), free(), free()];
        let service = Self { folder, ports, process: None, logs: None };
        let root = service.run(&["keys", "root"]);
        std::fs::write(service.folder.join("root"), root.stdout).unwrap();
        service.configure("https://shop.example/2fa", "");
        service
    }

    fn configure(&self, return_url: &str, more: &str) {
        let [pages, api, ops] = self.ports;
        let text = format!(
            "public_url = 'http://127.0.0.1:{pages}'\n\
             pages.listen = '127.0.0.1:{pages}'\napi.listen = '127.0.0.1:{api}'\nops.listen = '127.0.0.1:{ops}'\n\
             database.url = 'sqlite:two-step.db'\nkeys.root_file = 'root'\n\
             otpost = {{ mode = 'http', url = 'http://127.0.0.1:1', key = 'k' }}\n{more}\n\
             [products.shop]\nname = 'Shop'\nreturn_urls = ['{return_url}']\ncountries = ['GB']\n"
        );
        std::fs::write(self.folder.join("two-step.toml"), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_two-step"));
        command
            .args(args)
            .current_dir(&self.folder)
            .env("TWO_STEP_CONFIG", self.folder.join("two-step.toml"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        let out = self.command(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out
    }

    /// Starts it, and waits until it runs.
    fn start(&mut self) {
        let mut process = self.command(&["serve", "--migrate"]).stderr(Stdio::piped()).spawn().unwrap();
        let (say, logs) = channel();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
        (self.process, self.logs) = (Some(process), Some(logs));
        self.until("two-step runs");
    }

    /// Waits for a line of the log.
    fn until(&self, text: &str) -> String {
        let logs = self.logs.as_ref().unwrap();
        let mut seen = vec![];
        loop {
            let line = logs.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("{text:?} was not logged: {seen:#?}"));
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
    }

    fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), id]).status().unwrap().success());
    }

    /// The status of a challenge that goes back to a URL.
    async fn ask(&self, key: &str, return_url: &str) -> u16 {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{}/v1/challenges", self.ports[1]);
        let body: Value = json!({"user": "u1", "return_url": return_url});
        http.post(url).bearer_auth(key).json(&body).send().await.unwrap().status().as_u16()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn a_good_configuration_is_taken_with_sighup_and_a_bad_one_changes_nothing() {
    let mut service = Service::new();
    service.start();
    let made = service.run(&["keys", "create", "--product", "shop"]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let (old, new) = ("https://shop.example/2fa", "https://shop.example/new");
    assert_eq!((service.ask(&key, old).await, service.ask(&key, new).await), (201, 422));

    service.configure(new, "smtp.from = 'other@shop.example'");
    service.signal("HUP");
    assert!(service.until("is in force after a restart").contains("smtp"));
    service.until("the configuration was reloaded");
    assert_eq!((service.ask(&key, old).await, service.ask(&key, new).await), (422, 201));

    // Another root in the same file prints as the one before, and is noticed all the same.
    let root = service.run(&["keys", "root"]);
    std::fs::write(service.folder.join("root"), root.stdout).unwrap();
    service.signal("HUP");
    assert!(service.until("is in force after a restart").contains("keys"));
    service.until("the configuration was reloaded");
    assert_eq!(service.ask(&key, new).await, 201, "the root of the start is in use");

    service.configure(old, "no.such.key = 1");
    service.signal("HUP");
    let said = service.until("the one before holds");
    assert!(said.contains("unknown field `no`"), "{said}");
    assert_eq!((service.ask(&key, old).await, service.ask(&key, new).await), (422, 201));

    service.signal("TERM");
    service.until("stopping");
    assert!(service.process.as_mut().unwrap().wait().unwrap().success());
}
