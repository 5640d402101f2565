//! A running otpost with an operator's key, on either database, and requests of an operator.

use std::time::Duration;

use otpost::app::{self, App, Roles, Start};
use otpost::config::{Config, TenantConfig};
use otpost::http::{NewKey, Scope};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::deployment::{Deployment, job};
use crate::support::wait;
use crate::support::world::Backend;

/// One process with all roles, and the keys of a tenant and of an operator.
pub(crate) struct Office {
    pub(crate) deployment: Deployment,
    pub(crate) app: App,
    /// The id of the operator's key.
    pub(crate) operator: String,
    pub(crate) operator_key: String,
    /// A key of the tenant `default`, with all scopes.
    pub(crate) tenant_key: String,
}

impl Office {
    pub(crate) async fn open(backend: Backend) -> Self {
        Self::with(backend, |_| {}).await
    }

    pub(crate) async fn with(backend: Backend, change: impl FnOnce(&mut Config)) -> Self {
        let deployment = Deployment::build(Duration::from_millis(20)).await;
        let mut config = deployment.config(&["c1"]);
        if backend == Backend::Sqlite {
            let file = deployment.files.0.join("office.db");
            config.ledger.url = Some(format!("sqlite:{}", file.display()).into());
        }
        config.tenants.insert("shop".to_owned(), TenantConfig::default());
        change(&mut config);
        let start = Start { roles: Roles::ALL, migrate: true, wait: true };
        let app = app::start(config, deployment.keys.clone(), start).await.unwrap();
        let operator = NewKey::make("*", &[Scope::Admin]);
        let tenant = NewKey::make("default", Scope::ALL);
        for key in [&operator, &tenant] {
            app.ledger.add_key(&key.row).await.unwrap();
        }
        let (id, operator_key, tenant_key) = (operator.row.id, operator.text, tenant.text);
        Self { deployment, app, operator: id, operator_key, tenant_key }
    }

    /// Sends a request of the operator.
    pub(crate) async fn act(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.request(&self.operator_key, method, path, body).await
    }

    /// The same, and it must succeed.
    pub(crate) async fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.act(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    pub(crate) async fn request(&self, key: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}{path}", self.app.api.unwrap());
        let mut request = http.request(method.parse().unwrap(), url).bearer_auth(key);
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Posts a job of the tenant over HTTP.
    pub(crate) async fn post(&self, to: &str) -> (u16, Value) {
        self.request(&self.tenant_key, "POST", "/v1/dispatches", &job(to, json!({}))).await
    }

    /// Waits until a dispatch of the tenant has this state.
    pub(crate) async fn until_state(&self, id: Uuid, state: &str) {
        wait::until(state, async || {
            let d = self.app.ledger.find("default", id).await.unwrap();
            d.is_some_and(|d| d.state.as_str() == state)
        })
        .await;
    }

    /// The audit's acts and subjects, oldest first.
    pub(crate) async fn audit(&self) -> Vec<(String, String)> {
        let answer = self.done("GET", "/v1/audit", &Value::Null).await;
        let mut records = answer["records"].as_array().unwrap().clone();
        records.reverse();
        for record in &records {
            assert_eq!(record["who"], json!(self.operator), "{record}");
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        records.iter().map(|record| (text(&record["act"]), text(&record["subject"]))).collect()
    }
}

/// The id in an answer to a job.
pub(crate) fn id(answer: &Value) -> Uuid {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id: {answer}")).parse().unwrap()
}
