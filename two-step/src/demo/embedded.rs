//! otpost with a mock carrier, in this process.

use std::path::Path;
use std::time::Duration;

use mock_gateway::Gateway;
use otpost::app::{App, Roles, Start};
use otpost::carriers::twilio;
use otpost::config::{CarrierConfig, Config};
use otpost::domain::channel::Channel;
use otpost::http::{NewKey, Scope};
use otpost::seal::{Keys, Root};
use tokio::net::TcpListener;

use super::local;

/// Time between two states of a message.
const STATE_INTERVAL: Duration = Duration::from_millis(500);

/// The message templates of notices, as otpost ships them.
const NOTICES: [(&str, &str); 2] = [
    ("two_step_notice.en.sms.txt", include_str!("../../../config/templates/two_step_notice.en.sms.txt")),
    ("two_step_notice.de.sms.txt", include_str!("../../../config/templates/two_step_notice.de.sms.txt")),
];

/// A running otpost.
pub(super) struct Otpost {
    app: App,
    gateway: Gateway,
    key: String,
    tenant_key: String,
}

impl Otpost {
    /// Starts otpost. Links in notices use `pages_url`.
    pub(super) async fn start(folder: &Path, pages_url: &str, demo: &super::Demo) -> anyhow::Result<Self> {
        let mock = mock_gateway::Config { pace: STATE_INTERVAL, ..mock_gateway::Config::default() };
        let gateway = Gateway::start(TcpListener::bind(local(0)).await?, mock.clone())?;
        let templates = folder.join("otpost-templates");
        std::fs::create_dir(&templates)?;
        for (name, shipped) in NOTICES {
            // Notice templates link to https on the default port. The demo has neither.
            std::fs::write(templates.join(name), shipped.replace("https://{{ origin }}", pages_url))?;
        }
        let mut config = Config::default();
        let file = format!("sqlite:{}", folder.join("otpost.db").display());
        config.ledger.url = Some(demo.ledger.clone().unwrap_or(file).into());
        config.amqp.url = demo.broker.clone().map(Into::into);
        config.api.listen = local(0);
        config.receipts.listen = local(0);
        "http://127.0.0.1:0".clone_into(&mut config.receipts.public_url);
        config.ops.listen = local(0);
        "Shop".clone_into(&mut config.messages.brand);
        config.messages.templates_dir = Some(templates);
        config.limits.number = vec!["60/10m".parse()?];
        config.limits.channels = [(Channel::Voice, vec!["30/1h".parse()?])].into();
        let account = twilio::Config {
            account_sid: mock.account_sid,
            auth_token: Some(mock.auth_token.into()),
            from: Some("+15005550006".to_owned()),
            machine_detection: true,
            base_url: format!("http://{}", gateway.addr()),
            ..twilio::Config::default()
        };
        config
            .carriers
            .insert("mock".to_owned(), CarrierConfig { twilio: Some(account), ..CarrierConfig::default() });
        let root = Root::random("demo");
        let tenant_key = root.tenant("default").to_text().to_string();
        let keys = Keys::new(root.clone(), vec![], &root);
        let app =
            otpost::app::start(config, keys, Start { roles: Roles::ALL, migrate: true, wait: false }).await?;
        let key = NewKey::make("default", &[Scope::Dispatch, Scope::Read, Scope::Act]);
        app.ledger.add_key(&key.row).await?;
        Ok(Self { app, gateway, key: key.text, tenant_key })
    }

    pub(super) fn api_url(&self) -> String {
        self.app.api.map_or_else(String::new, |a| format!("http://{a}"))
    }

    pub(super) fn gateway_url(&self) -> String {
        format!("http://{}", self.gateway.addr())
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn tenant_key(&self) -> &str {
        &self.tenant_key
    }

    pub(super) async fn stop(self) {
        self.gateway.shutdown().await;
        self.app.stop().await;
    }
}
