//! A two-step process for one test.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A process with its files, which are deleted with it.
pub(crate) struct Service {
    pub(crate) folder: PathBuf,
    pub(crate) ports: [u16; 3],
    pub(crate) public_url: String,
    pub(crate) process: Option<Child>,
    logs: Option<Receiver<String>>,
}

impl Service {
    /// Writes a configuration with one product. The public URL is the address of the pages' listener.
    pub(crate) fn new() -> Self {
        Self::at(|port| format!("http://127.0.0.1:{port}"))
    }

    /// The same with another public URL, built from the port of the pages.
    pub(crate) fn at(public_url: impl Fn(u16) -> String) -> Self {
        let folder = std::env::temp_dir().join(format!("two-step-serve-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = [free(), free(), free()];
        let public_url = public_url(ports[0]);
        let service = Self { folder, ports, public_url, process: None, logs: None };
        let root = service.run(&["keys", "root"]);
        std::fs::write(service.folder.join("root"), root.stdout).unwrap();
        service.configure("https://shop.example/2fa", "");
        service
    }

    pub(crate) fn configure(&self, return_url: &str, more: &str) {
        let [pages, api, ops] = self.ports;
        let public_url = &self.public_url;
        let text = format!(
            "public_url = '{public_url}'\n\
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

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let out = self.command(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let mut process = self.command(&["serve", "--migrate"]).stderr(Stdio::piped()).spawn().unwrap();
        let (say, logs) = channel();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
        (self.process, self.logs) = (Some(process), Some(logs));
        self.until("two-step started");
    }

    /// Waits for a line of the log.
    pub(crate) fn until(&self, text: &str) -> String {
        let logs = self.logs.as_ref().unwrap();
        let mut seen = vec![];
        loop {
            let line = logs.recv_timeout(TIMEOUT);
            let line = line.unwrap_or_else(|_| panic!("{text:?} was not logged: {seen:#?}"));
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), id]).status().unwrap().success());
    }

    /// Creates a key with the default scopes.
    pub(crate) fn key(&self) -> String {
        let made = self.run(&["keys", "create", "--product", "shop"]);
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    /// Creates a challenge with a return URL. Returns the HTTP status.
    pub(crate) async fn create_challenge(&self, key: &str, return_url: &str) -> u16 {
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
