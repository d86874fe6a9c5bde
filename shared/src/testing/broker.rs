//! A real `nats-server` on a free port with a folder of its own, as production runs it: fsync before
//! every acknowledgement. It can be killed, frozen and started again, and is gone with its handle.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::broker::{Broker as Connection, BrokerSettings};
use crate::settings::{Environment, Mistakes, Settings};

/// One server.
#[derive(Debug)]
pub struct Broker {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Broker {
    /// A server that answers, with an empty store.
    pub async fn start() -> Broker {
        Broker::with("").await
    }

    /// The same, with more lines in its configuration.
    pub async fn with(configuration: &str) -> Broker {
        let mut broker = Broker::absent(configuration);
        broker.restart().await;
        broker
    }

    /// Three servers that are one cluster.
    pub async fn cluster() -> [Broker; 3] {
        let routes: [u16; 3] = std::array::from_fn(|_| free_port());
        let urls = routes.map(|port| format!("\"nats://127.0.0.1:{port}\"")).join(", ");
        let mut brokers = [0, 1, 2].map(|node| {
            let port = routes[node];
            Broker::absent(&format!(
                "server_name: node{node}\ncluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{urls}] }}"
            ))
        });
        brokers.iter_mut().for_each(Broker::start_process);
        for broker in &brokers {
            broker.answers().await;
        }
        brokers
    }

    /// A server that is not running yet.
    #[must_use]
    pub fn absent(configuration: &str) -> Broker {
        let folder = tempfile::Builder::new().prefix("mandrill-live-nats").tempdir().expect("a folder");
        let port = free_port();
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nmax_payload: 8MB\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always }}\n{configuration}\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("nats.conf"), text).expect("its configuration");
        Broker { folder, port, process: None }
    }

    /// Starts it (again) with what it has stored, and waits until it answers.
    pub async fn restart(&mut self) {
        self.start_process();
        self.answers().await;
    }

    async fn answers(&self) {
        let address = format!("127.0.0.1:{}", self.port);
        super::until("the broker listens", async || tokio::net::TcpStream::connect(&address).await.is_ok()).await;
        let context = async_nats::jetstream::new(self.client().await);
        super::until("JetStream answers", async || context.query_account().await.is_ok()).await;
    }

    /// Starts it (again) without waiting.
    pub fn start_process(&mut self) {
        assert!(self.process.is_none(), "the broker runs already");
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).expect("a log");
        let process = Command::new(server())
            .arg("-c")
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts");
        self.process = Some(process);
    }

    /// Ends it as a power cut would: without a word.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("gone");
        }
    }

    /// Stops its clock: connections stay, nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the broker runs");
        kill_process(Pid::from_child(process), signal).expect("signalled");
    }

    /// Its process, for those who measure it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the broker runs").id()
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What it has logged: why it would not start, what it refused.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A plain client of its own.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::ConnectOptions::new()
            .connection_timeout(Duration::from_secs(5))
            .retry_on_initial_connect()
            .connect(self.url())
            .await
            .expect("a client")
    }

    /// A connection as the services make theirs.
    pub async fn connection(&self) -> Connection {
        let mut mistakes = Mistakes::default();
        let settings = BrokerSettings::read(&self.environment(), &mut mistakes).expect("settings");
        Connection::connect("test", &settings).await.expect("a connection")
    }

    /// The environment of a service that uses it.
    #[must_use]
    pub fn environment(&self) -> Environment {
        Environment::from([("NATS_URL", self.url().as_str())])
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port nobody listens on. Another process may take it before the broker does; the broker then fails
/// to start, which the test says.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// The server's path: from the environment, or as the project's own script finds or installs it.
fn server() -> &'static Path {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    SERVER.get_or_init(|| {
        if let Some(path) = std::env::var_os("NATS_SERVER") {
            return path.into();
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/nats_server.py");
        let found = Command::new("python3").arg(script).stderr(Stdio::inherit()).output().expect("python3 runs");
        assert!(found.status.success(), "nats-server could be neither found nor installed");
        String::from_utf8(found.stdout).expect("a path").trim().into()
    })
}
