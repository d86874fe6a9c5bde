//! The connection to NATS.
//!
//! **Owns** how it is configured, kept alive and watched. What is read or written over it is the
//! services' business.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use crate::settings::{List, Mistakes, Secret};

crate::settings! {
    /// Where NATS is and how to sign in.
    pub struct BrokerSettings {
        /// The broker's URLs; several are one cluster.
        pub nats_url: List<String> = "nats://127.0.0.1:4222";
        /// User name, with `NATS_PASSWORD`.
        pub nats_user: Option<String> = "";
        /// The user's password.
        pub nats_password: Option<Secret<String>> = "";
        /// A credentials file's content (JWT and seed).
        pub nats_creds: Option<Secret<String>> = "";
        /// An NKEY seed.
        pub nats_nkey: Option<Secret<String>> = "";
        /// Path of a PEM file with the authorities that sign the broker's certificate.
        pub nats_tls_ca: Option<String> = "";
        /// Path of a PEM file with this client's certificate, with `NATS_TLS_KEY`.
        pub nats_tls_cert: Option<String> = "";
        /// Path of the certificate's private key.
        pub nats_tls_key: Option<String> = "";
    }
}

impl BrokerSettings {
    /// Reports halves of pairs: what is set alone would be ignored.
    pub fn check(&self, mistakes: &mut Mistakes) {
        let mut pair = |one: &str, is_one: bool, other: &str, is_other: bool| match (is_one, is_other) {
            (true, false) => mistakes.add(one, format!("needs {} too", other.to_ascii_uppercase())),
            (false, true) => mistakes.add(other, format!("needs {} too", one.to_ascii_uppercase())),
            (true, true) | (false, false) => {}
        };
        pair("nats_user", self.nats_user.is_some(), "nats_password", self.nats_password.is_some());
        pair("nats_tls_cert", self.nats_tls_cert.is_some(), "nats_tls_key", self.nats_tls_key.is_some());
        if self.nats_url.is_empty() {
            mistakes.add("nats_url", "names no broker");
        }
    }
}

/// A broker that freezes is noticed after two of these without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Between attempts to connect again: short, since every second away is a second of refused webhooks.
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(250);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Commands that may wait for the connection's writer.
const CLIENT_CAPACITY: usize = 4096;

/// The broker cannot be connected to, ever, as configured.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The URLs, certificates or credentials cannot be used.
    #[error("the broker cannot be connected to: {0}; check NATS_URL and the other NATS_ variables")]
    Connect(#[from] async_nats::ConnectError),
    /// The credentials are no credentials file.
    #[error("NATS_CREDS is not the content of a credentials file: {0}")]
    Credentials(std::io::Error),
}

/// A connection that heals itself, and a view of whether it stands.
#[derive(Debug, Clone)]
pub struct Broker {
    client: Client,
    events: watch::Receiver<u64>,
}

impl Broker {
    /// Starts connecting, and goes on until the broker is there. `name` is what it shows in the broker's
    /// list of connections.
    ///
    /// # Errors
    /// Where the configuration can never work. A broker that is away is no error.
    pub async fn connect(name: &str, settings: &BrokerSettings) -> Result<Broker, BrokerError> {
        let (sender, events) = watch::channel(0);
        let options = options(name, settings)?.event_callback(move |event| {
            log(&event);
            sender.send_modify(|count| *count += 1);
            std::future::ready(())
        });
        let client = options.connect(settings.nats_url.to_vec()).await?;
        Ok(Broker { client, events })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the connection stands as far as the client knows.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits for the next change of the connection (or error the server reports).
    pub async fn changed(&mut self) {
        // The sender lives as long as the client, which this holds.
        let _ = self.events.changed().await;
    }

    /// Takes all changes up to now as known: [`Broker::changed`] waits for the next one.
    pub fn mark_seen(&mut self) {
        self.events.mark_unchanged();
    }

    /// Waits until the connection stands.
    pub async fn connected(&mut self) {
        while !self.is_connected() {
            self.changed().await;
        }
    }
}

fn options(name: &str, settings: &BrokerSettings) -> Result<ConnectOptions, BrokerError> {
    let mut options = ConnectOptions::new()
        .name(name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIMEOUT)
        .client_capacity(CLIENT_CAPACITY)
        .retry_on_initial_connect()
        .reconnect_delay_callback(|attempts| match attempts {
            0 | 1 => Duration::ZERO,
            _ => RECONNECT_DELAY_MAX,
        });
    if let (Some(user), Some(password)) = (&settings.nats_user, &settings.nats_password) {
        options = options.user_and_password(user.clone(), password.get().clone());
    }
    if let Some(seed) = &settings.nats_nkey {
        options = options.nkey(seed.get().clone());
    }
    if let Some(credentials) = &settings.nats_creds {
        options = options.credentials(credentials.get()).map_err(BrokerError::Credentials)?;
    }
    if let Some(path) = &settings.nats_tls_ca {
        options = options.add_root_certificates(path.into()).require_tls(true);
    }
    if let (Some(certificate), Some(key)) = (&settings.nats_tls_cert, &settings.nats_tls_key) {
        options = options.add_client_certificate(certificate.into(), key.into());
    }
    Ok(options)
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to the broker"),
        Event::Disconnected => tracing::warn!("the connection to the broker is lost: trying again"),
        Event::LameDuckMode => tracing::info!("the broker is about to stop: moving to another"),
        Event::Draining | Event::Closed => tracing::info!("the connection to the broker is closed"),
        Event::SlowConsumer(subscription) => {
            tracing::warn!(subscription, "a subscription fell behind: messages were dropped")
        }
        Event::ServerError(error) => {
            tracing::error!(%error, "the broker reports an error; if it is about permissions, see docs/OPERATIONS.md")
        }
        Event::ClientError(error) => tracing::warn!(%error, "the connection to the broker has an error"),
    }
}
