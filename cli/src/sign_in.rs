//! The token a verb signs in with: from `MANDRILL_LIVE_TOKEN`, or from a file, which is read again for each
//! connection. Never an argument: other users of the machine see those.
//!
//! **May not** print it.

use std::path::PathBuf;

use hyper::header::{HeaderValue, InvalidHeaderValue};

/// The variable that holds it.
const VARIABLE: &str = "MANDRILL_LIVE_TOKEN";

/// The arguments of a verb that signs in.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SignIn {
    /// Read the token from this file, anew for each connection (without it MANDRILL_LIVE_TOKEN holds it, if any)
    #[arg(long, env = "MANDRILL_LIVE_TOKEN_FILE", value_name = "PATH")]
    token_file: Option<PathBuf>,
}

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoToken {
    #[error("the token's file {0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    #[error("the token holds what no token does: line breaks, or other than ASCII")]
    Text(#[from] InvalidHeaderValue),
}

impl SignIn {
    /// What `Authorization` is to hold, if anything.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, NoToken> {
        let token = match &self.token_file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|error| NoToken::File(path.clone(), error))?),
            None => std::env::var(VARIABLE).ok(),
        };
        let Some(token) = token.as_deref().map(str::trim).filter(|token| !token.is_empty()) else { return Ok(None) };
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
