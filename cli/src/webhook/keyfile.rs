//! The file that ingest reads webhooks' keys from (`MANDRILL_WEBHOOK_KEYS_FILE`), a line each.
//!
//! **Owns** that a key is added beside those there are, and that nobody but its owner may read a new file.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt;

/// The file is as it was.
#[derive(Debug, thiserror::Error)]
#[error("the key could not be written to {}: {error}", .path.display())]
pub(super) struct KeyFileError {
    path: PathBuf,
    error: io::Error,
}

/// Adds a key, once.
pub(super) async fn add(path: &Path, key: &str) -> Result<(), KeyFileError> {
    write(path, key).await.map_err(|error| KeyFileError { path: path.to_owned(), error })
}

async fn write(path: &Path, key: &str) -> io::Result<()> {
    let known = match fs::read_to_string(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if known.split([',', '\n']).any(|one| one.trim() == key) {
        return Ok(());
    }
    // One write: ingest may look at any moment, and half a key would be a wrong one.
    let separator = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).await?;
    file.write_all(format!("{separator}{key}\n").as_bytes()).await?;
    file.sync_all().await
}
