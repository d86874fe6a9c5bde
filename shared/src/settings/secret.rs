//! A value that is never printed, and that may stand in a file.
//!
//! **Owns** reading such files and noticing that one changed. **May not** log a secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::Value;
use crate::vital::vital;

/// How often a secret's file is looked at: a mounted Kubernetes Secret changes within a minute anyway.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// A file longer than this holds no secret of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A setting whose text is not printed, from `X` or from the file that `X_FILE` names.
#[derive(Clone)]
pub struct Secret<T> {
    value: T,
    file: Option<PathBuf>,
}

impl<T> Secret<T> {
    /// The secret.
    pub fn get(&self) -> &T {
        &self.value
    }
}

impl<T: Value + Clone + Send + 'static> Secret<T> {
    /// The secret as its file has it now, where it stands in one.
    ///
    /// # Errors
    /// Where the file cannot be read or used. Says which, and never what is in it.
    pub async fn read_again(&self) -> Result<T, String> {
        let Some(file) = self.file.clone() else { return Ok(self.value.clone()) };
        let read = move || {
            let text = read(&file)?;
            T::parse(&text).map_err(|_| format!("the file {} does not hold a {}", file.display(), T::KIND))
        };
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }
}

impl<T: Value + PartialEq + Send + Sync + 'static> Secret<T> {
    /// The secret now and, where it stands in a file, whenever that file has changed. A file that cannot
    /// be read or used leaves the last good value in force and says so in the log.
    pub fn watch(self) -> watch::Receiver<T> {
        self.watch_if(|_| Ok(()))
    }

    /// The same, and what `check` refuses is not used either. What it says is written to the log.
    pub fn watch_if(self, check: impl Fn(&T) -> Result<(), String> + Send + 'static) -> watch::Receiver<T> {
        let (sender, receiver) = watch::channel(self.value);
        if let Some(file) = self.file {
            tokio::spawn(vital("following a secret's file", follow(file, check, sender)));
        }
        receiver
    }
}

async fn follow<T: Value + PartialEq>(
    file: PathBuf,
    check: impl Fn(&T) -> Result<(), String>,
    sender: watch::Sender<T>,
) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(FILE_CHECK_INTERVAL) => {}
            () = sender.closed() => return,
        }
        let usable = read(&file).and_then(|text| T::parse(&text)).and_then(|value| check(&value).map(|()| value));
        match usable {
            Ok(value) => {
                failing = false;
                let changed = sender.send_if_modified(|now| {
                    let changed = *now != value;
                    *now = value;
                    changed
                });
                if changed {
                    tracing::info!(file = %file.display(), "a secret's file has changed: the new value is in force");
                }
            }
            Err(what) if !failing => {
                failing = true;
                tracing::error!(%what, "a secret's file cannot be used: the last good value stays in force");
            }
            Err(_) => {}
        }
    }
}

/// A file's text without its last line break.
pub(super) fn read(file: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("the file {} cannot be read: {error}", file.display());
    if std::fs::metadata(file).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(format!("the file {} is over {FILE_BYTES_MAX} bytes", file.display()));
    }
    let text = std::fs::read_to_string(file).map_err(failed)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl<T: Value> Value for Secret<T> {
    const KIND: &'static str = T::KIND;
    const SECRET: bool = true;
    fn parse(text: &str) -> Result<Secret<T>, String> {
        // The inner type's message may quote the text.
        let value = T::parse(text).map_err(|_| format!("is not {}", T::KIND))?;
        Ok(Secret { value, file: None })
    }
    fn came_from(&mut self, file: &Path) {
        self.file = Some(file.to_owned());
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}
