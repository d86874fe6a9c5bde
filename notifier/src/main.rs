//! The notifier's process: configuration, listeners, signals. Everything else is in the library.

use std::process::ExitCode;

use notifier::Config;
use shared::command::Program;
use shared::settings::Environment;
use shared::{drain, serve, telemetry};

const PROGRAM: Program = Program {
    name: "notifier",
    version: env!("CARGO_PKG_VERSION"),
    usage: "notifier: delivers Mandrill's events. Configured by environment variables.
  notifier                       run the service
  notifier healthcheck [livez]   ask the one that runs here: is it ready (or alive)?
  notifier --version",
};

fn main() -> ExitCode {
    let environment = Environment::of_process();
    PROGRAM.run(&environment, |arguments| arguments.is_empty().then(|| serve(&environment)))
}

fn serve(environment: &Environment) -> ExitCode {
    let config = match Config::read(environment) {
        Ok(config) => config,
        Err(mistakes) => return PROGRAM.refuse(&mistakes),
    };
    telemetry::init(&config.telemetry);
    config.warn();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return PROGRAM.fail(&error),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => PROGRAM.fail(&error),
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
