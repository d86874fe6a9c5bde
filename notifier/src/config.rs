//! The notifier's configuration.
//!
//! **Owns** its own variables and the rules between them. The tables both services have are in `shared`.

use shared::admin::ListenSettings;
use shared::broker::BrokerSettings;
use shared::drain::DrainSettings;
use shared::origin::{OriginSettings, Origins};
use shared::pace::Least;
use shared::settings::{ByteSize, Environment, Mistakes, Settings, Span, Variable};
use shared::stream;
use shared::telemetry::TelemetrySettings;

use crate::access::AccessSettings;
use crate::erasures::EraseSettings;
use crate::peer::Proxies;

shared::settings! {
    /// What only the notifier has.
    pub struct NotifierSettings {
        /// The stream's name.
        pub stream_name: String = "MANDRILL";
        /// How much of the stream's newest part is kept in memory, ready to be sent.
        pub ring_bytes: ByteSize = "64MiB", "1MiB" => "64GiB";
        /// Live sessions at once, of all kinds.
        pub max_sessions: u32 = "100000", "1" => "10000000";
        /// Live sessions of one user (a token's `sub`) at once; tokens without one count together.
        pub max_sessions_per_user: u32 = "100", "1" => "10000000";
        /// Live sessions of one address at once; an IPv6 client counts by its /64.
        pub max_sessions_per_ip: u32 = "1000", "1" => "10000000";
        /// Queries over stored events at once, half of them exports and originals of large events at most.
        pub max_queries: u32 = "16", "1" => "1000";
        /// Sessions the ring has left behind that read from the broker at once.
        pub catchup_readers: u32 = "16", "1" => "1000";
        /// How long a session may stay behind while it takes less than MIN_RATE_BYTES a second.
        pub lag_timeout: Span = "30s", "1s" => "10m";
        /// What a session that is behind takes a second, at least.
        pub min_rate_bytes: ByteSize = "16KiB", "1" => "1GiB";
        /// Between two pings; a client that keeps up and has not answered by the next is cut.
        pub ping_interval: Span = "25s", "1s" => "50s";
        /// After how long a session that knows how is asked to move to another replica, 20 % more or less.
        pub session_max_age: Span = "1h", "1s" => "30d";
        /// After how long without the broker this replica stops being ready. A cluster's election must
        /// not take every replica away.
        pub feed_stall_unready: Span = "60s", "1s" => "1h";
    }
}

impl NotifierSettings {
    /// What whoever is behind has to take.
    #[must_use]
    pub(crate) fn least(&self) -> Least {
        Least { bytes_a_second: self.min_rate_bytes.bytes(), over: self.lag_timeout.duration() }
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: ListenSettings,
    /// Where NATS is.
    pub broker: BrokerSettings,
    /// Who erases people there.
    pub erase: EraseSettings,
    /// The names it is reached under.
    pub origins: Origins,
    /// The proxies whose word about a client's address counts.
    pub proxies: Proxies,
    /// Who may see what.
    pub access: AccessSettings,
    /// How it stops.
    pub drain: DrainSettings,
    /// What it says.
    pub telemetry: TelemetrySettings,
    /// Its own.
    pub notifier: NotifierSettings,
}

impl Config {
    /// Every variable it reads, for the documents.
    pub const VARIABLES: [&'static [Variable]; 8] = [
        ListenSettings::VARIABLES,
        BrokerSettings::VARIABLES,
        EraseSettings::VARIABLES,
        OriginSettings::VARIABLES,
        AccessSettings::VARIABLES,
        DrainSettings::VARIABLES,
        TelemetrySettings::VARIABLES,
        NotifierSettings::VARIABLES,
    ];

    /// Reads it whole.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn read(environment: &Environment) -> Result<Config, Mistakes> {
        let mut mistakes = Mistakes::default();
        let config = Config::read_with(environment, &mut mistakes);
        mistakes.or(config)
    }

    fn read_with(environment: &Environment, mistakes: &mut Mistakes) -> Option<Config> {
        let listen = ListenSettings::read(environment, mistakes);
        let broker = BrokerSettings::read(environment, mistakes);
        let erase = EraseSettings::read(environment, mistakes);
        let origins = OriginSettings::read(environment, mistakes);
        let access = AccessSettings::read(environment, mistakes);
        let drain = DrainSettings::read(environment, mistakes);
        let telemetry = TelemetrySettings::read(environment, mistakes);
        let notifier = NotifierSettings::read(environment, mistakes);
        let open = access.as_ref().is_some_and(|settings| settings.allow_anonymous);
        let (origins, proxies) = origins
            .map(|settings| {
                (Origins::new(&settings, open, mistakes), Proxies::new(&settings.trusted_proxies, mistakes))
            })
            .unzip();
        broker.iter().for_each(|settings| settings.check(mistakes));
        erase.iter().for_each(|settings| settings.check(mistakes));
        telemetry.iter().for_each(|settings| settings.check(mistakes));
        notifier.iter().for_each(|settings| stream::check_name(&settings.stream_name, mistakes));
        access.iter().for_each(|settings| settings.check(mistakes));
        Some(Config {
            listen: listen?,
            broker: broker?,
            erase: erase?,
            origins: origins?,
            proxies: proxies?,
            access: access?,
            drain: drain?,
            telemetry: telemetry?,
            notifier: notifier?,
        })
    }

    /// Says aloud what is allowed here and dangerous elsewhere.
    pub fn warn(&self) {
        self.access.warn();
        if self.listen.http_addr.ip().to_canonical().is_loopback() {
            return;
        }
        if self.access.allow_anonymous {
            tracing::warn!(
                address = %self.listen.http_addr,
                "ALLOW_ANONYMOUS=true: everybody who reaches this address reads every event"
            );
        }
        if self.origins.takes_any_host() {
            tracing::warn!(
                "PUBLIC_URLS is not set: requests to any host name are taken, also those of a page that rebinds its \
                 name to this address"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_way_to_tell_who_may_read_it_refuses_to_start() {
        let mistakes = Config::read(&Environment::default()).expect_err("refused").to_string();
        for way in ["JWT_SECRET", "JWT_JWKS", "ALLOW_ANONYMOUS"] {
            assert!(mistakes.contains(way), "{way} in {mistakes}");
        }
        Config::read(&Environment::from([("ALLOW_ANONYMOUS", "true")])).expect("a configuration");
    }

    #[test]
    fn mistakes_of_all_tables_are_reported_together() {
        let environment = Environment::from([
            ("HTTP_ADDR", "here"),
            ("RING_BYTES", "1"),
            ("PUBLIC_URLS", "x"),
            ("DRAIN_SECONDS", "0"),
        ]);
        let mistakes = Config::read(&environment).expect_err("refused").to_string();
        for variable in ["HTTP_ADDR", "RING_BYTES", "PUBLIC_URLS", "DRAIN_SECONDS"] {
            assert!(mistakes.contains(variable), "{variable} in {mistakes}");
        }
    }
}
