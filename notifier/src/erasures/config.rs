//! Who erases, to the broker.

use shared::broker::{BrokerSettings, Credentials, Seed};
use shared::settings::{Mistakes, Secret};

shared::settings! {
    /// A user of its own: it may take events away, which no other may.
    pub struct EraseSettings {
        /// The user that erases people, with `NATS_ERASE_PASSWORD`; with any of these, erasing is on where the broker asks who connects.
        pub nats_erase_user: Option<String> = "";
        /// That user's password.
        pub nats_erase_password: Option<Secret<String>> = "";
        /// That user's JWT and seed, as `nsc` writes them.
        pub nats_erase_creds: Option<Secret<Credentials>> = "";
        /// The seed of that user's NKEY.
        pub nats_erase_nkey: Option<Secret<Seed>> = "";
    }
}

impl EraseSettings {
    /// Reports halves of a pair, and more than one way to sign in.
    pub fn check(&self, mistakes: &mut Mistakes) {
        match (&self.nats_erase_user, &self.nats_erase_password) {
            (Some(_), None) => mistakes.add("nats_erase_user", "needs NATS_ERASE_PASSWORD too"),
            (None, Some(_)) => mistakes.add("nats_erase_password", "needs NATS_ERASE_USER too"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let ways = [
            ("nats_erase_user", self.nats_erase_user.is_some()),
            ("nats_erase_creds", self.nats_erase_creds.is_some()),
            ("nats_erase_nkey", self.nats_erase_nkey.is_some()),
        ];
        let mut set = ways.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name);
        if let (Some(first), Some(second)) = (set.next(), set.next()) {
            let first = first.to_ascii_uppercase();
            mistakes.add(second, format!("is another way to sign in than {first}: set one of them"));
        }
    }

    /// The connection of whoever erases: the same broker, and this user; nothing where none is set.
    pub(super) fn of(&self, broker: &BrokerSettings) -> Option<BrokerSettings> {
        let EraseSettings { nats_erase_user, nats_erase_password, nats_erase_creds, nats_erase_nkey } = self.clone();
        let is_set = nats_erase_user.is_some() || nats_erase_creds.is_some() || nats_erase_nkey.is_some();
        is_set.then(|| BrokerSettings {
            nats_user: nats_erase_user,
            nats_password: nats_erase_password,
            nats_creds: nats_erase_creds,
            nats_nkey: nats_erase_nkey,
            ..broker.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::settings::{Environment, Settings};

    fn read(variables: &[(&str, &str)]) -> (Option<EraseSettings>, String) {
        let environment = variables.iter().fold(Environment::default(), |all, (name, value)| all.or(name, value));
        let mut mistakes = Mistakes::default();
        let settings = EraseSettings::read(&environment, &mut mistakes);
        settings.iter().for_each(|settings| settings.check(&mut mistakes));
        (settings, mistakes.to_string())
    }

    #[test]
    fn it_has_one_way_to_sign_in_and_the_rest_of_the_notifiers() {
        let broker = BrokerSettings::read(
            &Environment::from([("NATS_URL", "nats://broker"), ("NATS_USER", "notifier"), ("NATS_PASSWORD", "x")]),
            &mut Mistakes::default(),
        );
        let broker = broker.expect("settings");
        let (settings, said) = read(&[("NATS_ERASE_USER", "erase"), ("NATS_ERASE_PASSWORD", "hush")]);
        assert_eq!(said.lines().count(), 1, "{said}");
        let own = settings.expect("settings").of(&broker).expect("a user");
        assert_eq!((own.nats_user.as_deref(), &own.nats_url), (Some("erase"), &broker.nats_url));
        assert!(read(&[]).0.expect("settings").of(&broker).is_none());
        for (wrong, variable) in [
            (&[("NATS_ERASE_USER", "erase")][..], "NATS_ERASE_USER"),
            (&[("NATS_ERASE_PASSWORD", "hush")], "NATS_ERASE_PASSWORD"),
            (&[("NATS_ERASE_CREDS", "hush")], "NATS_ERASE_CREDS"),
        ] {
            let (_, said) = read(wrong);
            assert!(said.contains(&format!("  {variable}: ")) && !said.contains("hush"), "{said}");
        }
    }
}
