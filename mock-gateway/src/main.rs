//! The mock gateway as a program: listens, prints its addresses, and runs until a stop signal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mock_gateway::{Config, Gateway};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Simulate phone carriers on this machine: accepts texts and calls over their HTTP APIs, shows them on a
/// page, and sends signed status callbacks. No message reaches a real phone.
///
/// Point a Twilio or Infobip client at the printed address instead of the real one. The last four digits of a
/// number select the outcome of a text or call; the page lists them.
#[derive(Parser)]
#[command(name = "mock-gateway", version)]
struct Args {
    /// Address to listen on; port 0 lets the system choose one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8025", env = "MOCK_GATEWAY_LISTEN")]
    listen: SocketAddr,

    /// Account SID that clients must use [default: a fake one, printed at start]
    #[arg(long, value_name = "SID", env = "MOCK_GATEWAY_ACCOUNT_SID")]
    account_sid: Option<String>,

    /// Auth token that clients must use, and that signs callbacks [default: a fake one, printed at start]
    #[arg(long, value_name = "TOKEN", env = "MOCK_GATEWAY_AUTH_TOKEN", hide_env_values = true)]
    auth_token: Option<String>,

    /// Key that clients must use at Infobip [default: a fake one, printed at start]
    #[arg(long, value_name = "KEY", env = "MOCK_GATEWAY_API_KEY", hide_env_values = true)]
    api_key: Option<String>,

    /// Milliseconds between two states of a text or a call
    #[arg(long, value_name = "MS", default_value_t = 400)]
    pace_ms: u64,

    /// Append every request and callback to this file as JSON lines, before the answer
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Maximum number of requests, and of accepted texts and calls, in memory
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    keep: usize,

    /// Listen on an address that other machines can reach; they can then read every code
    #[arg(long)]
    allow_remote: bool,

    /// Additional host name for the page, besides localhost; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Only the second of two installations fails, and there is no first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("mock-gateway: {sentence}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    let listen = args.listen;
    let config = config(args);
    let fake = Config::default();
    let own_credentials =
        (config.account_sid.clone(), config.auth_token == fake.auth_token, config.api_key == fake.api_key);
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        format!(
            "cannot listen on {listen}: {error}. Choose another address with --listen, or port 0 for any."
        )
    })?;
    let gateway = Gateway::start(listener, config).map_err(|error| format!("cannot start: {error}."))?;
    print_places(&gateway, &own_credentials);
    stop_signal().await;
    gateway.shutdown().await;
    Ok(())
}

fn config(args: Args) -> Config {
    let default = Config::default();
    Config {
        account_sid: args.account_sid.unwrap_or(default.account_sid),
        auth_token: args.auth_token.unwrap_or(default.auth_token),
        api_key: args.api_key.unwrap_or(default.api_key),
        pace: Duration::from_millis(args.pace_ms),
        record_file: args.record,
        record_cap: args.keep,
        allow_remote: args.allow_remote,
        allowed_hosts: args.allow_host,
        ..Config::default()
    }
}

fn print_places(gateway: &Gateway, (account_sid, fake_token, fake_key): &(String, bool, bool)) {
    let addr = gateway.addr();
    let key = if *fake_key { Config::default().api_key } else { "(as given)".to_owned() };
    let token = if *fake_token { Config::default().auth_token } else { "(as given)".to_owned() };
    println!("Phones   http://{addr}/");
    println!("Twilio   http://{addr}/2010-04-01/Accounts/{account_sid}/Messages.json");
    println!("         http://{addr}/2010-04-01/Accounts/{account_sid}/Calls.json");
    println!("Account  {account_sid}");
    println!("Token    {token}");
    println!("Infobip  http://{addr}/sms/3/messages");
    println!("Key      {key}");
}

/// Waits for Ctrl-C, or for the stop signal of a service manager.
async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
