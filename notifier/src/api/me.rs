//! What whoever asks may do, and how to sign in.
//!
//! **Owns** `GET /api/me`. It is answered to everybody: a client learns from it whether it needs a token.

use hyper::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::http::{Body, json};

use crate::access::{Access, AccessSettings, Scope};
use crate::config::NotifierSettings;
use crate::filter::VALUES_MAX;
use crate::params::{LAST_MAX, PAGE_MAX};

/// What is the same for everybody.
#[derive(Debug, Clone)]
pub(crate) struct Me {
    sign_in: SignIn,
    limits: Limits,
}

#[derive(Debug, Clone, Serialize)]
struct SignIn {
    /// Whether tokens are asked for.
    token: bool,
    /// Whether everybody may read without one.
    anonymous: bool,
    issuer: Option<String>,
    audience: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Limits {
    sessions: u32,
    sessions_per_user: u32,
    sessions_per_address: u32,
    queries: u32,
    page: usize,
    last: usize,
    filter_values: usize,
}

#[derive(Serialize)]
struct Document<'a> {
    sign_in: &'a SignIn,
    subject: Option<&'a str>,
    scopes: Vec<&'static str>,
    filter: Option<&'a Map<String, Value>>,
    expires_at: Option<u64>,
    limits: &'a Limits,
}

impl Me {
    pub(crate) fn new(access: &AccessSettings, settings: &NotifierSettings) -> Me {
        Me {
            sign_in: SignIn {
                token: !access.allow_anonymous,
                anonymous: access.allow_anonymous,
                issuer: access.jwt_issuer.clone(),
                audience: access.jwt_audience.clone(),
            },
            limits: Limits {
                sessions: settings.max_sessions,
                sessions_per_user: settings.max_sessions_per_user,
                sessions_per_address: settings.max_sessions_per_ip,
                queries: settings.max_queries,
                page: PAGE_MAX,
                last: LAST_MAX,
                filter_values: VALUES_MAX,
            },
        }
    }

    /// The answer.
    pub(crate) fn answer(&self, access: &Access) -> Response<Body> {
        json(&Document {
            sign_in: &self.sign_in,
            subject: access.subject(),
            scopes: Scope::ALL.into_iter().filter(|scope| access.may(*scope)).map(Scope::name).collect(),
            filter: access.claim(),
            expires_at: access.ends_ms(),
            limits: &self.limits,
        })
    }
}
