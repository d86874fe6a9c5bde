//! How people and programs sign in: the variables and the rules between them.
//!
//! **Owns** that nothing is open by accident: without a word about who may read, nothing starts.

use shared::settings::{Mistakes, Secret, Span};

use super::jwks::JwksSource;
use super::keys::Secrets;

shared::settings! {
    /// Who may see what.
    pub struct AccessSettings {
        /// Secrets that HS256 tokens are signed with, the newest first: several, so that one can be replaced.
        pub jwt_secret: Option<Secret<Secrets>> = "";
        /// Where the public keys of an identity provider are (a JWKS), for RS256, ES256 and EdDSA tokens.
        pub jwt_jwks: Option<JwksSource> = "";
        /// How often that is read again; also how long a key that was withdrawn may still be good.
        pub jwt_jwks_refresh: Span = "5m", "1s" => "1d";
        /// The `iss` every token must have.
        pub jwt_issuer: Option<String> = "";
        /// The `aud` every token must have. Without it only tokens that name no audience are good.
        pub jwt_audience: Option<String> = "";
        /// The claim that holds the scopes `events:read` and `events:erase`, as words or an array.
        pub jwt_scope_claim: String = "scope";
        /// The claim that holds the filter a token is bound to.
        pub jwt_filter_claim: String = "filter";
        /// Whether anybody who reaches this service may read every event, without a token.
        pub allow_anonymous: bool = "false";
    }
}

impl AccessSettings {
    /// Checks the rules about them before anything runs.
    pub(crate) fn check(&self, mistakes: &mut Mistakes) {
        let has_keys = self.jwt_secret.is_some() || self.jwt_jwks.is_some();
        if !has_keys && !self.allow_anonymous {
            mistakes.add(
                "allow_anonymous",
                "nobody could read anything: set JWT_SECRET or JWT_JWKS, so that tokens are asked for, or set this to \
                 `true` to let everybody who reaches the service read every event",
            );
        }
        // Whoever gives keys means the events to be protected: one word must not undo that.
        if has_keys && self.allow_anonymous {
            mistakes.add("allow_anonymous", "cannot be used together with JWT_SECRET or JWT_JWKS: remove one of them");
        }
        for (name, set) in [("jwt_issuer", &self.jwt_issuer), ("jwt_audience", &self.jwt_audience)] {
            if set.is_some() && !has_keys {
                mistakes.add(name, "means nothing without JWT_SECRET or JWT_JWKS");
            }
        }
        if let Some(source) = &self.jwt_jwks {
            source.check(mistakes);
        }
        if self.jwt_scope_claim == self.jwt_filter_claim {
            mistakes.add("jwt_filter_claim", "must not be the claim of JWT_SCOPE_CLAIM");
        }
    }

    /// Says aloud what works here and is dangerous elsewhere.
    pub(crate) fn warn(&self) {
        if self.jwt_jwks.is_some() && self.jwt_audience.is_none() {
            tracing::warn!(
                "JWT_AUDIENCE is not set: an identity provider signs the tokens of all its services with the same \
                 keys, and any that names no audience is good here"
            );
        }
        if self.jwt_jwks.as_ref().is_some_and(JwksSource::is_in_the_open) {
            tracing::warn!("JWT_JWKS is read over plain HTTP: whoever is on the way can put keys of their own there");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::settings::{Environment, Settings};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn read(variables: &[(&str, &str)]) -> Result<AccessSettings, String> {
        let environment = variables.iter().fold(Environment::default(), |all, (name, value)| all.or(name, value));
        let mut mistakes = Mistakes::default();
        let settings = AccessSettings::read(&environment, &mut mistakes);
        settings.iter().for_each(|settings| settings.check(&mut mistakes));
        mistakes.or(settings).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn one_way_to_sign_in_is_given_or_nothing_starts() {
        for good in [
            &[("ALLOW_ANONYMOUS", "true")][..],
            &[("JWT_SECRET", SECRET)],
            &[("JWT_JWKS", "https://id.example.com/keys")],
            &[("JWT_SECRET", SECRET), ("JWT_JWKS", "https://id.example.com/keys"), ("JWT_AUDIENCE", "a")],
            &[("JWT_SECRET", SECRET), ("ALLOW_ANONYMOUS", "false")],
        ] {
            read(good).unwrap_or_else(|mistakes| panic!("{good:?}: {mistakes}"));
        }
        for (bad, variable) in [
            (&[][..], "ALLOW_ANONYMOUS"),
            (&[("ALLOW_ANONYMOUS", "false")], "ALLOW_ANONYMOUS"),
            (&[("ALLOW_ANONYMOUS", "true"), ("JWT_SECRET", SECRET)], "ALLOW_ANONYMOUS"),
            (&[("ALLOW_ANONYMOUS", "true"), ("JWT_ISSUER", "a")], "JWT_ISSUER"),
            (&[("ALLOW_ANONYMOUS", "true"), ("JWT_AUDIENCE", "a")], "JWT_AUDIENCE"),
            (&[("JWT_SECRET", SECRET), ("JWT_FILTER_CLAIM", "scope")], "JWT_FILTER_CLAIM"),
            (&[("JWT_JWKS", "/no/such/file")], "JWT_JWKS"),
            (&[("JWT_JWKS", "ftp://id.example.com")], "JWT_JWKS"),
            (&[("JWT_SECRET", "short and secret")], "JWT_SECRET"),
            (&[("JWT_SECRET_FILE", "/no/such/file")], "JWT_SECRET"),
        ] {
            let mistakes = read(bad).expect_err("refused");
            assert!(mistakes.contains(&format!("  {variable}: ")), "{bad:?}: {mistakes}");
            assert!(!mistakes.contains("short and secret") && !mistakes.contains(SECRET), "{mistakes}");
        }
    }

    #[test]
    fn a_secret_is_not_printed_with_the_settings() {
        let settings = read(&[("JWT_SECRET", SECRET)]).expect("settings");
        assert!(!format!("{settings:?}").contains(SECRET));
    }
}
