//! A real `nats-server` on a free port with a folder of its own, as production runs it: fsync before
//! every acknowledgement. It can be killed, frozen and started again, and is gone with its handle.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::port;
use crate::broker::{Broker as Connection, BrokerSettings, Role};
use crate::settings::{Environment, Mistakes, Settings};

/// The users that the manifests bring, as they bring them.
const ACCOUNTS: &str = include_str!("../../../k8s/components/nats/accounts.conf");
const USERS: [&str; 8] = ["ingest", "notifier", "setup", "erase", "rejected", "backup", "restore", "system"];

/// One server.
#[derive(Debug)]
pub struct Broker {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
    /// What whoever connects has to set beside its URL.
    variables: Vec<(String, String)>,
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

    /// One that asks who connects, or that speaks TLS: `variables` are what a service needs to be let in.
    pub async fn secured(configuration: &str, variables: &[(&str, &str)]) -> Broker {
        let mut broker = Broker::absent(configuration);
        broker.variables = variables.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
        broker.restart().await;
        broker
    }

    /// One with the users of the manifests: without one of their passwords nobody gets in. None of them may ask
    /// whether JetStream is there yet: it listens.
    pub async fn with_accounts() -> Broker {
        let variable = |user: &str| format!("{}_PASSWORD: \"{}\"\n", user.to_uppercase(), password(user));
        let passwords: String = USERS.into_iter().map(variable).collect();
        let mut broker = Broker::absent(&ACCOUNTS.replace("include passwords.conf", &passwords));
        broker.start_process();
        broker.listens().await;
        broker
    }

    /// Gives it another configuration while it runs, as an operator who renews a password does.
    pub fn reload(&self, configuration: &str) {
        self.configure(configuration);
        self.signal(Signal::HUP);
    }

    /// Three servers that are one cluster. They do not tell their clients of each other: a client that was led over a
    /// wire stays on it.
    pub async fn cluster() -> [Broker; 3] {
        let routes: [u16; 3] = std::array::from_fn(|_| port::free());
        let urls = routes.map(|port| format!("\"nats://127.0.0.1:{port}\"")).join(", ");
        let mut brokers = [0, 1, 2].map(|node| {
            let port = routes[node];
            Broker::absent(&format!(
                "server_name: node{node}\n\
                 cluster {{ name: test, listen: \"127.0.0.1:{port}\", no_advertise: true, routes: [{urls}] }}"
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
        let port = port::free();
        let broker = Broker { folder, port, process: None, variables: Vec::new() };
        broker.configure(configuration);
        broker
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "listen: \"127.0.0.1:{}\"\nmax_payload: 8MB\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always }}\n{more}\n",
            self.port,
            self.folder.path().display()
        );
        std::fs::write(self.folder.path().join("nats.conf"), text).expect("its configuration");
    }

    /// Starts it (again) with what it has stored, and waits until it answers.
    pub async fn restart(&mut self) {
        self.start_process();
        self.answers().await;
    }

    async fn listens(&self) {
        let connects = async || tokio::net::TcpStream::connect(self.address()).await.is_ok();
        super::until("the broker listens", connects).await;
    }

    async fn answers(&self) {
        self.listens().await;
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

    /// Asks it to stop, as an orchestrator does, and waits until it has.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        if let Some(mut process) = self.process.take() {
            super::until("the broker stops", async || process.try_wait().expect("its state").is_some()).await;
        }
    }

    /// Stops its clock: connections stay, nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        // The signal is sent; its threads stop a moment later.
        let stat = format!("/proc/{}/stat", self.pid());
        for _ in 0..5_000 {
            if std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the broker goes on after SIGSTOP");
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

    /// A client of its own.
    pub async fn client(&self) -> async_nats::Client {
        if !self.variables.is_empty() {
            return self.connection().await.client().clone();
        }
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
        Connection::connect(Role::Ingest, &settings).await.expect("a connection")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The environment of a service that uses it as one of the manifests' users.
    #[must_use]
    pub fn environment_of(&self, user: &str) -> Environment {
        self.environment().or("NATS_USER", user).or("NATS_PASSWORD", &password(user))
    }

    /// The environment of a service that uses it.
    #[must_use]
    pub fn environment(&self) -> Environment {
        let url = Environment::from([("NATS_URL", self.url().as_str())]);
        self.variables.iter().fold(url, |all, (name, text)| all.or(name, text))
    }
}

/// A user's password; it begins as a number does, as made-up ones may.
#[must_use]
pub fn password(user: &str) -> String {
    format!("1e5-{user}")
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
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
