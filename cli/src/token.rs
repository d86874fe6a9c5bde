//! `mandrill-live token`: a token for trying things out, signed with `JWT_SECRET`.
//!
//! **Owns** its arguments and its one line of output. What a token holds is the notifier's business.

use std::borrow::Cow;
use std::process::ExitCode;
use std::time::Duration;

use notifier::access::mint::{self, Wish};
use notifier::access::{AccessSettings, Scope};
use shared::commas;
use shared::settings::{EXIT_USAGE, Environment, Mistakes, Settings};

/// The arguments of `token`.
#[derive(clap::Args)]
pub(crate) struct Token {
    /// What it allows; may be repeated
    #[arg(long, value_name = "SCOPE", default_value = "events:read", value_parser = scope)]
    scope: Vec<Scope>,
    /// Only events with this value may be seen (subaccount=shop, event=open,click); repeated, all must hold
    #[arg(long, value_name = "NAME=VALUES", value_parser = filter)]
    filter: Vec<(String, Vec<String>)>,
    /// For how long it is good (15m, 1h, 30d)
    #[arg(long, default_value = "1h", value_parser = lasting)]
    ttl: Duration,
    /// Whose it is: sessions are counted by this
    #[arg(long, value_name = "USER")]
    sub: Option<String>,
}

/// Prints a token.
pub(crate) fn run(arguments: Token) -> ExitCode {
    let mut mistakes = Mistakes::default();
    let settings = AccessSettings::read(&Environment::of_process(), &mut mistakes);
    let settings = match mistakes.or(settings) {
        Ok(settings) => settings,
        Err(mistakes) => return fail(&mistakes),
    };
    let Token { scope, filter, ttl, sub } = arguments;
    match mint::token(&settings, &Wish { subject: sub, scopes: scope, filter, lasts: ttl }) {
        Ok(token) => {
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    }
}

fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("mandrill-live token: {}", why.to_string().trim_end());
    ExitCode::from(EXIT_USAGE)
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = || Scope::ALL.map(Scope::name).join(" or ");
    Scope::ALL.into_iter().find(|scope| scope.name() == text).ok_or_else(|| format!("must be {}", known()))
}

fn filter(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, values) = text.split_once('=').ok_or("must be a name and values, as in subaccount=shop")?;
    Ok((name.to_owned(), commas::values(values).map(Cow::into_owned).collect()))
}

fn lasting(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(lasts) if lasts >= Duration::from_secs(1) => Ok(lasts),
        Ok(_) => Err("must be a second at least".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
