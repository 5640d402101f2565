//! Rules that concern more than one key, or more than the form of a value.

use super::{BadConfig, CarrierConfig, Config};
use crate::domain::channel::Channel;
use crate::domain::server_url::ServerUrl;
use crate::domain::tenant::ALL_TENANTS;

/// Receipts that come early or late are kept for 72 hours.
const MIN_RETENTION_DAYS: u32 = 3;
/// RabbitMQ accepts an expiration of less than 2^32 ms.
const MAX_DEAD_LETTER_DAYS: u32 = 49;

impl Config {
    /// Checks the rules that concern more than one key.
    pub fn check(&self) -> Result<(), BadConfig> {
        let bad = |text: String| Err(BadConfig(text));
        let mut named: Vec<(String, &String)> = vec![];
        let countries =
            self.routes.countries.iter().map(|(country, routes)| (format!(".countries.{country}"), routes));
        for (country, routes) in countries.chain([(String::new(), &self.routes.channels)]) {
            for (channel, carriers) in routes {
                named.extend(carriers.iter().map(|carrier| (format!("routes{country}.{channel}"), carrier)));
            }
        }
        let quotas = self.tenants.iter().map(|(name, tenant)| (format!("tenants.{name}"), &tenant.channels));
        for (section, quotas) in quotas.chain([("limits".to_owned(), &self.limits.channels)]) {
            if quotas.contains_key(&Channel::Sms) {
                return bad(format!(
                    "{section}.sms is not supported: {section}.number bounds texts and calls together"
                ));
            }
        }
        if let Some((key, carrier)) = named.iter().find(|(_, c)| !self.carriers.contains_key(*c)) {
            return bad(format!(
                "{key} names the carrier {carrier}, which has no section [carriers.{carrier}]"
            ));
        }
        for (name, carrier) in &self.carriers {
            if carrier.accounts().len() != 1 {
                let sections: Vec<String> = CarrierConfig::CARRIERS
                    .iter()
                    .map(|carrier| format!("[carriers.{name}.{carrier}]"))
                    .collect();
                return bad(format!("carriers.{name} needs exactly one section {}", sections.join(" or ")));
            }
            if carrier.rate_per_s == 0 || !(1..=30).contains(&carrier.time_out_s) {
                return bad(format!(
                    "carriers.{name}: rate_per_s must be at least 1, and time_out_s must be 1 to 30"
                ));
            }
        }
        if !(1..=MAX_DEAD_LETTER_DAYS).contains(&self.amqp.dead_letter_days) {
            return bad(format!("amqp.dead_letter_days must be 1 to {MAX_DEAD_LETTER_DAYS}"));
        }
        let unknown = self.amqp.users.values().flatten().find(|t| !self.knows(t));
        if let Some(tenant) = unknown {
            return bad(format!(
                "amqp.users names the tenant {tenant}, which has no section [tenants.{tenant}]"
            ));
        }
        if self.tenants.contains_key(ALL_TENANTS) {
            return bad(format!(
                "tenants.{ALL_TENANTS} is not a tenant's name: otpost uses it for the keys of operators; choose another name"
            ));
        }
        for (name, tenant) in &self.tenants {
            if let Some(carrier) = tenant.senders.keys().find(|c| !self.carriers.contains_key(*c)) {
                return bad(format!(
                    "tenants.{name}.senders names the carrier {carrier}, which has no section [carriers.{carrier}]"
                ));
            }
        }
        if !(0.0..=1.0).contains(&self.traces.sample) {
            return bad("traces.sample must be a number from 0 to 1, such as 0.01".to_owned());
        }
        if self.traces.otlp_url.as_deref().is_some_and(|url| !is_http(url)) {
            return bad(
                "traces.otlp_url must be an http:// or https:// URL, such as http://127.0.0.1:4318/v1/traces"
                    .to_owned(),
            );
        }
        if !self.ops.listen.ip().is_loopback() && self.ops.token.is_none() {
            return bad(
                "ops.listen is not on loopback: metrics need a credential there; set ops.token_file, or \
                        listen on 127.0.0.1"
                    .to_owned(),
            );
        }
        if !self.keys.previous.is_empty() && self.keys.hash_root.is_none() {
            return bad(
                "keys.previous is set and keys.hash_root is not: all quota counts would be lost; name the file of the root \
                        that was first used in keys.hash_root_file"
                    .to_owned(),
            );
        }
        if self.ledger.retention_days < MIN_RETENTION_DAYS {
            return bad(format!(
                "ledger.retention_days must be at least {MIN_RETENTION_DAYS}: receipts may come for 72 hours, and a job that is repeated after \
                 its row was deleted is sent again"
            ));
        }
        if self.worker.slots < 2 {
            return bad("worker.slots must be at least 2".to_owned());
        }
        if let Some(name) = self.carriers.keys().find(|name| !is_path_segment(name)) {
            return bad(format!(
                "carriers.{name}: the name is a part of callback URLs; use 1 to 64 of the characters a-z, A-Z, 0-9, - and _"
            ));
        }
        check_public_url(&self.receipts.public_url)
            .map_err(|why| BadConfig(format!("receipts.public_url {why}")))
    }
}

/// Whether a name can be a segment of a URL's path as it is.
fn is_path_segment(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// Whether a text is an `http://` or `https://` URL with a host.
fn is_http(text: &str) -> bool {
    let Ok(url) = text.parse::<ServerUrl>() else { return false };
    let has_host = url.hosts.first().is_some_and(|host| !host.name.is_empty());
    matches!(url.scheme.as_str(), "http" | "https") && has_host
}

/// Checks the base URL of callbacks. Paths are appended to it, and carriers sign the whole URL.
fn check_public_url(text: &str) -> Result<(), String> {
    // The port 0 stands for that of the listener.
    let listener = text.strip_suffix(":0");
    let url = ServerUrl::http_base(listener.unwrap_or(text))?;
    let host = url.hosts.first();
    if listener.is_some() && (url.path.is_some() || host.is_some_and(|host| host.port.is_some())) {
        Err("ends with :0, which stands for the listener's port; write it directly after the host, or leave it out".to_owned())
    } else if host.is_some_and(|host| host.name.contains('_')) {
        Err("has a host with an underscore, which carriers refuse; use another name".to_owned())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::check_public_url;
    use crate::config::Config;

    #[test]
    fn a_public_url_is_one_that_carriers_can_call() {
        for good in [
            "https://h",
            "https://h:443/base/",
            "http://127.0.0.1:8081",
            "http://127.0.0.1:0",
            "https://H.example",
            "https://[2001:db8::1]",
        ] {
            assert_eq!(check_public_url(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("h.example", "must begin with http:// or https://"),
            ("ftp://h", "must begin with http:// or https://"),
            ("https://", "names no host"),
            ("https://h/?b=2&a=1", "has a query"),
            ("https://user:pw@h", "has a user or a password"),
            ("https://otp_post.example.com", "an underscore"),
            ("https://h/#x", "a fragment"),
            ("https://h:80:0", "ends with :0"),
            ("https://h/base:0", "ends with :0"),
            ("https://h:0/", "has a port"),
            ("https://[fe80::1%25eth0]", "with a zone"),
        ] {
            let error = check_public_url(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn traces_go_to_an_http_url() {
        for (url, is_good) in [
            ("http://127.0.0.1:4318/v1/traces", true),
            ("https://otlp.example/v1/traces?key=x", true),
            ("ftp://h/v1/traces", false),
            ("http://", false),
            ("http://h:port", false),
        ] {
            let checked = Config::parse(&format!("[traces]\notlp_url = \"{url}\"")).unwrap().check();
            assert_eq!(checked.is_ok(), is_good, "{url}: {checked:?}");
        }
    }

    #[test]
    fn no_tenant_has_the_name_that_stands_for_all() {
        let error = Config::parse("[tenants.\"*\"]").unwrap().check().unwrap_err().to_string();
        assert!(error.contains("tenants.* is not a tenant's name"), "{error}");
    }

    #[test]
    fn a_carriers_name_is_a_segment_of_a_path() {
        for name in ["\"eu west\"", "\"infobip/ksa\"", "\"ümlaut\"", "\"\""] {
            let text = format!(
                "[carriers.{name}.twilio]\naccount_sid = \"AC00000000000000000000000000000000\"\nauth_token = \"x\"\nfrom = \"+15005550006\""
            );
            let error = Config::parse(&text).unwrap().check().unwrap_err().to_string();
            assert!(error.contains("the name is a part of callback URLs"), "{name}: {error}");
        }
    }
}
