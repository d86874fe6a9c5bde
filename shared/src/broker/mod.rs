//! The connection to NATS.
//!
//! **Owns** how it is configured, kept alive and watched: [`identity`] is who we are, [`trust`] who the broker
//! is, [`trouble`] why there is no connection. What is read or written over it is the services' business.

mod identity;
mod trouble;
mod trust;

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ClientError, ConnectOptions, Event};
use tokio::sync::watch;

use crate::settings::{List, Mistakes, Secret};

use identity::Identity;
pub use identity::{Credentials, Seed};
use trouble::Trouble;

crate::settings! {
    /// Where NATS is and how to sign in.
    pub struct BrokerSettings {
        /// The broker's URLs; several are one cluster.
        pub nats_url: List<String> = "nats://127.0.0.1:4222";
        /// User name, with `NATS_PASSWORD`.
        pub nats_user: Option<String> = "";
        /// The user's password.
        pub nats_password: Option<Secret<String>> = "";
        /// A user's JWT and seed, as `nsc` writes them.
        pub nats_creds: Option<Secret<Credentials>> = "";
        /// The seed of an NKEY.
        pub nats_nkey: Option<Secret<Seed>> = "";
        /// Path of a PEM file with the authorities that sign the broker's certificate.
        pub nats_tls_ca: Option<String> = "";
        /// Path of a PEM file with this client's certificate, with `NATS_TLS_KEY`.
        pub nats_tls_cert: Option<String> = "";
        /// Path of the certificate's private key.
        pub nats_tls_key: Option<String> = "";
    }
}

impl BrokerSettings {
    /// Whether a connection says who it is: the broker may be taken for one that asks.
    #[must_use]
    pub fn signs_in(&self) -> bool {
        let BrokerSettings { nats_user, nats_creds, nats_nkey, nats_tls_cert, .. } = self;
        nats_user.is_some() || nats_creds.is_some() || nats_nkey.is_some() || nats_tls_cert.is_some()
    }

    /// Reports what would be ignored, and what can never work: halves of pairs, two ways to sign in, URLs and
    /// files that cannot be used.
    pub fn check(&self, mistakes: &mut Mistakes) {
        let mut pair = |one: &str, is_one: bool, other: &str, is_other: bool| match (is_one, is_other) {
            (true, false) => mistakes.add(one, format!("needs {} too", other.to_ascii_uppercase())),
            (false, true) => mistakes.add(other, format!("needs {} too", one.to_ascii_uppercase())),
            (true, true) | (false, false) => {}
        };
        pair("nats_user", self.nats_user.is_some(), "nats_password", self.nats_password.is_some());
        pair("nats_tls_cert", self.nats_tls_cert.is_some(), "nats_tls_key", self.nats_tls_key.is_some());
        Identity::check(self, mistakes);
        trust::check(self, mistakes);
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
#[error("the broker cannot be connected to: {0}; check NATS_URL and the other NATS_ variables")]
pub struct BrokerError(#[from] async_nats::ConnectError);

/// Who connects. Each has a user of its own on a secured broker, and an inbox of its own: whoever may subscribe
/// to another's would read what is answered, or delivered, to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The service that stores.
    Ingest,
    /// The service that delivers.
    Notifier,
    /// What makes and changes the streams.
    Setup,
    /// `mandrill-live rejected`.
    Rejected,
    /// What erases people.
    Erase,
}

impl Role {
    /// Its name: the last word of its inbox, and of what the broker's list of connections shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::Ingest => "ingest",
            Role::Notifier => "notifier",
            Role::Setup => "setup",
            Role::Rejected => "rejected",
            Role::Erase => "erase",
        }
    }
}

/// A connection that heals itself, and a view of whether it stands.
#[derive(Debug, Clone)]
pub struct Broker {
    client: Client,
    events: watch::Receiver<u64>,
    trouble: Trouble,
}

impl Broker {
    /// Starts connecting, and goes on until the broker is there.
    ///
    /// # Errors
    /// Where the configuration can never work. A broker that is away, or does not accept us, is no error:
    /// [`Broker::trouble`] says what is wrong, and so does the log.
    pub async fn connect(role: Role, settings: &BrokerSettings) -> Result<Broker, BrokerError> {
        let (sender, events) = watch::channel(0);
        let trouble = Trouble::default();
        let (noted, over) = (trouble.clone(), trouble.clone());
        let options = options(role, settings)
            .event_callback(move |event| {
                if event == Event::Connected {
                    over.is_over();
                }
                log(&event);
                sender.send_modify(|count| *count += 1);
                std::future::ready(())
            })
            // Called before each attempt with how the last ones ended; which server is next is the client's choice.
            .reconnect_to_server_callback(move |servers, _| {
                noted.note(&servers);
                std::future::ready(None)
            });
        let client = options.connect(settings.nats_url.to_vec()).await?;
        Ok(Broker { client, events, trouble })
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

    /// Why there is no connection, and what to do about it, as far as is known.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.get()
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

fn options(role: Role, settings: &BrokerSettings) -> ConnectOptions {
    let options = Identity::of(settings)
        .options()
        .name(format!("mandrill-live {}", role.name()))
        .custom_inbox_prefix(format!("_INBOX.{}", role.name()))
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIMEOUT)
        .client_capacity(CLIENT_CAPACITY)
        .retry_on_initial_connect()
        .reconnect_delay_callback(|attempts| match attempts {
            0 | 1 => Duration::ZERO,
            _ => RECONNECT_DELAY_MAX,
        });
    trust::add_to(options, settings)
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
        // Each failed attempt is one of these, without its reason: that is `trouble`'s to tell.
        Event::ClientError(ClientError::Other(error)) => tracing::debug!(error, "an attempt to connect failed"),
        Event::ClientError(error) => tracing::warn!(%error, "the connection to the broker has an error"),
    }
}
