//! Each shop as a process, with a real two-step, RabbitMQ and PostgreSQL.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::stack::Stack;
use crate::{checkout, variable};

/// Maximum start time of a shop.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running shop. It ends with the test.
struct Shop(Child);

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a URL with an unused port on this machine.
fn free_url() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

impl Shop {
    fn start(mut command: Command, url: &str, api: &str, public_url: &str, key: &str) -> Self {
        // Cookies are shared over ports, so each shop needs its own secret.
        command.env("SHOP_URL", url).env("SHOP_SECRET", format!("of {url}")).env("TWO_STEP_KEY", key);
        let mut process = command.env("TWO_STEP_API", api).env("TWO_STEP_URL", public_url).spawn().unwrap();
        let address = url.strip_prefix("http://").unwrap();
        let until = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "the shop ended");
            assert!(Instant::now() < until, "the shop does not listen at {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(process)
    }
}

fn flask() -> Command {
    let mut command = Command::new(variable("OTPOST_TEST_PYTHON"));
    command.arg("-B").arg(checkout("examples/python/shop_flask.py"));
    command
}

/// The packages are in a folder outside the checkout.
fn express() -> Command {
    let program = PathBuf::from(variable("OTPOST_TEST_NODE")).join("shop_express.js");
    std::fs::copy(checkout("examples/node/shop_express.js"), &program).unwrap();
    let mut command = Command::new("node");
    command.arg(program);
    command
}

fn text<'a>(printed: &'a Json, name: &str) -> &'a str {
    printed[name].as_str().unwrap_or_else(|| panic!("the demo printed no {name}"))
}

/// Runs two processes of a shop: one with two-step, one with a proxy that forges results.
async fn test_shop(program: fn() -> Command) {
    let (shop, deceived, proxy) = (free_url(), free_url(), free_url());
    let return_urls: Vec<String> = [&shop, &deceived]
        .iter()
        .flat_map(|url| [format!("{url}/2fa"), format!("{url}/settings-done")])
        .collect();
    let options: Vec<String> = return_urls.iter().map(|url| format!("--return-url={url}")).collect();
    let stack = Stack::start(&options).await;
    let printed: Json = serde_json::from_str(&stack.urls).unwrap();
    let (api, pages, key) = (text(&printed, "api"), text(&printed, "pages"), text(&printed, "key"));
    let _shop = Shop::start(program(), &shop, api, pages, key);
    let _deceived = Shop::start(program(), &deceived, &proxy, &proxy, key);
    let variables =
        [("SHOP", shop), ("DECEIVED", deceived), ("PROXY", proxy), ("DEMO_PID", stack.demo.id().to_string())];
    stack.run_scenario("integrations/scenarios/a_user_of_the_shop", &variables);
    stack.run_scenario("integrations/scenarios/forged_results_are_refused", &variables);
    stack.run_scenario("integrations/scenarios/two_step_is_unreachable", &variables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_signs_in_at_the_flask_shop() {
    test_shop(flask).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_signs_in_at_the_express_shop() {
    test_shop(express).await;
}
