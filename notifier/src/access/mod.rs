//! Who asks, and what they may see.
//!
//! **Owns** the one answer to both: the [`Gate`] makes an [`Access`] of a request, and every handler gets
//! that. **May not** read or send an event.
//!
//! [`config`] has the variables, [`token`] the rules of a token, [`keys`] what they are verified with,
//! [`keyring`] and [`jwks`] where those come from, [`crypto`] the algorithms, [`presented`] the ways in,
//! [`mint`] new tokens for trying things out.

mod config;
mod crypto;
#[cfg(any(test, feature = "invariants"))]
pub(crate) mod invariants;
mod jwks;
mod keyring;
mod keys;
pub mod mint;
mod presented;
mod token;

use std::sync::Arc;
use std::time::SystemTime;

use hyper::HeaderMap;
use serde_json::{Map, Value};
use shared::admin::Readiness;
use shared::client::Unusable;
use shared::subject::RecipientHash;
use tokio::sync::watch;

pub use config::AccessSettings;
pub use jwks::JwksSource;
use keyring::Keyring;
use keys::Keys;
pub use keys::Secrets;
pub(crate) use token::BadToken;
use token::{Grant, Rules};

use crate::error::Refusal;
use crate::filter::Filter;
use crate::labels::Label;
use crate::metrics::AccessMetrics;

/// What a token can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To read events, live and stored.
    Read,
    /// To erase a person's events.
    Erase,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 2] = [Scope::Read, Scope::Erase];

    /// As claims and documents write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "events:read",
            Scope::Erase => "events:erase",
        }
    }
}

/// What a route asks of those who call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: a file, the same for everybody. A token is not looked at.
    Nothing,
    /// Everybody gets an answer, which depends on who asks. A token that is sent must be good.
    Anybody,
    /// A token that holds this scope, where tokens are asked for at all.
    Scope(Scope),
}

/// Who asks, and what they may see. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Access(Who);

#[derive(Debug, Clone)]
enum Who {
    /// Nobody we know, where that is not enough to read anything.
    Nobody,
    /// Nobody we know, where everybody may read everything.
    Anybody { erase: bool },
    /// Somebody with a good token.
    Holder(Arc<Grant>),
}

impl Access {
    fn grant(&self) -> Option<&Grant> {
        match &self.0 {
            Who::Holder(grant) => Some(grant),
            Who::Nobody | Who::Anybody { .. } => None,
        }
    }

    /// The user that sessions are counted by, where tokens are asked for: the token's subject. All tokens
    /// without one are one user's.
    pub(crate) fn user(&self) -> Option<&str> {
        self.grant().map(|grant| grant.subject.as_deref().unwrap_or_default())
    }

    /// The token's subject, where it has one.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.grant().and_then(|grant| grant.subject.as_deref())
    }

    /// Whether this is allowed.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        match (&self.0, scope) {
            (Who::Nobody, _) => false,
            (Who::Anybody { .. }, Scope::Read) => true,
            (Who::Anybody { erase }, Scope::Erase) => *erase,
            (Who::Holder(grant), Scope::Read) => grant.read,
            (Who::Holder(grant), Scope::Erase) => grant.erase,
        }
    }

    /// The events that may be seen; nothing for all of them.
    pub(crate) fn filter(&self) -> Option<&Arc<Filter>> {
        self.grant().and_then(|grant| grant.filter.as_ref())
    }

    /// The same as the token has it.
    pub(crate) fn claim(&self) -> Option<&Map<String, Value>> {
        self.grant().and_then(|grant| grant.claim.as_ref())
    }

    /// The filter for what was asked: events must pass it and the token's.
    pub(crate) fn narrow(&self, asked: Option<&Arc<Filter>>) -> Option<Arc<Filter>> {
        match (self.filter(), asked) {
            (Some(allowed), Some(asked)) => Some(Arc::new(asked.and(allowed))),
            (one, other) => one.or(other).cloned(),
        }
    }

    /// Whether every event of this person may be seen.
    pub(crate) fn covers(&self, recipient: RecipientHash) -> bool {
        self.filter().is_none_or(|filter| filter.covers(Label::recipient(recipient)))
    }

    /// When it ends, in milliseconds since 1970; nothing where it does not.
    pub(crate) fn ends_ms(&self) -> Option<u64> {
        self.grant().map(|grant| grant.ends_ms)
    }
}

/// Decides who may enter.
#[derive(Debug)]
pub(crate) struct Gate {
    policy: Policy,
    metrics: AccessMetrics,
}

#[derive(Debug)]
enum Policy {
    /// Tokens are not asked for.
    Open { erase: bool },
    /// Tokens are, and these verify them.
    Tokens { rules: Rules, keyring: Keyring },
}

/// Keeps a gate's keys up to date.
pub(crate) struct Keeper(Option<keyring::Keeper>);

impl Keeper {
    /// For ever.
    pub(crate) async fn run(self) {
        match self.0 {
            Some(keeper) => keeper.run().await,
            None => std::future::pending().await,
        }
    }
}

impl Gate {
    /// From settings that were checked; `is_local` says whether only this machine reaches the service.
    ///
    /// # Errors
    /// Where keys can never be read from where they are said to be.
    pub(crate) fn new(
        settings: &AccessSettings,
        is_local: bool,
        metrics: AccessMetrics,
        readiness: Readiness,
    ) -> Result<(Gate, Keeper), Unusable> {
        if settings.allow_anonymous {
            return Ok((Gate { policy: Policy::Open { erase: is_local }, metrics }, Keeper(None)));
        }
        let secrets = settings.jwt_secret.clone().map(shared::settings::Secret::watch);
        let refresh = settings.jwt_jwks_refresh.duration();
        let source = match &settings.jwt_jwks {
            Some(source) => Some((jwks::Fetch::new(source)?, refresh)),
            None => None,
        };
        let (keyring, keeper) = Keyring::new(secrets, source, metrics.clone(), readiness);
        let gate = Gate { policy: Policy::Tokens { rules: Rules::new(settings), keyring }, metrics };
        Ok((gate, Keeper(Some(keeper))))
    }

    /// Who sends this request.
    ///
    /// # Errors
    /// Where its token is missing, bad, or does not allow what the route needs.
    pub(crate) async fn enter(&self, headers: &HeaderMap, needs: Needs) -> Result<Access, Refusal> {
        if needs == Needs::Nothing {
            return Ok(Access(Who::Nobody));
        }
        let access = match (presented::token(headers)?, &self.policy) {
            (_, Policy::Open { erase }) => Access(Who::Anybody { erase: *erase }),
            (Some(token), Policy::Tokens { .. }) => self.know(token).await?,
            (None, Policy::Tokens { .. }) => Access(Who::Nobody),
        };
        match (needs, &access.0) {
            (Needs::Nothing | Needs::Anybody, _) => Ok(access),
            (Needs::Scope(_), Who::Nobody) => {
                self.metrics.refused("missing");
                Err(Refusal::NoToken)
            }
            (Needs::Scope(scope), _) if access.may(scope) => Ok(access),
            (Needs::Scope(_), Who::Anybody { .. }) => Err(Refusal::ErasingOff),
            (Needs::Scope(scope), Who::Holder(_)) => {
                self.metrics.refused("scope");
                Err(Refusal::Scope(scope))
            }
        }
    }

    /// Who holds this token.
    ///
    /// # Errors
    /// Where it is bad, or cannot be judged yet.
    pub(crate) async fn know(&self, token: &str) -> Result<Access, Refusal> {
        let Policy::Tokens { rules, keyring } = &self.policy else { return Err(Refusal::NoTokensHere) };
        let mut read = rules.read(token, &keyring.now(), now_ms());
        // Its key may be newer than ours.
        if read.as_ref().is_err_and(BadToken::is_of_another_key) && keyring.look_again().await {
            read = rules.read(token, &keyring.now(), now_ms());
        }
        match read {
            Ok(grant) => Ok(Access(Who::Holder(Arc::new(grant)))),
            Err(why) if why.is_of_another_key() && keyring.is_incomplete() => Err(Refusal::NoKeys),
            Err(why) => {
                self.metrics.refused(why.word());
                tracing::debug!(%why, "a token was refused");
                Err(Refusal::BadToken(why))
            }
        }
    }

    /// Tells when keys have changed: what was allowed before may not be any more.
    pub(crate) fn changes(&self) -> Changes {
        match &self.policy {
            Policy::Open { .. } => Changes(None),
            Policy::Tokens { keyring, .. } => Changes(Some(keyring.changes())),
        }
    }

    /// Whether what was allowed still is: the token has not ended and its key was not withdrawn.
    pub(crate) fn allows(&self, access: &Access) -> bool {
        match (access.grant(), &self.policy) {
            (Some(grant), Policy::Tokens { keyring, .. }) => grant.ends_ms > now_ms() && keyring.now().knows(grant.key),
            (_, _) => true,
        }
    }
}

/// The keys' changes, seen by one who waits for them.
#[derive(Debug)]
pub(crate) struct Changes(Option<watch::Receiver<Arc<Keys>>>);

impl Changes {
    /// Waits for the next one. Where tokens are not asked for there is none.
    pub(crate) async fn next(&mut self) {
        if let Some(keys) = &mut self.0
            && keys.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
