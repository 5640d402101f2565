//! The configuration of a deployment: one text, for parts in the test's process and for separate processes.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use otpost::app::App;
use otpost::config::Config;

use super::Deployment;

impl Deployment {
    /// Returns a configuration with these carriers. All of them are the mock gateway.
    pub fn config_text(&self, carriers: &[&str], public_url: &str, log_level: &str) -> String {
        let gateway = mock_gateway::Config::default();
        let general = format!(
            "[ledger]\nurl = \"{}\"\n[amqp]\nurl = \"{}\"\n[keys]\nid = \"t1\"\nroot = \"{}\"\n\
             [api]\nlisten = \"127.0.0.1:0\"\n[receipts]\nlisten = \"127.0.0.1:0\"\npublic_url = \"{public_url}\"\n\
             [ops]\nlisten = \"127.0.0.1:0\"\n[worker]\ngrace_s = {}\n[log]\nformat = \"json\"\nlevel = \"{log_level}\"\n",
            self.ledger_url,
            self.amqp_url,
            self.root.to_hex().as_str(),
            self.grace_s,
        );
        let carrier = |name: &&str| {
            format!(
                "[carriers.{name}]\ntime_out_s = 3\nrate_per_s = {}\n[carriers.{name}.twilio]\naccount_sid = \"{}\"\n\
                 auth_token = \"{}\"\nfrom = \"+15005550006\"\nmachine_detection = true\n\
                 code_at_once = {}\nbase_url = \"http://{}\"\n",
                self.rate_per_s,
                gateway.account_sid,
                gateway.auth_token,
                self.code_at_once,
                self.gateway.addr(),
            )
        };
        std::iter::once(general).chain(carriers.iter().map(carrier)).collect()
    }

    /// Returns the configuration for a part of otpost in this process.
    pub fn config(&self, carriers: &[&str]) -> Config {
        Config::parse(&self.config_text(carriers, "http://127.0.0.1:0", "info")).unwrap()
    }

    /// The same, for a worker whose carriers report to the receipts listener of another process.
    pub fn config_behind(&self, front_end: &App) -> Config {
        let mut config = self.config(&["c1"]);
        config.receipts.public_url = format!("http://{}", front_end.receipts.unwrap());
        config
    }

    /// Writes a configuration file for commands.
    pub fn config_file(&self, name: &str) -> PathBuf {
        self.write_config(name, &self.config_text(&["c1"], "http://127.0.0.1:1", "info"))
    }

    /// Writes a configuration file.
    pub fn write_config(&self, name: &str, text: &str) -> PathBuf {
        let file = self.files.0.join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        // It holds secrets.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    }
}
