//! The ingest service's process: commands, configuration, listeners, signals. Everything else is in the library.

use std::process::ExitCode;

use ingest::Config;
use ingest::setup::{self, SetupConfig};
use mimalloc::MiMalloc;
use shared::command::Program;
use shared::settings::Environment;
use shared::{drain, serve, telemetry};

/// Events are many small allocations that other threads give back: with the C library's allocator a batch
/// costs 7 % more processor time (`make bench-ingest`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const PROGRAM: Program = Program {
    name: "ingest",
    version: env!("CARGO_PKG_VERSION"),
    usage: "ingest: takes Mandrill's webhooks. Configured by environment variables.
  ingest                       run the service
  ingest healthcheck [livez]   ask the one that runs here: is it ready (or alive)?
  ingest setup                 make the streams, or apply changed limits, and end
  ingest new-epoch             after a restore from a backup: make clients' cursors void
  ingest --version",
};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let environment = Environment::of_process();
    PROGRAM.run(&environment, |arguments| match arguments {
        [] => Some(serve(&environment)),
        ["setup"] => Some(once(&environment, async |config| setup::setup(&config).await.map(drop))),
        ["new-epoch"] => Some(once(&environment, async |config| {
            let epoch = setup::new_epoch(&config).await?;
            tracing::info!(%epoch, "the stream has another epoch: restart the notifiers now");
            Ok(())
        })),
        _ => None,
    })
}

fn serve(environment: &Environment) -> ExitCode {
    let config = match Config::read(environment) {
        Ok(config) => config,
        Err(mistakes) => return PROGRAM.refuse(&mistakes),
    };
    telemetry::init(&config.telemetry);
    logged("ingest cannot run", run(config))
}

#[tokio::main]
async fn run(config: Config) -> Result<(), Failure> {
    let stop = drain::on_signal()?;
    let public = serve::bind(config.listen.http_addr, "HTTP_ADDR").await?;
    let admin = serve::bind(config.listen.admin_addr, "ADMIN_ADDR").await?;
    tracing::info!(public = %config.listen.http_addr, admin = %config.listen.admin_addr, "ingest listens");
    ingest::run(config, public, admin, stop).await?;
    Ok(())
}

/// Something that is done once, with the variables of `setup` only.
fn once(environment: &Environment, task: impl AsyncFnOnce(SetupConfig) -> Result<(), setup::SetupError>) -> ExitCode {
    let config = match SetupConfig::read(environment) {
        Ok(config) => config,
        Err(mistakes) => return PROGRAM.refuse(&mistakes),
    };
    telemetry::init(&config.telemetry);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Failure::from).and_then(|runtime| Ok(runtime.block_on(task(config))?));
    logged("it could not be done", done)
}

fn logged(what: &'static str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "{what}");
            ExitCode::FAILURE
        }
    }
}
