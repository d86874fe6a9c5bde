//! Breaks a whole mandrill-live and checks that nothing is lost: three brokers, two ingests, three notifiers as
//! processes of their own, senders and sessions of every sort, and wires between them that fail.
//!
//! # Layout
//! `schedule` (pure) says from a seed what is broken and when, `stage` has everything that runs and breaks it, on
//! `processes` and the wires of `shared::testing`. `senders`, `sessions`, `readers` and `eraser` are the clients; what they
//! see goes into `record`, named by `event` (pure). `archive` reads the stream without our services. `checker` (pure)
//! holds all of it against each other, `report` says what came of it, `run` has the order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a run that cannot go on says so")]

mod archive;
mod checker;
mod eraser;
mod event;
mod processes;
mod readers;
mod record;
mod report;
mod run;
mod schedule;
mod senders;
mod sessions;
mod stage;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Breaks a whole mandrill-live and checks that nothing is lost")]
struct Arguments {
    #[command(flatten)]
    options: run::Options,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if runtime.block_on(run::run(Arguments::parse().options)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
