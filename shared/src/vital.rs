//! Tasks that a process is nothing without.
//!
//! **Owns** what a panic in one of them leads to. A bug in a request ends the request. One in the task that all
//! requests depend on would leave a process that lives and does not work: it ends instead, so that whoever watches
//! over it starts it again.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// The process exit status after a bug (`EX_SOFTWARE` of sysexits.h).
pub const EXIT_BUG: i32 = 70;

/// The task, whose panic ends the process. `what` names it in the log.
pub async fn vital<T>(what: &'static str, task: impl Future<Output = T>) -> T {
    // Nobody sees what the panic has left half done: the process ends.
    match AssertUnwindSafe(task).catch_unwind().await {
        Ok(done) => done,
        Err(_) => {
            tracing::error!(what, "a task that all others depend on has panicked: this is a bug; ending the process");
            std::process::exit(EXIT_BUG);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::settings::{Environment, Mistakes, Settings};
    use crate::telemetry::{self, TelemetrySettings};

    /// Set for the process that is to end.
    const DOOMED: &str = "MANDRILL_LIVE_TEST_DOOMED";

    #[tokio::test]
    async fn a_panic_in_one_ends_the_process_and_the_log_says_which() {
        if std::env::var_os(DOOMED).is_some() {
            let settings = TelemetrySettings::read(&Environment::default(), &mut Mistakes::default());
            telemetry::init(&settings.expect("defaults"));
            let _ = tokio::spawn(vital("all that matters", async { panic!("a bug") })).await;
            return;
        }
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["a_panic_in_one_ends_the_process_and_the_log_says_which", "--nocapture"]).env(DOOMED, "1");
        let ended = command.output().expect("it runs");
        let log = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(EXIT_BUG), "{log}");
        assert!(log.contains("what=\"all that matters\"") && log.contains("this is a bug"), "{log}");
    }

    #[tokio::test]
    async fn what_ends_by_itself_ends_nothing_else() {
        assert_eq!(vital("a task", async { 7 }).await, 7);
    }
}
