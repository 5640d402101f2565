//! The `otpost` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for everything, chosen before anything asks for one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    otpost::cli::run()
}
