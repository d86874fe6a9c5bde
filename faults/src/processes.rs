//! One of our services as a process that is killed, stopped, paused and started again, always on the same ports, and
//! what the kernel knows of it. Its log is one file over all its lives.

use std::fmt;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shared::testing::port;

/// Between two looks at whether a process has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// One replica of a service.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) name: String,
    program: PathBuf,
    variables: Vec<(String, String)>,
    log: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Option<Child>,
    is_paused: bool,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holds {
    pub(crate) bytes: u64,
    pub(crate) descriptors: usize,
}

impl fmt::Display for Holds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} MiB and {} descriptors", self.bytes >> 20, self.descriptors)
    }
}

impl Replica {
    /// One that does not run yet. `folder` is for its log.
    pub(crate) fn new(name: String, program: PathBuf, folder: &Path) -> Replica {
        let free = || SocketAddr::from(([127, 0, 0, 1], port::free()));
        let log = folder.join(format!("{name}.log"));
        let (http, admin) = (free(), free());
        Replica { name, program, variables: Vec::new(), log, http, admin, child: None, is_paused: false }
    }

    /// With these variables and no others.
    pub(crate) fn configure(&mut self, variables: Vec<(String, String)>) {
        self.variables = variables;
    }

    pub(crate) fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let errors = log.try_clone().expect("the log");
        let child = Command::new(&self.program)
            .env_clear()
            .env("HTTP_ADDR", self.http.to_string())
            .env("ADMIN_ADDR", self.admin.to_string())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}", self.program.display())));
        self.is_paused = false;
    }

    /// Ends it without a word. Says so where it had ended by itself.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.lives()?;
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
        Ok(())
    }

    /// Stops its clock.
    pub(crate) fn pause(&mut self) -> Result<(), String> {
        self.lives()?;
        self.signal(Signal::STOP);
        self.is_paused = true;
        Ok(())
    }

    /// Lets it go on.
    pub(crate) fn go_on(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            self.signal(Signal::CONT);
        }
    }

    /// Asks it to stop.
    pub(crate) fn tell_to_stop(&mut self) -> Result<(), String> {
        self.lives()?;
        self.signal(Signal::TERM);
        Ok(())
    }

    /// Waits until it has stopped by itself, in order and in time.
    pub(crate) async fn stopped(&mut self, within: Duration) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().expect("its state") {
                return in_order(&self.name, status);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        Err(format!("{} was told to stop and still ran {within:.1?} later", self.name))
    }

    /// Says so where it has ended without having been asked to.
    pub(crate) fn lives(&mut self) -> Result<(), String> {
        let status = self.child.as_mut().and_then(|child| child.try_wait().expect("its state"));
        match status {
            None => Ok(()),
            Some(status) => {
                self.child = None;
                Err(format!("{} ended by itself: {status}", self.name))
            }
        }
    }

    /// Whether it is there.
    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal).expect("signalled");
        }
    }

    /// What it holds now; nothing where it does not run.
    pub(crate) fn holds(&self) -> Option<Holds> {
        let pid = self.child.as_ref()?.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let bytes = line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10;
        Some(Holds { bytes, descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() })
    }

    /// Lines of its log that tell of a panic.
    pub(crate) fn panics(&self) -> Vec<String> {
        panics(&self.name, &fs::read_to_string(&self.log).unwrap_or_default())
    }
}

/// Lines of a log that tell of a panic.
pub(crate) fn panics(name: &str, log: &str) -> Vec<String> {
    let is_panic = |line: &&str| line.contains("panicked at") || line.starts_with("panic:");
    log.lines().filter(is_panic).map(|line| format!("{name}: {line}")).collect()
}

fn in_order(name: &str, status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(format!("{name} was told to stop and ended with {status}")) }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &Path, script: &str) -> Replica {
        let program = folder.join("service");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, mode).expect("may run");
        let mut replica = Replica::new("service".to_owned(), program, folder);
        replica.start();
        replica
    }

    #[tokio::test]
    async fn one_that_ends_by_itself_or_not_in_order_or_too_late_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut replica = shell(folder.path(), "exit 3");
        shared::testing::until("it has ended", async || replica.lives().is_err()).await;
        assert!(!replica.runs());

        let mut replica = shell(folder.path(), "exit 3");
        let told = replica.stopped(shared::testing::PATIENCE).await.expect_err("a status");
        assert_eq!(told, "service was told to stop and ended with exit status: 3");

        let mut replica = shell(folder.path(), "exec sleep 60");
        assert!(replica.holds().is_some_and(|holds| holds.bytes > 0 && holds.descriptors > 0));
        let told = replica.stopped(Duration::from_millis(50)).await.expect_err("too late");
        assert!(told.contains("still ran"), "{told}");
        assert_eq!(replica.holds(), None);
    }

    #[tokio::test]
    async fn a_panic_is_found_in_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut replica = shell(folder.path(), "echo \"thread 'main' panicked at src/main.rs:1\" >&2");
        replica.stopped(shared::testing::PATIENCE).await.expect("in order");
        assert_eq!(replica.panics(), ["service: thread 'main' panicked at src/main.rs:1"]);
    }
}
