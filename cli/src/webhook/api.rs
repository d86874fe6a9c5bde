//! Mandrill's API, as far as it is about webhooks.
//!
//! **Owns** the calls, how leniently their answers are read, and what its errors mean. **May not** print the
//! account's key or a webhook's.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::client::{Client, Unusable, cause};
use shared::settings::{Environment, Mistakes, Secret, Settings};

use crate::terminal::plain;

/// Mandrill checks the address within the call.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const ANSWER_BYTES_MAX: usize = 4 << 20;

shared::settings! {
    /// The account.
    #[allow(unreachable_pub)]
    pub struct ApiSettings {
        /// The account's API key.
        pub mandrill_api_key: Option<Secret<String>> = "";
        /// Where its API is.
        pub mandrill_api_url: String = "https://mandrillapp.com/api/1.0";
    }
}

/// A webhook as Mandrill describes it. Not printed as a whole: it holds its key.
#[derive(Deserialize)]
pub(super) struct Webhook {
    pub(super) id: u64,
    pub(super) url: String,
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) auth_key: Option<String>,
    #[serde(default)]
    pub(super) events: Vec<String>,
    #[serde(default)]
    pub(super) created_at: Option<String>,
    #[serde(default)]
    pub(super) last_sent_at: Option<String>,
    #[serde(default)]
    pub(super) batches_sent: u64,
    #[serde(default)]
    pub(super) events_sent: u64,
    #[serde(default)]
    pub(super) last_error: Option<String>,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error("Mandrill's API cannot be reached: {0}")]
    Unreachable(String),
    #[error("Mandrill's API did not answer within {} seconds", ANSWER_TIMEOUT.as_secs())]
    Slow,
    #[error(
        "Mandrill's API answered {status} with something that is no answer of its own: check MANDRILL_API_URL, and what is between"
    )]
    Foreign { status: u16 },
    #[error("Mandrill refuses the API key: set MANDRILL_API_KEY to one that it shows under Settings, SMTP & API Info")]
    Key,
    #[error("Mandrill knows no webhook {0}: see `webhook list`")]
    NoWebhook(String),
    #[error("Mandrill does not do it: {name}: {message}")]
    Refused { name: String, message: String },
}

/// The API with one account's key.
pub(super) struct Api {
    base: String,
    key: Secret<String>,
}

impl Api {
    /// From `MANDRILL_API_KEY` and `MANDRILL_API_URL`.
    ///
    /// # Errors
    /// Where there is no key, or it would go to somebody else in the clear.
    pub(super) fn of(environment: &Environment) -> Result<Api, Mistakes> {
        Api::if_set(environment)?.ok_or_else(|| {
            let mut mistakes = Mistakes::default();
            mistakes.add("mandrill_api_key", "is not set: Mandrill shows keys under Settings, SMTP & API Info");
            mistakes
        })
    }

    /// The same; nothing where no key is set.
    pub(super) fn if_set(environment: &Environment) -> Result<Option<Api>, Mistakes> {
        let mut mistakes = Mistakes::default();
        let settings = ApiSettings::read(environment, &mut mistakes);
        if let Some(settings) = &settings
            && !is_safe(&settings.mandrill_api_url)
        {
            mistakes.add("mandrill_api_url", "must begin with https:// (or be on this machine): the key goes there");
        }
        let settings = mistakes.or(settings)?;
        let base = settings.mandrill_api_url.trim_end_matches('/').to_owned();
        Ok(settings.mandrill_api_key.map(|key| Api { base, key }))
    }

    pub(super) async fn list(&self) -> Result<Vec<Webhook>, ApiError> {
        self.call("list", json!({})).await
    }

    pub(super) async fn info(&self, id: u64) -> Result<Webhook, ApiError> {
        self.call("info", json!({ "id": id })).await
    }

    pub(super) async fn add(&self, url: &str, description: Option<&str>, events: &[&str]) -> Result<Webhook, ApiError> {
        self.call("add", json!({ "url": url, "description": description, "events": events })).await
    }

    /// Changes the address, and what else is given: what is left out of the call stays as it is.
    pub(super) async fn update(
        &self,
        id: u64,
        url: &str,
        description: Option<&str>,
        events: Option<&[String]>,
    ) -> Result<Webhook, ApiError> {
        let mut body = json!({ "id": id, "url": url });
        if let Some(description) = description {
            body["description"] = description.into();
        }
        if let Some(events) = events {
            body["events"] = events.into();
        }
        self.call("update", body).await
    }

    pub(super) async fn delete(&self, id: u64) -> Result<Webhook, ApiError> {
        self.call("delete", json!({ "id": id })).await
    }

    async fn call<T: DeserializeOwned>(&self, call: &str, mut body: Value) -> Result<T, ApiError> {
        let id = body["id"].to_string();
        body["key"] = self.key.get().as_str().into();
        let uri = format!("{}/webhooks/{call}.json", self.base);
        let (status, answer) = match tokio::time::timeout(ANSWER_TIMEOUT, exchange(&uri, body.to_string())).await {
            Ok(answered) => answered?,
            Err(_) => return Err(ApiError::Slow),
        };
        let foreign = ApiError::Foreign { status };
        if status == 200 {
            return serde_json::from_slice(&answer).map_err(|_| foreign);
        }
        let Ok(refusal) = serde_json::from_slice::<Refusal>(&answer) else { return Err(foreign) };
        Err(match refusal.name.as_str() {
            "Invalid_Key" => ApiError::Key,
            "Unknown_Webhook" => ApiError::NoWebhook(id),
            name => ApiError::Refused { name: plain(name), message: plain(&refusal.message) },
        })
    }
}

/// What Mandrill says where it refuses. Its names are stable, its statuses differ by version.
#[derive(Deserialize)]
struct Refusal {
    name: String,
    #[serde(default)]
    message: String,
}

async fn exchange(uri: &str, body: String) -> Result<(u16, Bytes), ApiError> {
    let unreachable = |error: &dyn std::error::Error| ApiError::Unreachable(error.to_string());
    let uri: Uri = uri.parse().map_err(|error: hyper::http::uri::InvalidUri| unreachable(&error))?;
    let request = Request::post(&uri).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Full::from(body)).map_err(|error| unreachable(&error))?;
    let answer = Client::new(&uri)?.request(request).await.map_err(|error| ApiError::Unreachable(cause(&error)))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok((status, body.map_err(|error| ApiError::Unreachable(error.to_string()))?.to_bytes()))
}

fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let local = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && local)
}

impl Webhook {
    /// A line for people.
    pub(super) fn line(&self) -> String {
        let state = match (&self.last_error, &self.last_sent_at) {
            (Some(error), _) => format!("failing: {}", plain(error)),
            (None, Some(at)) => format!("last batch {}", plain(at)),
            (None, None) => "nothing sent yet".to_owned(),
        };
        format!(
            "{}  {}  {} kinds, {} events sent, {state}",
            self.id,
            plain(&self.url),
            self.events.len(),
            self.events_sent
        )
    }

    /// A line for programs, without the key.
    pub(super) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Shown<'a> {
            id: u64,
            url: &'a str,
            description: Option<&'a str>,
            events: &'a [String],
            created_at: Option<&'a str>,
            last_sent_at: Option<&'a str>,
            batches_sent: u64,
            events_sent: u64,
            last_error: Option<&'a str>,
        }
        let shown = Shown {
            id: self.id,
            url: &self.url,
            description: self.description.as_deref(),
            events: &self.events,
            created_at: self.created_at.as_deref(),
            last_sent_at: self.last_sent_at.as_deref(),
            batches_sent: self.batches_sent,
            events_sent: self.events_sent,
            last_error: self.last_error.as_deref(),
        };
        serde_json::to_string(&shown).unwrap_or_default()
    }
}
