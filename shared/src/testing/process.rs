//! A service as its own process, as production runs it: started with an environment of its own on free
//! ports, ended with its handle.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpStream;

use super::{http, port, until};

/// One process that answers `/readyz`.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Its public listener.
    pub address: SocketAddr,
    /// Its private one.
    pub admin: SocketAddr,
}

impl Process {
    /// Runs a command that listens on `HTTP_ADDR` and `ADMIN_ADDR`, with no other variables than these
    /// and `variables`, and waits until it is ready.
    pub async fn start(command: Command, variables: &[(&str, &str)]) -> Process {
        let process = Process::launch(command, variables).await;
        until("the service is ready", async || http::get(process.admin, "/readyz").await.status == 200).await;
        process
    }

    /// The same, and waits only until it answers at all.
    pub async fn launch(mut command: Command, variables: &[(&str, &str)]) -> Process {
        let free = || SocketAddr::from(([127, 0, 0, 1], port::free()));
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
        let process = Process { child, address, admin };
        until("the service listens", async || TcpStream::connect(admin).await.is_ok()).await;
        process
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// The most memory it has ever held, in bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
