//! The notifier's process: configuration, listeners, signals. Everything else is in the library.

use std::process::ExitCode;

use notifier::Config;
use shared::settings::{EXIT_USAGE, Environment};
use shared::{drain, serve, telemetry};

fn main() -> ExitCode {
    let config = match Config::read(&Environment::of_process()) {
        Ok(config) => config,
        Err(mistakes) => return fail(EXIT_USAGE, &mistakes),
    };
    telemetry::init(&config.telemetry);
    config.warn();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

async fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let stop = drain::on_signal()?;
    let http = serve::bind(config.listen.http_addr, "HTTP_ADDR").await?;
    let admin = serve::bind(config.listen.admin_addr, "ADMIN_ADDR").await?;
    tracing::info!(http = %config.listen.http_addr, admin = %config.listen.admin_addr, "the notifier listens");
    notifier::run(config, http, admin, stop).await?;
    Ok(())
}

#[allow(clippy::print_stderr, reason = "said before, or instead of, any log line")]
fn fail(status: u8, why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("notifier: {}", why.to_string().trim_end());
    ExitCode::from(status)
}
