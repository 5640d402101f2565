//! An account with one callback URL for all texts: the carrier's message id identifies the attempt.

use std::time::Duration;

use mock_gateway::{AccountCallback, Gateway};
use otpost::app::Roles;
use otpost::carriers::Callbacks;
use otpost::receipts::account_url;
use serde_json::json;

use crate::support::deployment::{Deployment, job};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_url_for_all_texts_by_post_and_by_get() {
    for by_get in [false, true] {
        let deployment = Deployment::build(Duration::from_millis(20)).await;
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut config = deployment.config(&["c1"]);
        config.receipts.listen = free;
        config.receipts.public_url = format!("http://{free}");
        let url = account_url(&config.receipts.public_url, &deployment.keys, "c1");
        let gateway = Gateway::start(
            tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
            mock_gateway::Config {
                pace: Duration::from_millis(20),
                account_callback: Some(AccountCallback { url: format!("{url}#rc=5&rp=all"), by_get }),
                ..mock_gateway::Config::default()
            },
        )
        .unwrap();
        let carrier = config.carriers.get_mut("c1").unwrap();
        carrier.callbacks = Callbacks::Account;
        carrier.twilio.as_mut().unwrap().base_url = format!("http://{}", gateway.addr());
        let app = deployment.start(config, Roles::ALL).await;

        // 0117: the receipt arrives before the answer, so its message id is not stored yet.
        for to in ["+447701000001", "+447701000117"] {
            let id = deployment.publish(&job(to, json!({}))).await;
            let d = deployment.until_state(id, "delivered").await;
            assert_eq!(d.attempts.len(), 1, "{to}");
        }
        let named = &deployment.record_of(gateway.addr(), "requests", None).await;
        assert_eq!(named.len(), 2);
        assert!(named.iter().all(|request| request["status_callback"].is_null()), "{named:?}");

        let (status, _) = deployment.get(&format!("{url}x?MessageSid=SM1&MessageStatus=delivered")).await;
        assert_eq!(status, 403, "another token");
        let (status, _) = deployment.get(&format!("{url}?MessageSid=SM1&MessageStatus=delivered")).await;
        assert_eq!(status, 403, "a receipt without the carrier's signature");
        app.stop().await;
    }
}
