//! `mandrill-live webhook`: the webhook at Mandrill's side, made, looked at, changed, and tried.
//!
//! **Owns** the arguments, what is printed and the exit code. Mandrill's API is [`api`]'s, the way of a request
//! from outside to ingest [`check`]'s, the keys' file [`keyfile`]'s. Tested in `tests/webhook`.

mod api;
mod check;
mod hop;
mod keyfile;

use std::path::PathBuf;
use std::process::ExitCode;

use shared::settings::{EXIT_USAGE, Environment, Mistakes};

use crate::terminal::plain;
use api::{Api, ApiError, Webhook};
use keyfile::KeyFileError;

/// What Mandrill calls its kinds of events, those about its lists included.
const EVENTS: [&str; 12] = [
    "send",
    "deferral",
    "hard_bounce",
    "soft_bounce",
    "delivered",
    "open",
    "click",
    "spam",
    "unsub",
    "reject",
    "blacklist",
    "whitelist",
];

/// The arguments of `webhook`.
#[derive(clap::Args)]
#[command(after_help = "MANDRILL_API_KEY (or MANDRILL_API_KEY_FILE) is the account's API key; it is never printed.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Register an address, and say what to set; Mandrill checks the address first
    Add {
        #[command(flatten)]
        webhook: Wanted,
        /// Add the key to this file (for MANDRILL_WEBHOOK_KEYS_FILE) instead of printing it
        #[arg(long, value_name = "FILE")]
        write_key: Option<PathBuf>,
        /// Also where the address is registered already: every event then comes twice
        #[arg(long)]
        again: bool,
    },
    /// The account's webhooks, a line each
    List {
        /// A line of JSON each, without keys
        #[arg(long)]
        json: bool,
    },
    /// One webhook, and how it fares
    Info {
        /// Its number in the list
        id: u64,
        /// Print its key too
        #[arg(long)]
        show_key: bool,
    },
    /// Change a webhook's address, and its events or description where they are given
    Update {
        /// Its number in the list
        id: u64,
        #[command(flatten)]
        webhook: Wanted,
    },
    /// Delete a webhook; what waits for it at Mandrill is lost
    Delete {
        /// Its number in the list
        id: u64,
        /// Yes, delete it
        #[arg(long)]
        yes: bool,
    },
    /// Try the way from outside to ingest, and name the place that stops it; stores nothing
    Check {
        /// The address as registered [default: the first of MANDRILL_WEBHOOK_URLS]
        url: Option<String>,
    },
}

/// A webhook as it should be.
#[derive(clap::Args)]
struct Wanted {
    /// The address, exactly as signatures shall be made over it
    #[arg(long)]
    url: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// Which events, comma-separated [default: all; of a webhook that is changed those it has]
    #[arg(long, value_delimiter = ',', value_parser = EVENTS)]
    events: Vec<String>,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Settings(Mistakes),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("{error}\nTry the address yourself: mandrill-live webhook check {url}")]
    NotAdded { error: ApiError, url: String },
    #[error("{url} is registered already, as webhook {id}: see `webhook info {id}`, or use --again for a second one")]
    Registered { id: u64, url: String },
    #[error("webhook {0} would be deleted, and what waits for it at Mandrill with it: say --yes")]
    NotSure(u64),
    #[error("name the address to check, or set MANDRILL_WEBHOOK_URLS")]
    NoAddress,
    #[error("{0}")]
    Address(String),
    #[error("webhook {id} is registered, and {error}; its key is shown by `webhook info {id} --show-key`")]
    KeyFile { id: u64, error: KeyFileError },
}

/// Does it and says how it went.
pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let environment = Environment::of_process();
    match Box::pin(done(arguments.verb, &environment)).await {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("mandrill-live webhook: {}", failure.to_string().trim_end());
            let usage = matches!(
                failure,
                Failure::Settings(_) | Failure::NotSure(_) | Failure::NoAddress | Failure::Address(_)
            );
            if usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

async fn done(verb: Verb, environment: &Environment) -> Result<ExitCode, Failure> {
    if let Verb::Check { url } = verb {
        return check(url, environment).await;
    }
    let api = Api::of(environment).map_err(Failure::Settings)?;
    match verb {
        Verb::Add { webhook, write_key, again } => add(&api, webhook, write_key, again).await?,
        Verb::List { json } => {
            let all = api.list().await?;
            if all.is_empty() && !json {
                eprintln!("no webhook is registered in this account");
            }
            all.iter().for_each(|webhook| println!("{}", if json { webhook.json() } else { webhook.line() }));
        }
        Verb::Info { id, show_key } => print!("{}", card(&api.info(id).await?, show_key)),
        Verb::Update { id, webhook } => {
            let url = address(&webhook.url)?;
            eprintln!("Mandrill checks {} before it changes the webhook…", plain(url));
            let events = (!webhook.events.is_empty()).then_some(webhook.events.as_slice());
            let changed = api.update(id, url, webhook.description.as_deref(), events).await;
            let changed = changed.map_err(|error| Failure::NotAdded { error, url: plain(url) })?;
            println!("webhook {id} is changed; MANDRILL_WEBHOOK_URLS must hold {}", plain(&changed.url));
        }
        Verb::Delete { id, yes: false } => {
            print!("{}", card(&api.info(id).await?, false));
            return Err(Failure::NotSure(id));
        }
        Verb::Delete { id, yes: true } => println!("webhook {id} ({}) is deleted", plain(&api.delete(id).await?.url)),
        Verb::Check { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(api: &Api, wanted: Wanted, write_key: Option<PathBuf>, again: bool) -> Result<(), Failure> {
    let url = address(&wanted.url)?;
    if let Some(known) = api.list().await?.iter().find(|webhook| webhook.url == url).filter(|_| !again) {
        return Err(Failure::Registered { id: known.id, url: plain(url) });
    }
    eprintln!("Mandrill checks {} before it registers it…", plain(url));
    let added = api.add(url, wanted.description.as_deref(), &kinds(&wanted.events)).await;
    let added = added.map_err(|error| Failure::NotAdded { error, url: plain(url) })?;
    let id = added.id;
    println!("webhook {id} is registered: {}\n\nNow, for ingest:", plain(&added.url));
    println!("  1. MANDRILL_WEBHOOK_URLS must hold  {}", plain(&added.url));
    match (added.auth_key.as_deref(), write_key) {
        (Some(key), Some(path)) => {
            let failed = |error| Failure::KeyFile { id, error };
            keyfile::add(&path, key).await.map_err(failed)?;
            println!(
                "  2. its key is in {0}: MANDRILL_WEBHOOK_KEYS_FILE={0} (looked at every 5 seconds)",
                path.display()
            );
        }
        (Some(key), None) => println!("  2. MANDRILL_WEBHOOK_KEYS must hold  {}", plain(key)),
        (None, _) => {
            println!("  2. MANDRILL_WEBHOOK_KEYS must hold its key, which Mandrill shows under Settings, Webhooks")
        }
    }
    println!("  3. start it again where a variable changed, then:  mandrill-live webhook check {}", plain(&added.url));
    println!("\nUntil then batches are told to come again, and Mandrill keeps them.");
    Ok(())
}

async fn check(url: Option<String>, environment: &Environment) -> Result<ExitCode, Failure> {
    let known = check::Known::of(environment).map_err(Failure::Settings)?;
    let url = url.or_else(|| known.first_url()).ok_or(Failure::NoAddress)?;
    let url = address(&url)?;
    let target = hop::Target::parse(url).map_err(Failure::Address)?;
    let fine = check::run(&target, &known, |line| println!("{line}")).await;
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Never changed: signatures are made over it as text.
fn address(url: &str) -> Result<&str, Failure> {
    let whole = url.starts_with("https://") || url.starts_with("http://");
    let printable = url.bytes().all(|byte| byte.is_ascii_graphic());
    if whole && printable {
        return Ok(url);
    }
    Err(Failure::Address(format!(
        "{:?} is no address: write it whole, as in https://hooks.example.com/api/hook/",
        plain(url)
    )))
}

fn kinds(asked: &[String]) -> Vec<&str> {
    if asked.is_empty() { EVENTS.to_vec() } else { asked.iter().map(String::as_str).collect() }
}

fn card(webhook: &Webhook, show_key: bool) -> String {
    let known = |text: &Option<String>| text.as_deref().map_or_else(|| "none".to_owned(), plain);
    let mut card = format!(
        "id           {}\naddress      {}\ndescription  {}\nevents       {}\nmade         {}\nlast batch   {}\n\
         sent         {} events in {} batches\nlast error   {}\n",
        webhook.id,
        plain(&webhook.url),
        known(&webhook.description),
        plain(&webhook.events.join(", ")),
        known(&webhook.created_at),
        known(&webhook.last_sent_at),
        webhook.events_sent,
        webhook.batches_sent,
        known(&webhook.last_error),
    );
    if show_key {
        card.push_str(&format!("key          {}\n", known(&webhook.auth_key)));
    }
    card
}
