//! `mandrill-live`: the services on one machine, and what goes with them on the command line.
//!
//! Only dispatch: each verb has a module of its own.

// This program alone talks to a terminal; the services write logs.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod ending;
mod erasures;
mod rejected;
mod send;
mod sign_in;
mod tail;
mod terminal;
mod token;
mod up;
mod webhook;

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
    /// Make a token that the service takes, signed with JWT_SECRET
    Token(token::Token),
    /// Look at what was authentic and of no use, and take it in after all
    Rejected(rejected::Rejected),
    /// List who was erased, and erase them again after a backup was restored
    Erasures(erasures::Arguments),
    /// Register, look at and change the webhook at Mandrill, and try the way to it
    Webhook(webhook::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Up => up::run().await,
        Verb::Tail(arguments) => tail::run(arguments).await,
        Verb::Send(arguments) => send::run(arguments).await,
        Verb::Token(arguments) => token::run(arguments),
        Verb::Rejected(arguments) => rejected::run(arguments).await,
        Verb::Erasures(arguments) => erasures::run(arguments).await,
        Verb::Webhook(arguments) => webhook::run(arguments).await,
    }
}
