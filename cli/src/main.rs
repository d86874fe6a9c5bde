//! `mandrill-live`: the services on one machine, and what goes with them on the command line.
//!
//! Only dispatch: each verb has a module of its own.

// This program alone talks to a terminal; the services write logs.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod rejected;
mod send;
mod tail;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::Parser;

/// Mandrill's webhook events, kept and shown live.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Run both services in one process, on one origin; configured by environment variables
    Up,
    /// Follow events as they happen, or wait for one
    Tail(tail::Tail),
    /// Post batches of made-up events to a webhook, as Mandrill would
    Send(send::Send),
    /// Look at what was authentic and of no use, and take it in after all
    Rejected(rejected::Rejected),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Up => up::run().await,
        Verb::Tail(arguments) => tail::run(arguments).await,
        Verb::Send(arguments) => send::run(arguments).await,
        Verb::Rejected(arguments) => rejected::run(arguments).await,
    }
}
