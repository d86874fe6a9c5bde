//! A service asks itself how it is: the `healthcheck` subcommand of both binaries.
//!
//! **Owns** one request to the private listener of the process beside it. An image without a shell has
//! no other program that could ask. **May not** judge: the answer is [`crate::admin`]'s.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// For connecting, and for each read and write: less than the time-out of the probe that waits for it.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);
/// An answer is one line for each part that is not ready.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What a probe may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `/livez`: does the process answer?
    Live,
    /// `/readyz`: can it be given work?
    Ready,
}

impl Question {
    fn path(self) -> &'static str {
        match self {
            Question::Live => "/livez",
            Question::Ready => "/readyz",
        }
    }
}

/// Why the answer is no.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers, or not in time.
    #[error("{address} does not answer ({error}): ADMIN_ADDR must be what the service was started with")]
    Away {
        /// Whom it asked.
        address: SocketAddr,
        /// What happened.
        error: io::Error,
    },
    /// The service says no.
    #[error("{0}")]
    No(String),
}

/// Asks the service whose `ADMIN_ADDR` this is.
///
/// # Errors
/// The service's own words where the answer is no.
pub fn ask(admin: SocketAddr, question: Question) -> Result<(), ProbeError> {
    let address = reachable(admin);
    let answer = exchange(address, question).map_err(|error| ProbeError::Away { address, error })?;
    match answer.split_once("\r\n\r\n") {
        Some((head, _)) if head.split(' ').nth(1) == Some("200") => Ok(()),
        Some((_, body)) => Err(ProbeError::No(body.trim_end().to_owned())),
        None => Err(ProbeError::No(answer)),
    }
}

/// Where a listener is reached from its own machine: one on all addresses is on loopback too.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}

fn exchange(address: SocketAddr, question: Question) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, STEP_TIMEOUT)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    stream.set_write_timeout(Some(STEP_TIMEOUT))?;
    write!(stream, "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n", question.path())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Admin, Readiness};
    use crate::serve;
    use prometheus_client::registry::Registry;
    use tokio_util::sync::CancellationToken;

    async fn asked(readiness: &Readiness, question: Question) -> Result<(), ProbeError> {
        let listener = serve::bind(([0, 0, 0, 0], 0).into(), "ADMIN_ADDR").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let admin = Admin::new(readiness.clone(), Registry::default());
        let running =
            serve::run(listener, admin, serve::ADMIN_LIMITS, CancellationToken::new(), Duration::from_secs(1));
        let running = tokio::spawn(running);
        let answer = tokio::task::spawn_blocking(move || ask(address, question)).await.expect("an answer");
        running.abort();
        answer
    }

    #[tokio::test]
    async fn it_repeats_what_the_private_listener_says_also_behind_all_addresses() {
        let readiness = Readiness::default();
        asked(&readiness, Question::Ready).await.expect("ready");
        readiness.not_ready("broker", "not connected");
        asked(&readiness, Question::Live).await.expect("alive all the same");
        let no = asked(&readiness, Question::Ready).await.expect_err("not ready");
        assert_eq!(no.to_string(), "broker: not connected");
    }

    #[test]
    fn where_nobody_listens_it_names_the_variable() {
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let away = ask(free, Question::Live).expect_err("nobody").to_string();
        assert!(away.contains("ADMIN_ADDR") && away.contains(&free.to_string()), "{away}");
    }
}
