//! The `otpost` program.

use std::process::ExitCode;

/// A delivery frees on one thread what another has allocated. With glibc's allocator the threads then wait for each other.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // One TLS provider for everything, chosen before anything asks for one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    otpost::cli::run()
}
