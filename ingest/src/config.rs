//! Configuration of ingest: its tables, and the rules across them.
//!
//! **Owns** the list of variables this service reads.

use shared::admin::ListenSettings;
use shared::broker::BrokerSettings;
use shared::drain::DrainSettings;
use shared::origin::{OriginSettings, Origins};
use shared::settings::{ByteSize, Environment, List, Mistakes, Secret, Settings, Span, Variable};
use shared::stream::StreamSettings;
use shared::telemetry::TelemetrySettings;

use crate::trust::{Trust, WebhookUrls};

shared::settings! {
    /// The webhook endpoint.
    pub struct HookSettings {
        /// The exact URLs registered in Mandrill, as they were typed there.
        pub mandrill_webhook_urls: WebhookUrls = "";
        /// Their keys; several at once while one is replaced.
        pub mandrill_webhook_keys: Secret<List<String>> = "";
        /// Takes requests without a signature: development only, never together with keys.
        pub allow_unsigned: bool = "false";
        /// The largest request body taken.
        pub max_body_bytes: ByteSize = "64MiB", "64KiB" => "1GiB";
        /// Bodies held at once, all requests together, at least one of `MAX_BODY_BYTES`; beyond it requests are
        /// told to come again.
        pub max_inflight_bytes: ByteSize = "256MiB", "1MiB" => "64GiB";
        /// Connections at once.
        pub max_connections: u32 = "10000", "1" => "1000000";
        /// From a request's last byte to its answer, when the broker is slow.
        pub commit_timeout: Span = "15s", "1s" => "5m";
        /// An event larger than this goes to the object store, and to sockets with its long texts cut.
        pub large_event_bytes: ByteSize = "256KiB", "4KiB" => "4MiB";
    }
}

impl HookSettings {
    /// Reports a body that would be told to come again for ever.
    fn check(&self, mistakes: &mut Mistakes) {
        if self.max_inflight_bytes < self.max_body_bytes {
            mistakes.add(
                "max_inflight_bytes",
                "must not be less than MAX_BODY_BYTES: there would never be room for a body of that size",
            );
        }
        Trust::check(self, mistakes);
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: ListenSettings,
    /// Where the broker is.
    pub broker: BrokerSettings,
    /// The stream it makes.
    pub stream: StreamSettings,
    /// The names it is reached under.
    pub origins: Origins,
    /// The endpoint.
    pub hook: HookSettings,
    /// How it stops.
    pub drain: DrainSettings,
    /// What it says.
    pub telemetry: TelemetrySettings,
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(environment: &Environment) -> Result<Config, Mistakes> {
        let mut mistakes = Mistakes::default();
        let config = Config::read_tables(environment, &mut mistakes);
        mistakes.or(config)
    }

    fn read_tables(environment: &Environment, mistakes: &mut Mistakes) -> Option<Config> {
        let listen = ListenSettings::read(environment, mistakes);
        let broker = BrokerSettings::read(environment, mistakes);
        let stream = StreamSettings::read(environment, mistakes);
        let origins = OriginSettings::read(environment, mistakes);
        let hook = HookSettings::read(environment, mistakes);
        let drain = DrainSettings::read(environment, mistakes);
        let telemetry = TelemetrySettings::read(environment, mistakes);
        let open = hook.as_ref().is_some_and(|hook| hook.allow_unsigned);
        let origins = origins.map(|settings| Origins::new(&settings, open, mistakes));
        broker.iter().for_each(|settings| settings.check(mistakes));
        stream.iter().for_each(|settings| settings.check(mistakes));
        telemetry.iter().for_each(|settings| settings.check(mistakes));
        hook.iter().for_each(|settings| settings.check(mistakes));
        Some(Config {
            listen: listen?,
            broker: broker?,
            stream: stream?,
            origins: origins?,
            hook: hook?,
            drain: drain?,
            telemetry: telemetry?,
        })
    }

    /// Every variable this service reads.
    pub fn variables() -> impl Iterator<Item = &'static Variable> {
        [
            ListenSettings::VARIABLES,
            OriginSettings::VARIABLES,
            BrokerSettings::VARIABLES,
            StreamSettings::VARIABLES,
            HookSettings::VARIABLES,
            DrainSettings::VARIABLES,
            TelemetrySettings::VARIABLES,
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_used() {
        Config::read(&Environment::default()).expect("defaults");
    }

    #[test]
    fn combinations_that_cannot_work_are_reported_together_by_name() {
        let mistakes = Config::read(&Environment::from([
            ("MANDRILL_WEBHOOK_KEYS", "a,test-webhook"),
            ("ALLOW_UNSIGNED", "true"),
            ("STREAM_MAX_AGE", "1h"),
            ("STREAM_DEDUPE_WINDOW", "2h"),
            ("HTTP_ADDR", "8080"),
            ("NATS_USER", "me"),
            ("NATS_TLS_KEY", "key.pem"),
            ("RUST_LOG", "a=b=c"),
            ("STREAM_NAME", "a.b"),
            ("MAX_BODY_BYTES", "2MiB"),
            ("MAX_INFLIGHT_BYTES", "1MiB"),
        ]))
        .expect_err("ten mistakes")
        .to_string();
        for part in [
            "ALLOW_UNSIGNED: cannot be used together with MANDRILL_WEBHOOK_KEYS",
            "MANDRILL_WEBHOOK_URLS: must hold",
            "MANDRILL_WEBHOOK_KEYS: \"test-webhook\" is public",
            "STREAM_DEDUPE_WINDOW: must not be longer than STREAM_MAX_AGE",
            "HTTP_ADDR: \"8080\" is not an address",
            "NATS_USER: needs NATS_PASSWORD too",
            "NATS_TLS_KEY: needs NATS_TLS_CERT too",
            "RUST_LOG: ",
            "STREAM_NAME: may hold",
            "MAX_INFLIGHT_BYTES: must not be less than MAX_BODY_BYTES",
        ] {
            assert!(mistakes.contains(part), "{part}\nin {mistakes}");
        }
    }
}
