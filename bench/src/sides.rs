//! The processes that are measured, and those that measure.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use shared::testing::broker::Broker;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::sleep;

use crate::clients::{Protocol, Report};
use crate::soak;

/// A process of this program that obeys lines; ended when dropped.
pub(crate) struct Helper {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    fn start(arguments: &[&str]) -> Helper {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("a process");
        let (input, output) = (child.stdin.take().expect("its input"), child.stdout.take().expect("its output"));
        Helper { child, input, output: BufReader::new(output).lines() }
    }

    async fn line(&mut self) -> String {
        self.output.next_line().await.expect("a line").expect("it lives")
    }

    async fn say(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.expect("said");
    }
}

/// The floor.
pub(crate) struct Floor {
    helper: Helper,
    pub(crate) address: SocketAddr,
}

impl Floor {
    pub(crate) async fn start() -> Floor {
        let mut helper = Helper::start(&["floor"]);
        let address = helper.line().await.parse().expect("an address");
        Floor { helper, address }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.helper.child.id().expect("it lives")
    }

    pub(crate) async fn accept(&mut self, sessions: usize) {
        self.helper.say(&format!("accept {sessions}")).await;
    }

    pub(crate) async fn send(&mut self, events: usize) {
        self.helper.say(&format!("send {events}")).await;
    }

    pub(crate) async fn done(&mut self) {
        assert_eq!(self.helper.line().await, "done");
    }
}

/// Many clients.
pub(crate) struct Clients(Helper);

impl Clients {
    pub(crate) async fn connect(address: SocketAddr, protocol: Protocol, sessions: usize, path: &str) -> Clients {
        let (address, sessions) = (address.to_string(), sessions.to_string());
        let protocol = match protocol {
            Protocol::Events => "events",
            Protocol::Nats => "nats",
        };
        let arguments =
            ["clients", "--address", &address, "--protocol", protocol, "--sessions", &sessions, "--path", path];
        let mut helper = Helper::start(&arguments);
        assert_eq!(helper.line().await, "ready");
        Clients(helper)
    }

    pub(crate) async fn expect(&mut self, events: usize) {
        self.0.say(&format!("expect {events}")).await;
    }

    pub(crate) async fn reached(&mut self) {
        assert_eq!(self.0.line().await, "reached");
    }

    pub(crate) async fn report(&mut self) -> Report {
        self.0.say("report").await;
        serde_json::from_str(&self.0.line().await).expect("a report")
    }
}

/// Sessions that move from one notifier to another when the first is killed.
pub(crate) struct Movers(Helper);

impl Movers {
    pub(crate) async fn connect(first: SocketAddr, second: SocketAddr, sessions: usize) -> Movers {
        let (first, second, sessions) = (first.to_string(), second.to_string(), sessions.to_string());
        let arguments = ["movers", "--first", &first, "--second", &second, "--sessions", &sessions];
        let mut helper = Helper::start(&arguments);
        assert_eq!(helper.line().await, "ready");
        Movers(helper)
    }

    /// What became of them, once all have this many events.
    pub(crate) async fn report(&mut self, events: u64) -> String {
        self.0.say(&events.to_string()).await;
        self.0.line().await
    }
}

/// Sessions that come and go.
pub(crate) struct Soakers(Helper);

impl Soakers {
    /// They keep account of what is stored after a place, and may ask the broker what it keeps.
    pub(crate) async fn connect(address: SocketAddr, sessions: usize, broker: &str, after: u64) -> Soakers {
        let (address, sessions, after) = (address.to_string(), sessions.to_string(), after.to_string());
        let which = ["--address", &address, "--sessions", &sessions, "--broker", broker, "--after", &after];
        let mut helper = Helper::start(&[&["soakers"], &which[..]].concat());
        assert_eq!(helper.line().await, "ready");
        Soakers(helper)
    }

    pub(crate) async fn report(&mut self) -> soak::sessions::Report {
        self.ask("report").await
    }

    /// Lets all of them leave once they have these events.
    pub(crate) async fn end(&mut self, events: u64) -> soak::sessions::Report {
        self.ask(&format!("end {events}")).await
    }

    async fn ask(&mut self, line: &str) -> soak::sessions::Report {
        self.0.say(line).await;
        serde_json::from_str(&self.0.line().await).expect("a report")
    }
}

/// A notifier, as production runs it.
pub(crate) struct Notifier {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Notifier {
    pub(crate) async fn start(program: &Path, broker: &Broker) -> Notifier {
        let (http, admin) = (free_address(), free_address());
        let mut command = Command::new(program);
        command
            .env("NATS_URL", broker.url())
            .env("HTTP_ADDR", http.to_string())
            .env("ADMIN_ADDR", admin.to_string())
            .env("ALLOW_ANONYMOUS", "true")
            .env("MAX_SESSIONS_PER_IP", "100000")
            .env("RUST_LOG", "warn")
            .kill_on_drop(true);
        let child = command.spawn().expect("the notifier; build it with `cargo build --release -p notifier`");
        for _ in 0..500 {
            sleep(Duration::from_millis(20)).await;
            if is_ready(admin).await {
                return Notifier { child, address: http };
            }
        }
        panic!("the notifier did not get ready");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it lives")
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    tokio::net::TcpStream::connect(admin).await.is_ok()
        && shared::testing::http::get(admin, "/readyz").await.status == 200
}

/// A broker with its own WebSocket listener.
pub(crate) async fn broker() -> (Broker, SocketAddr) {
    let websocket = free_address();
    let configuration = format!("websocket {{ listen: \"{websocket}\", no_tls: true, compression: false }}");
    (Broker::with(&configuration).await, websocket)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
