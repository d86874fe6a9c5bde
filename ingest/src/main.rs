//! The ingest service: wiring only.
#![allow(clippy::print_stderr, reason = "configuration mistakes come before logging is set up")]

use std::process::ExitCode;

use ingest::Config;
use mimalloc::MiMalloc;
use shared::settings::{EXIT_USAGE, Environment};
use shared::{drain, serve, telemetry};

/// Events are many small allocations that other threads give back: with the C library's allocator a batch
/// costs 7 % more processor time (`make bench-ingest`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let config = match Config::read(&Environment::of_process()) {
        Ok(config) => config,
        Err(mistakes) => {
            eprint!("ingest: {mistakes}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    telemetry::init(&config.telemetry);
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ingest cannot run");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let stop = drain::on_signal()?;
    let public = serve::bind(config.listen.http_addr, "HTTP_ADDR").await?;
    let admin = serve::bind(config.listen.admin_addr, "ADMIN_ADDR").await?;
    tracing::info!(public = %config.listen.http_addr, admin = %config.listen.admin_addr, "ingest listens");
    ingest::run(config, public, admin, stop).await?;
    Ok(())
}
