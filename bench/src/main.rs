//! Measurements, side by side in one run on one machine. A machine's own speed wanders, so what counts is
//! the ratio of two rows of one run. Everything runs on loopback, beside a real `nats-server`.
//!
//! # Layout
//! `webhooks` measures ingest, `stored` queries over stored events, `soak` whether anything grows. How fast the notifier
//! delivers, beside the floor (one thread that writes ready-made frames) and nats-server's own WebSocket: `run` orders
//! the cases and prints the report. Each side is a process of its own, so that its processor time and memory are its
//! own: `floor`, `clients` and `movers` are this program again, `service` is what production runs. `event` makes the
//! events, `ages` counts how old they were, `process` reads the kernel's accounts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a bench that cannot go on says so")]

mod ages;
mod clients;
mod event;
mod floor;
mod movers;
mod process;
mod run;
mod service;
mod sides;
mod soak;
mod stored;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures delivery beside the floor and nats-server's WebSocket")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Runs all cases and prints the report.
    Run {
        /// The notifier's release binary.
        #[arg(long, default_value = "target/release/notifier")]
        notifier: PathBuf,
        /// Only cases whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// What queries over stored events take.
    Events {
        /// The notifier's release binary.
        #[arg(long, default_value = "target/release/notifier")]
        notifier: PathBuf,
        /// Events that are stored.
        #[arg(long, default_value_t = 1_000_000)]
        events: u64,
    },
    /// What it costs to store webhooks, with and without group commit.
    Ingest(webhooks::batches::Options),
    /// Atomic batches beside single publishes, by size.
    Crossing,
    /// Half of the capacity for a long time, while sessions come and go.
    Soak(soak::Options),
    /// The sessions of it.
    #[command(hide = true)]
    Soakers(soak::sessions::Options),
    /// A webhook without group commit.
    #[command(hide = true)]
    Singly,
    /// The floor: accepts sessions, writes what it is told to.
    #[command(hide = true)]
    Floor,
    /// Many clients.
    #[command(hide = true)]
    Clients {
        #[arg(long)]
        address: SocketAddr,
        #[arg(long)]
        protocol: clients::Protocol,
        #[arg(long)]
        sessions: usize,
        /// The path; `{}` is the session's number.
        #[arg(long)]
        path: String,
    },
    /// Clients that come back.
    #[command(hide = true)]
    Movers {
        #[arg(long)]
        first: SocketAddr,
        #[arg(long)]
        second: SocketAddr,
        #[arg(long)]
        sessions: usize,
    },
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match Arguments::parse().role {
        Role::Run { notifier, only } => runtime.block_on(run::run(&notifier, &only)),
        Role::Events { notifier, events } => runtime.block_on(stored::run(&notifier, events)),
        Role::Ingest(options) => runtime.block_on(webhooks::batches::run(options)),
        Role::Soak(options) => return runtime.block_on(soak::run(options)),
        Role::Soakers(options) => runtime.block_on(soak::sessions::run(options)),
        Role::Crossing => runtime.block_on(webhooks::crossing::run()),
        Role::Singly => tokio::runtime::Runtime::new().expect("a runtime").block_on(webhooks::singly::run()),
        Role::Floor => floor::run(),
        Role::Clients { address, protocol, sessions, path } => {
            runtime.block_on(clients::run(address, protocol, sessions, &path));
        }
        Role::Movers { first, second, sessions } => runtime.block_on(movers::run(first, second, sessions)),
    }
    ExitCode::SUCCESS
}
