//! The command line that both services' programs have: `--version`, `--help`, `healthcheck`, and how a program that
//! cannot go on says so.
//!
//! **Owns** the words on standard output and error that stand before, or in place of, any log line, and the exit codes.
//! What a service does beside that is its own.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what is said before, or instead of, any log line")]

use std::fmt::Display;
use std::process::ExitCode;

use crate::admin;
use crate::probe::{self, Question};
use crate::settings::{EXIT_USAGE, Environment, Mistakes};

/// One service's program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name, as it is called.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it is called with, for people.
    pub usage: &'static str,
}

impl Program {
    /// Does what the process was called for. `own` is asked first, with the arguments behind the program's name; where
    /// it knows none of them, they are the ones that both services have, or a mistake.
    pub fn run(&self, environment: &Environment, own: impl FnOnce(&[&str]) -> Option<ExitCode>) -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        own(&arguments).unwrap_or_else(|| self.common(environment, &arguments))
    }

    fn common(&self, environment: &Environment, arguments: &[&str]) -> ExitCode {
        match arguments {
            ["healthcheck"] => self.healthcheck(environment, Question::Ready),
            ["healthcheck", "livez"] => self.healthcheck(environment, Question::Live),
            ["--version"] => {
                println!("{} {}", self.name, self.version);
                ExitCode::SUCCESS
            }
            ["--help"] => {
                println!("{}", self.usage);
                ExitCode::SUCCESS
            }
            _ => say(EXIT_USAGE, &self.usage),
        }
    }

    fn healthcheck(&self, environment: &Environment, question: Question) -> ExitCode {
        match admin::address(environment).map(|address| probe::ask(address, question)) {
            Ok(Ok(())) => ExitCode::SUCCESS,
            // The service's own words.
            Ok(Err(no)) => say(1, &no),
            Err(mistakes) => self.refuse(&mistakes),
        }
    }

    /// The settings cannot be used.
    #[must_use]
    pub fn refuse(&self, mistakes: &Mistakes) -> ExitCode {
        say(EXIT_USAGE, &format!("{}: {mistakes}", self.name))
    }

    /// It cannot go on.
    #[must_use]
    pub fn fail(&self, error: &dyn Display) -> ExitCode {
        say(1, &format!("{}: {error}", self.name))
    }
}

fn say(status: u8, why: &dyn Display) -> ExitCode {
    eprintln!("{}", why.to_string().trim_end());
    ExitCode::from(status)
}
