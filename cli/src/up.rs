//! `mandrill-live up`: both services in one process, on one origin, for one machine.
//!
//! **Owns** which request goes to which service and the order in which both stop. What a service does is
//! its own crate's business.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use ingest::Ingest;
use notifier::Notifier;
use shared::admin::{Admin, Readiness};
use shared::http::Body;
use shared::serve::{self, ConnectionLimits, Handler};
use shared::settings::{EXIT_USAGE, Environment, Mistakes};
use shared::{drain, telemetry};
use tokio_util::sync::CancellationToken;

/// The address of a service that only this machine reaches.
const HTTP_ADDR: &str = "127.0.0.1:8000";
/// The name of this part of readiness.
const PART: &str = "process";

type Failure = Box<dyn std::error::Error>;

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run() -> ExitCode {
    let (ingest, notifier) = match read(Environment::of_process()) {
        Ok(configs) => configs,
        Err(mistakes) => {
            eprint!("mandrill-live up: {mistakes}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    telemetry::init(&ingest.telemetry);
    match serve(&ingest, &notifier).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mandrill-live up: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Both configurations from one environment, with the defaults of a single machine.
fn read(environment: Environment) -> Result<(ingest::Config, notifier::Config), Mistakes> {
    let environment = environment.or("HTTP_ADDR", HTTP_ADDR);
    let own = own_origins(environment.get("HTTP_ADDR").unwrap_or(HTTP_ADDR));
    let environment = match own {
        Some(own) => environment.or("PUBLIC_URLS", &own),
        None => environment,
    };
    match (ingest::Config::read(&environment), notifier::Config::read(&environment)) {
        (Ok(ingest), Ok(notifier)) => Ok((ingest, notifier)),
        (Err(mistakes), Ok(_)) | (Ok(_), Err(mistakes)) => Err(mistakes),
        (Err(one), Err(other)) => Err(one.and(other)),
    }
}

/// The origins of an address on loopback: nobody else's name may lead to it.
fn own_origins(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().ok()?;
    let port = address.port();
    let loopback = address.ip().is_loopback();
    loopback.then(|| format!("http://{address},http://localhost:{port},http://127.0.0.1:{port},http://[::1]:{port}"))
}

async fn serve(ingest_config: &ingest::Config, notifier_config: &notifier::Config) -> Result<(), Failure> {
    let stop = drain::on_signal()?;
    let listen = &ingest_config.listen;
    let public = serve::bind(listen.http_addr, "HTTP_ADDR").await?;
    let private = serve::bind(listen.admin_addr, "ADMIN_ADDR").await?;
    let (mut registry, readiness) = (telemetry::registry(), Readiness::default());
    let ingest = Ingest::start(ingest_config, &mut registry, &readiness, stop.clone()).await?;
    let notifier = Notifier::start(notifier_config, &mut registry, readiness.clone()).await?;
    tracing::info!(public = %listen.http_addr, admin = %listen.admin_addr, "mandrill-live listens");

    // Probes are answered to the very end.
    let ended = CancellationToken::new();
    let admin = Admin::new(readiness.clone(), registry);
    let admin = tokio::spawn(serve::run(private, admin, serve::ADMIN_LIMITS, ended.clone(), Duration::ZERO));
    let both = Both { ingest: ingest.clone(), notifier: notifier.clone() };
    let limits = limits(ingest_config, notifier_config);
    let requests = serve::run(public, both, limits, stop.clone(), drain::span(&ingest_config.drain));
    let sessions = async {
        stop.cancelled().await;
        readiness.not_ready(PART, "about to stop");
        notifier.drain(drain::deadline(&ingest_config.drain)).await;
    };
    tokio::join!(requests, sessions);
    ingest.end().await;
    ended.cancel();
    admin.await?;
    Ok(())
}

/// One listener has the connections of both services.
fn limits(ingest: &ingest::Config, notifier: &notifier::Config) -> ConnectionLimits {
    let (ingest, notifier) = (ingest::connection_limits(ingest), notifier::connection_limits(notifier));
    let connections_max = ingest.connections_max + notifier.connections_max;
    let ConnectionLimits { least, send_buffer_bytes, .. } = notifier;
    ConnectionLimits { connections_max, least, send_buffer_bytes, ..ingest }
}

#[derive(Clone)]
struct Both {
    ingest: Ingest,
    notifier: Notifier,
}

impl Handler for Both {
    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if ingest::is_hook(request.uri().path()) {
            self.ingest.handle(request, peer).await
        } else {
            self.notifier.handle(request, peer).await
        }
    }

    // Whom it was for is not known: both are full.
    fn turned_away(&self) {
        self.ingest.turned_away();
        self.notifier.turned_away();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_one_machine_only_its_own_names_lead_to_it() {
        let environment = Environment::from([("ALLOW_ANONYMOUS", "true")]);
        let (ingest, notifier) = read(environment).expect("a configuration");
        assert_eq!(ingest.listen.http_addr.to_string(), HTTP_ADDR);
        assert!(!ingest.origins.takes_any_host() && !notifier.origins.takes_any_host());
    }

    #[test]
    fn mistakes_of_both_services_are_said_once() {
        let environment = Environment::from([("HTTP_ADDR", "x"), ("MAX_BODY_BYTES", "x")]);
        let mistakes = read(environment).expect_err("mistakes").to_string();
        for variable in ["HTTP_ADDR", "MAX_BODY_BYTES", "ALLOW_ANONYMOUS"] {
            assert_eq!(mistakes.matches(&format!("  {variable}:")).count(), 1, "{variable} in {mistakes}");
        }
    }
}
