//! A process that is measured: the release binary of a service, or this program with another verb.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use shared::testing::{http, until};
use tokio::net::TcpStream;

use crate::process;

/// A service of ours, ended with its handle.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Service {
    /// Starts the binary beside this one, and waits until it is ready.
    pub(crate) async fn start(name: &str, variables: &[(&str, &str)]) -> Service {
        Service::run(Command::new(beside(name)), variables).await
    }

    /// Starts this program with another verb.
    pub(crate) async fn of_this(verb: &str, variables: &[(&str, &str)]) -> Service {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.arg(verb);
        Service::run(command, variables).await
    }

    async fn run(mut command: Command, variables: &[(&str, &str)]) -> Service {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let (address, admin) = (free(), free());
        let child = command
            .env_clear()
            .env("HTTP_ADDR", address.to_string())
            .env("ADMIN_ADDR", admin.to_string())
            .env("RUST_LOG", "error")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .expect("the service starts");
        let service = Service { child, address };
        until("the service is ready", async || {
            TcpStream::connect(admin).await.is_ok() && http::get(admin, "/readyz").await.status == 200
        })
        .await;
        service
    }

    /// Processor time used so far, by all threads, in user and kernel.
    pub(crate) fn cpu(&self) -> Duration {
        process::cpu(self.child.id())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn beside(name: &str) -> PathBuf {
    std::env::current_exe().expect("a path").with_file_name(name)
}
