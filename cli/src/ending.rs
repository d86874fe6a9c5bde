//! How a verb that works on the broker ends.
//!
//! **Owns** the exit code and the last word on standard error. What went wrong in particular is the verb's own.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use shared::settings::{EXIT_USAGE, Mistakes};

/// Why a verb cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure<E> {
    #[error("{0}")]
    Settings(Mistakes),
    #[error("cannot read {}: {error}", .path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Own(E),
}

/// The exit code, once it was said what went wrong.
pub(crate) fn code<E: std::error::Error>(verb: &str, done: Result<ExitCode, Failure<E>>) -> ExitCode {
    match done {
        Ok(code) => code,
        // Nobody reads what is printed any more (`| head`).
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mandrill-live {verb}: {}", failure.to_string().trim_end());
            let is_usage = matches!(failure, Failure::Settings(_));
            if is_usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}
