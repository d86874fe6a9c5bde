//! A process that is measured: the release binary of a service, or this program with another verb.

use std::process::Command;
use std::time::Duration;

use shared::testing::process::Process;

use crate::process;

/// A service of ours, ended with its handle.
pub(crate) struct Service(Process);

impl Service {
    /// Starts the binary beside this one, and waits until it is ready.
    pub(crate) async fn start(name: &str, variables: &[(&str, &str)]) -> Service {
        let path = std::env::current_exe().expect("a path").with_file_name(name);
        Service(Process::start(Command::new(path), variables).await)
    }

    /// Starts this program with another verb.
    pub(crate) async fn of_this(verb: &str, variables: &[(&str, &str)]) -> Service {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.arg(verb);
        Service(Process::start(command, variables).await)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.0.address
    }

    /// Where its probes and metrics are.
    pub(crate) fn admin(&self) -> std::net::SocketAddr {
        self.0.admin
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Processor time used so far, by all threads, in user and kernel.
    pub(crate) fn cpu(&self) -> Duration {
        process::Usage::of(self.0.pid()).cpu
    }
}
