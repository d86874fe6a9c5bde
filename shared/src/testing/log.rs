//! A service's log as a test reads it.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// What a process writes to standard error; gone with its handle.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// Takes what this command will say.
    pub fn of(command: &mut Command) -> Log {
        let path = std::env::temp_dir().join(format!("mandrill-live-log-{:016x}", rand::random::<u64>()));
        command.stderr(File::create(&path).expect("a file"));
        Log { path }
    }

    /// All of it so far.
    #[must_use]
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.path).expect("the log is text")
    }

    /// Every line of its text form is one that the service itself began, with its moment and a level, and holds nothing
    /// that a terminal obeys.
    pub fn is_the_services_own(&self) {
        for line in self.text().lines() {
            let (moment, rest) = line.split_at_checked("2026-01-01T00:00:00.000000Z".len()).expect("a moment");
            assert!(moment.starts_with("20") && moment.ends_with('Z') && moment.contains('T'), "{line}");
            let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
            assert!(levels.iter().any(|level| rest.trim_start().starts_with(level)), "{line}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
